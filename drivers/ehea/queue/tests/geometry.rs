// SPDX-License-Identifier: GPL-2.0

//! Tests of firmware's answers to allocations.

use super::*;
use crate::abi::hcall::{
    AllocCq, AllocEq, AllocQp, CqAllocated, EqAllocated, EqKind, QpAllocated, QueueSelect, RqSlots,
};

const QP: AllocQp = AllocQp {
    adapter: 1,
    low_latency: true,
    signalling: AllocQp::SIGNAL_ON_REQUEST,
    receive_queues: AllocQp::ALL_RECEIVE_QUEUES,
    send_cq: 2,
    recv_cq: 3,
    affiliated_eq: 4,
    token: 0,
    pd: 5,
    sq_size: 9,
    sq_slot: 2,
    rq: RqSlots {
        size: [9, 9, 8],
        slot: [1, 0, 0],
    },
    port: 1,
    threshold_rq2: AllocQp::THRESHOLD_RQ2_DEFAULT,
    threshold_rq3: AllocQp::THRESHOLD_RQ3_DEFAULT,
};

fn granted(call: &AllocQp) -> QpAllocated {
    QpAllocated::for_sizes(8, 9, 0x1f00_0000_0000, call).unwrap()
}

#[test]
fn queue_pair() {
    let geometry = QpGeometry::check(&QP, &granted(&QP)).unwrap();
    let sizes = geometry
        .queues()
        .map(|(select, queue)| (select, queue.slots(), queue.slot_bytes(), queue.pages()));
    assert_eq!(
        sizes,
        [
            (QueueSelect::Sq, 1024, 512, 128),
            (QueueSelect::Rq1, 1024, 256, 64),
            (QueueSelect::Rq2, 1024, 128, 32),
            (QueueSelect::Rq3, 512, 128, 16),
        ]
    );
    assert_eq!(geometry.sq.send_capacity(), 1022);
    assert_eq!(geometry.rq1.inline_capacity(), 1023);
    assert_eq!(geometry.rq3.receive_capacity(), 510);
}

/// Firmware may give fewer or more entries than asked for, with the right slot size.
#[test]
fn queue_pair_of_another_size() {
    for size in [6, 14] {
        let other = AllocQp {
            sq_size: size,
            rq: RqSlots {
                size: [size; 3],
                ..QP.rq
            },
            ..QP
        };
        let geometry = QpGeometry::check(&QP, &granted(&other)).unwrap();
        assert_eq!(geometry.sq.slots(), 2 << size);
        assert_eq!(geometry.rq3.slots(), 2 << size);
    }
}

#[test]
fn bad_queue_pairs() {
    let good = granted(&QP);
    let check = |answer: QpAllocated| QpGeometry::check(&QP, &answer).unwrap_err();
    for entries in [0, 1, 63, 126, 1022, 1024, 65535] {
        assert_eq!(
            check(QpAllocated {
                sq_entries: entries,
                ..good
            }),
            GeometryError::Entries {
                ring: "SQ",
                entries: entries.into()
            }
        );
    }
    for pages in [0, 15, 17, u32::MAX] {
        assert_eq!(
            check(QpAllocated {
                rq_pages: [64, 32, pages],
                ..good
            }),
            GeometryError::Pages { ring: "RQ3", pages }
        );
    }
    assert_eq!(
        check(QpAllocated {
            number: 1 << 24,
            ..good
        }),
        GeometryError::Number { number: 1 << 24 }
    );
    for address in [0, 0x1f00_0000_0008, 0x1f00_0000_0800] {
        assert_eq!(
            check(QpAllocated {
                registers: address,
                ..good
            }),
            GeometryError::Registers { address }
        );
    }
    let call = AllocQp { sq_slot: 3, ..QP };
    assert_eq!(
        QpGeometry::check(&call, &good),
        Err(GeometryError::SlotSize { code: 3 })
    );
}

#[test]
fn completion_queue() {
    let call = AllocCq {
        adapter: 1,
        eq: 2,
        token: 3,
        cqes: 2046,
    };
    let good = CqAllocated {
        handle: 4,
        cqes: 2047,
        pages: 32,
        registers: 0x1f00_0001_0000,
    };
    let check = |pages| CqGeometry::check(&call, &CqAllocated { pages, ..good });
    let geometry = check(32).unwrap();
    assert_eq!((geometry.pages(), geometry.slots()), (32, 2048));
    // The pages count, not the entries that firmware reports.
    assert_eq!(check(40).unwrap().slots(), 2560);
    assert_eq!(
        check(31),
        Err(GeometryError::Entries {
            ring: "CQ",
            entries: 1984
        })
    );
    for pages in [0, 2049, u32::MAX] {
        assert_eq!(
            check(pages),
            Err(GeometryError::Pages { ring: "CQ", pages })
        );
    }
    let bad = CqAllocated {
        registers: 0,
        ..good
    };
    assert!(CqGeometry::check(&call, &bad).is_err());
}

#[test]
fn event_queue() {
    let call = AllocEq {
        adapter: 1,
        kind: EqKind::Affiliated,
        interrupt_sources: 1,
        max_eqes: 20,
    };
    let good = EqAllocated {
        handle: 4,
        eqes: 511,
        pages: 1,
        interrupt: 0x1280,
    };
    let check = |answer: EqAllocated| EqGeometry::check(&call, &answer);
    let geometry = check(good).unwrap();
    assert_eq!((geometry.pages(), geometry.slots()), (1, 512));
    for pages in [0, 65] {
        let error = check(EqAllocated { pages, ..good });
        assert_eq!(error, Err(GeometryError::Pages { ring: "EQ", pages }));
    }
    for interrupt in [0, 1 << 24] {
        let error = check(EqAllocated { interrupt, ..good });
        assert_eq!(error, Err(GeometryError::Number { number: interrupt }));
    }
    let more = AllocEq {
        max_eqes: 513,
        ..call
    };
    assert!(EqGeometry::check(&more, &good).is_err());
}

proptest! {
    /// An accepted ring is consistent, whatever firmware answers.
    #[test]
    fn hostile_answers(answer in any::<[u64; 9]>(), small in any::<bool>()) {
        let mut answer = answer;
        if small {
            for reg in &mut answer {
                *reg &= 0x0000_00ff_0000_0fff;
            }
        }
        if let Ok(geometry) = QpGeometry::check(&QP, &QpAllocated::unpack(&answer)) {
            for (_, queue) in geometry.queues() {
                prop_assert_eq!(queue.slots() * queue.slot_bytes(), queue.pages() * 4096);
            }
        }
        let call = AllocCq { adapter: 1, eq: 2, token: 3, cqes: 100 };
        if let Ok(geometry) = CqGeometry::check(&call, &CqAllocated::unpack(&answer)) {
            prop_assert!((100..=2048 * 64).contains(&geometry.slots()));
        }
    }
}
