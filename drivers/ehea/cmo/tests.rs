// SPDX-License-Identifier: GPL-2.0

//! Tests of the formula against numbers worked out by hand, and of the policy against a simulation
//! of the bus.

mod bus;
mod driver;
mod property;

use super::{
    allot, device_bytes, plan, port_bytes, retry_after, BufferKind, Configuration, Limits, Plan,
    Rings, Share, DEVICE_BYTES, MIN_ENTITLEMENT,
};

const K4: Configuration = Configuration {
    mtu: 1500,
    page_size: 4096,
};
const K64: Configuration = Configuration {
    mtu: 1500,
    page_size: 65536,
};

#[test]
fn full_port_by_hand() {
    // EQ, send CQ, receive CQ, SQ, RQ1, RQ2, RQ3.
    let queues = 1 + 32 + 34 + 128 + 64 + 32 + 4;
    let bounce = 16 * 4;
    let receive = 511 + 2 * 3;
    let send = 1022;
    let pages = 1 + queues + bounce + receive + send;
    assert_eq!(port_bytes(&Plan::full(1), &K4), pages * 4096);
    assert_eq!(device_bytes([(1, K4)]), (1 + pages) * 4096);
    // The affiliated event queue is the port's.
    assert_eq!(
        port_bytes(&Plan::full(4), &K4),
        (1 + 4 * (pages - 1)) * 4096
    );
}

#[test]
fn large_frames_by_hand() {
    let jumbo = Configuration { mtu: 9000, ..K4 };
    let more = port_bytes(&Plan::full(1), &jumbo) - port_bytes(&Plan::full(1), &K4);
    // There are 124 more buffers of three pages, and 1022 frames of three pages instead of one.
    assert_eq!(more, (124 * 3 + 1022 * 2) * 4096);
    assert!(!Limits::large_frames(2026) && Limits::large_frames(2027));
    assert!(Limits::large_frames(u32::MAX));
}

#[test]
fn chunks_are_whole_pages_and_fit_the_ring() {
    for config in [K4, K64] {
        for entries in [127, 255, 511, 1023, 32767] {
            let rings = Rings::of(entries);
            let config = Configuration {
                mtu: 9000,
                ..config
            };
            let limits = Limits::full(&rings, &config);
            for (kind, chunks, ring) in [
                (BufferKind::RQ2, limits.rq2_chunks, rings.rq[1]),
                (BufferKind::RQ3, limits.rq3_chunks, rings.rq[2]),
            ] {
                let buffers = chunks as usize * kind.per_chunk(config.page_size);
                let room = ring.slots() as usize - 2;
                assert_eq!(kind.chunk_bytes(config.page_size) % config.page_size, 0);
                assert!(buffers <= room && buffers + kind.per_chunk(config.page_size) > room);
                assert!(kind.per_chunk(config.page_size) <= 32);
                assert!(kind.stride >= kind.len && kind.stride % 8 == 0);
            }
        }
    }
}

#[test]
fn plenty_gives_everything() {
    let desired = device_bytes([(4, K4), (4, K4)]);
    let plan = plan(4, 2, desired, desired);
    assert_eq!(plan, Plan::full(4));
    let limits = allot(desired, &plan, &K4, [Share::open(&plan, &K4)].into_iter());
    assert_eq!(limits, Limits::full(&Plan::FULL_RINGS, &K4));
}

/// Checks the numbers that Documentation/cmo.rst gives.
#[test]
fn documented_numbers() {
    let of = |mtu, page_size| port_bytes(&Plan::full(1), &Configuration { mtu, page_size });
    assert_eq!((of(1500, 4096), of(9000, 4096)), (7_778_304, 17_674_240));
    assert_eq!(of(1500, 4096) - of(1500, 65536), 20_480);
    assert_eq!(of(9000, 4096) - of(9000, 65536), 430_080);
    assert_eq!(DEVICE_BYTES, 4096);
}

/// The minimum entitlement suffices for four open ports at the same time, or three with large
/// pages.
#[test]
fn minimum_opens_four_ports() {
    let jumbo = |config| Configuration {
        mtu: 9000,
        ..config
    };
    for (config, ports) in [(K4, 4), (jumbo(K4), 4), (K64, 3), (jumbo(K64), 3)] {
        let desired = device_bytes([(4, config)].into_iter().cycle().take(ports));
        let plan = plan(4, ports, MIN_ENTITLEMENT, desired);
        let limits = allot(
            MIN_ENTITLEMENT,
            &plan,
            &config,
            (1..ports).map(|_| Share::open(&plan, &config)),
        );
        let port = plan.fixed_bytes() + u64::from(plan.queue_pairs) * limits.bytes(&config);
        assert!(
            DEVICE_BYTES + ports as u64 * port <= MIN_ENTITLEMENT,
            "{config:?}: {plan:?} {limits:?}"
        );
        assert!(limits.rq2_chunks >= Limits::floor(&config).rq2_chunks);
        assert!(limits.rq3_chunks >= Limits::floor(&config).rq3_chunks);
    }
}

#[test]
fn fewer_queue_pairs_before_nothing() {
    let desired = device_bytes([(16, K4)]);
    let all = plan(16, 1, desired, desired);
    assert_eq!(all.queue_pairs, 16);
    let some = plan(16, 1, 4 * MIN_ENTITLEMENT, desired);
    assert!((1..16).contains(&some.queue_pairs), "{some:?}");
    assert_eq!(plan(16, 1, 0, desired), Plan::SMALLEST);
    assert_eq!(plan(0, 0, 0, desired), Plan::SMALLEST);
}

#[test]
fn retries_become_rarer() {
    let waits: Vec<u32> = (0..10).map(retry_after).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64, 64]);
    assert_eq!(retry_after(u32::MAX), 64);
}
