// SPDX-License-Identifier: GPL-2.0

//! Tests of bring-up, disable and enable, teardown, reset, and two kernels: requirements M1 to M23.

use ehea_abi::cb::port::{MacAddress, PortBlock0, PortCategory};
use ehea_abi::cb::qp::{QpControl, QpState};
use ehea_abi::hcall::{
    AllocQp, BcmcScope, ErrorData, Opcode, QpAllocated, QueueSelect, RegisterRpages, Regs,
    ReturnCode,
};
use ehea_abi::regs;
use ehea_abi::ring::QueueSize;
use ehea_abi::wqe::{SwqeFormat, SwqeHeader, TxControl};
use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::IntoBytes as _;

use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

/// M22: the minimum that an adapter must have is enough for one port.
#[test]
fn the_smallest_adapter() {
    let mut config = TestMachine::default_config();
    (config.max_eqs, config.max_qps, config.max_mrs) = (3, 1, 1);
    config.mmio_slots = 3;
    let mut guest = TestGuest::new(config, GuestOptions::default());
    let live = guest.machine.stats().live;
    assert_eq!((live.eq, live.neq, live.cq, live.qp), (2, 1, 2, 1));
    assert_eq!((live.mr, live.smr, live.bcmc), (1, 2, 2));
    // The port can be closed and opened again any number of times.
    for _ in 0..5 {
        guest.close(0);
        guest.open(1);
    }
}

/// M4: the geometry is right for every size that drivers ask for.
#[test]
fn geometry() {
    let mut guest = TestGuest::default();
    for code in QueueSize::MIN.code()..=QueueSize::MAX.code() {
        let port = &guest.ports[0];
        let (pair, eq) = (&port.qps[0], port.affiliated.handle);
        let mut call: AllocQp =
            guest.alloc_qp_call(1, pair.send_cq.handle, pair.recv_cq.handle, eq);
        call.sq_size = code;
        call.rq.size = [code, code.min(13), code.min(13)];
        let regs = guest
            .machine
            .call(Opcode::ALLOC_HEA_RESOURCE, call.pack())
            .unwrap();
        let answer = QpAllocated::unpack(&regs);
        let entries = (2u32 << code) - 1;
        assert_eq!(u32::from(answer.sq_entries), entries);
        assert_eq!(answer.sq_pages * 4096, (entries + 1) * 512);
        assert_eq!(answer.rq_pages[0] * 4096, (entries + 1) * 256);
        assert_eq!(
            answer.rq_pages[2] * 4096,
            (u32::from(answer.rq_entries[2]) + 1) * 128
        );
        assert!(answer.number < 1 << 24);
        guest.free(answer.handle, false).unwrap();
    }
}

/// M3: 15 is the answer for all pages but the last. After the last, no page is accepted, and none
/// is accepted twice.
#[test]
fn page_registration_answers() {
    let mut guest = TestGuest::default();
    let mut regs: Regs = RegisterRpages {
        adapter: guest.machine.handle(),
        page_size: 0,
        queue: QueueSelect::Rq2,
        resource: guest.ports[0].qps[0].handle,
        address: 0x1000,
        count: 1,
    }
    .pack();
    let code = guest.machine.hcall(Opcode::REGISTER_HEA_RPAGES, &mut regs);
    assert_eq!(code, ReturnCode::PARAMETER);
}

/// M8: disabling and enabling keeps positions, credits and toggle bits, also in the middle of
/// traffic.
#[test]
fn disable_and_enable() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    let mut sent = Vec::new();
    for i in 0..300u32 {
        let out = Frame::raw(Frame::PEER, 60 + i as usize % 700, i);
        let frame = Frame::raw(Frame::STATION, 100 + i as usize % 3000, i);
        if i % 7 == 3 {
            let control = guest.qp_control(handle).same_state(false);
            guest.set_qp(handle, control).unwrap();
            assert_eq!(
                guest.qp_control(handle),
                QpControl::result(QpState::ReadyToSend, false)
            );
            guest.machine.host.take_accesses();
        }
        guest.send(0, 0, &out);
        guest.machine.inject(0, &frame);
        guest.machine.settle();
        if i % 7 == 3 {
            assert!(guest.machine.host.take_accesses().is_empty());
            let control = guest.qp_control(handle).same_state(true);
            guest.set_qp(handle, control).unwrap();
            guest.machine.settle();
        }
        sent.extend(guest.machine.take_sent(0));
        assert_eq!(sent.last(), Some(&out));
        assert_eq!(guest.receive(0, 0)[0].frame, frame, "{i}");
        assert_eq!(guest.completions(0, 0).len(), 1);
    }
    assert_eq!(sent.len(), 300);
    assert_eq!(guest.machine.stats().ports[0].rx_dropped, 0);
}

/// The length of a pause is known once the queue pair is enabled again, whatever was asked for
/// meanwhile. The time before the queue pair is set up and after its end is no pause.
#[test]
fn pauses() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    let set = |guest: &mut TestGuest, enabled| {
        let control = guest.qp_control(handle).same_state(enabled);
        guest.set_qp(handle, control).unwrap();
    };
    assert!(guest.machine.stats().pauses.is_empty());
    set(&mut guest, true);
    for ns in [1000, 5_000_000] {
        set(&mut guest, false);
        guest.machine.advance(ns - 1);
        set(&mut guest, false);
        guest.machine.advance(1);
        set(&mut guest, true);
        guest.machine.advance(70);
    }
    set(&mut guest, false);
    guest.disable(handle).unwrap();
    let pauses: Vec<_> = guest.machine.stats().pauses;
    assert_eq!(
        pauses.iter().map(|p| (p.number, p.ns)).collect::<Vec<_>>(),
        [(1, 1000), (2, 5_000_000)]
    );
}

/// M11: PURGE counts when the request is executed, not when it is announced.
#[test]
fn purge() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    let control = guest.qp_control(handle).same_state(false);
    guest.set_qp(handle, control).unwrap();
    let at = guest.ports[0].qps[0].sq.address();
    for i in 0..3 {
        guest.send(0, 0, &Frame::raw(Frame::PEER, 1000, i));
    }
    let mut header: SwqeHeader = guest.machine.read(at + 512);
    header.tx_control = U16::new(header.control().with(TxControl::PURGE).0);
    header.wr_id = U64::new(0x1234);
    guest.machine.write(at + 512, &header);
    let control = guest.qp_control(handle).same_state(true);
    guest.set_qp(handle, control).unwrap();
    guest.machine.settle();
    let expected = [0, 2].map(|i| Frame::raw(Frame::PEER, 1000, i));
    assert_eq!(guest.machine.take_sent(0), expected);
    let done = guest.completions(0, 0);
    assert_eq!(
        done.iter().map(|c| c.wr_id.get()).collect::<Vec<_>>(),
        [0, 0x1234, 0]
    );
    assert!(done.iter().all(|c| c.status().0 == 0));

    // The probe of the old driver: purged, with a completion, and with 80 bytes of immediate data
    // that nothing looks at.
    let probe = SwqeHeader {
        wr_id: U64::new(0xdead_beaf_f00d_0000),
        tx_control: U16::new(
            TxControl::PURGE
                .with(TxControl::SIGNALLED_COMPLETION)
                .with(SwqeFormat::Immediate.flags())
                .0,
        ),
        immediate_data_length: 80,
        ..SwqeHeader::default()
    };
    let mut entry = [0u8; 512];
    entry[..32].copy_from_slice(probe.as_bytes());
    guest.ports[0].qps[0].post_raw(&mut guest.machine, &entry);
    guest.machine.settle();
    assert!(guest.machine.take_sent(0).is_empty());
    assert_eq!(guest.completions(0, 0)[0].wr_id, probe.wr_id);
}

/// Work requests without a request for a completion complete silently, but give their slots back.
#[test]
fn unsignalled() {
    let mut guest = TestGuest::default();
    let frame = Frame::raw(Frame::PEER, 200, 1);
    let header = SwqeHeader {
        tx_control: U16::new(SwqeFormat::Immediate.flags().0),
        immediate_data_length: 200,
        ..SwqeHeader::default()
    };
    let mut entry = [0u8; 512];
    entry[..32].copy_from_slice(header.as_bytes());
    entry[32..232].copy_from_slice(&frame);
    for _ in 0..500 {
        guest.ports[0].qps[0].post_raw(&mut guest.machine, &entry);
        guest.machine.settle();
    }
    assert_eq!(guest.machine.take_sent(0).len(), 500);
    assert_eq!(guest.completions(0, 0).len(), 0);
}

/// A new address of a port is registered and filtered.
#[test]
fn a_new_address() {
    let mut guest = TestGuest::default();
    let new = MacAddress([2, 0, 0, 0, 0, 0x55]);
    let block = PortBlock0 {
        port_mac_addr: U64::new(new.pack()),
        ..PortBlock0::default()
    };
    guest.machine.write(guest.block, &block);
    guest
        .port_call(
            Opcode::MODIFY_HEA_PORT,
            1,
            PortCategory::ATTRIBUTES,
            PortBlock0::SELECT_MAC.mask(),
        )
        .unwrap();
    let old = guest.mac(1);
    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::BROADCAST, old);
    guest.bcmc(Opcode::REG_BCMC, 1, BcmcScope::BROADCAST, new);
    for (to, takes) in [(new.0, true), (Frame::STATION, false), ([0xff; 6], true)] {
        guest.machine.inject(0, &Frame::raw(to, 100, 1));
        guest.machine.settle();
        assert_eq!(guest.receive(0, 0).len(), usize::from(takes), "{to:x?}");
    }
    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::BROADCAST, new);
}

/// M17: normal frees work only in the order of teardown, forced ones in any order.
#[test]
fn frees() {
    let mut guest = TestGuest::default();
    let port = &guest.ports[0];
    let qp = &port.qps[0];
    let stale = [
        qp.handle,
        qp.send_cq.handle,
        qp.recv_cq.handle,
        qp.eq.handle,
        port.affiliated.handle,
        guest.mr.handle,
        qp.smrs[0],
        qp.smrs[1],
    ];
    for handle in &stale[..6] {
        assert_eq!(guest.free(*handle, false), Err(ReturnCode::R_STATE));
    }
    // Everything is freed in the wrong order while traffic is under way (9.8).
    guest.send(0, 0, &Frame::raw(Frame::PEER, 1000, 1));
    guest
        .machine
        .inject(0, &Frame::raw(Frame::STATION, 1000, 1));
    for handle in stale.into_iter().rev() {
        guest.free(handle, true).unwrap();
        guest.machine.settle();
    }
    for handle in stale {
        assert_eq!(guest.free(handle, true), Err(ReturnCode::RH_PARM));
    }
    guest.ports.clear();
    let mac = guest.mac(1);
    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::BROADCAST, mac);
    guest.free(guest.neq.handle, false).unwrap();
}

/// M18: the call is idempotent, and nothing touches memory afterwards.
#[test]
fn disable_and_get() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    guest.send(0, 0, &Frame::raw(Frame::PEER, 1000, 1));
    guest
        .machine
        .inject(0, &Frame::raw(Frame::STATION, 1000, 1));
    guest.machine.set_tx_busy(0, true);
    guest.machine.settle();
    guest.send(0, 0, &Frame::raw(Frame::PEER, 1000, 1));
    for _ in 0..2 {
        guest.disable(handle).unwrap();
        guest.machine.host.take_accesses();
        guest.machine.set_tx_busy(0, false);
        guest.machine.advance(100_000_000);
        assert!(guest.machine.host.take_accesses().is_empty());
    }
    assert!(guest.machine.take_sent(0).is_empty());
    // Nothing is left for a later life of the queue pair, either.
    guest.activate(0, 0);
    guest.ports[0].qps[0].sq.position = 0;
    let fresh = Frame::raw(Frame::PEER, 1000, 2);
    guest.send(0, 0, &fresh);
    guest.machine.settle();
    assert_eq!(guest.machine.take_sent(0), [fresh]);
    guest.disable(handle).unwrap();
    let call = ErrorData {
        adapter: guest.machine.handle(),
        resource: handle,
        block: guest.block,
    };
    let result = guest.machine.call(Opcode::ERROR_DATA, call.pack());
    assert_eq!(result, Err(ReturnCode::R_STATE));
}

/// M20: a reset releases everything, whatever was going on.
#[test]
fn reset() {
    let mut guest = TestGuest::default();
    for i in 0..20 {
        guest.send(0, 0, &Frame::raw(Frame::PEER, 1000, i));
        guest
            .machine
            .inject(0, &Frame::raw(Frame::STATION, 1000, i));
    }
    guest.machine.reset();
    let stats = guest.machine.stats();
    assert_eq!((stats.live.total(), stats.pinned_bytes), (0, 0));
    assert_eq!(guest.machine.host.irqs_in_use(), 0);
    assert_eq!(guest.machine.deadline(), None);
    // Doorbells for objects before the reset hit nothing, and are counted.
    let registers = guest.ports[0].qps[0].registers;
    guest.machine.store(registers + regs::qp::SQA as u64, 1);
    guest.machine.settle();
    assert_eq!(guest.machine.stats().ignored_mmio, 1);
    guest.ports.clear();
}

/// M20: the kernel of a crash dump finds room beside what its predecessor left, and learns the
/// state of its port.
#[test]
fn a_second_kernel() {
    let mut config = TestMachine::default_config();
    config.max_mrs = 2;
    let mut old = TestGuest::new(config, GuestOptions::default());
    for i in 0..3 {
        old.machine.inject(0, &Frame::raw(Frame::STATION, 500, i));
    }
    old.machine.settle();
    assert_eq!(old.ports[0].qps[0].peek(&old.machine).len(), 3);
    // The machine passes to the new kernel, while the old one frees nothing.
    let machine = std::mem::take(&mut old.machine);
    let mut new = TestGuest::on(machine, GuestOptions::default());
    assert_eq!(new.neq.take(&new.machine).len(), 2);
    let live = new.machine.stats().live;
    assert_eq!((live.neq, live.mr, live.qp, live.bcmc), (2, 2, 2, 2));
    let frame = Frame::raw(Frame::STATION, 700, 9);
    new.machine.inject(0, &frame);
    new.machine.settle();
    assert_eq!(new.receive(0, 0)[0].frame, frame);
    new.machine.reset();
}

/// Ports share nothing.
#[test]
fn two_ports() {
    let mut config = TestMachine::default_config();
    config.macs.push(MacAddress([2, 0, 0, 0, 0, 2]));
    let options = GuestOptions {
        ports: vec![1, 2],
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::new(config, options);
    for (index, last) in [(0, 1), (1, 2)] {
        let frame = Frame::raw([2, 0, 0, 0, 0, last], 300, 1);
        guest.machine.inject(index, &frame);
        guest.send(index, 0, &frame);
        guest.machine.settle();
        assert_eq!(guest.receive(index, 0).len(), 1);
        assert_eq!(guest.receive(1 - index, 0).len(), 0);
        assert_eq!(guest.machine.take_sent(index).len(), 1);
    }
    // A queue pair of one port is not a queue pair of the other.
    let number = guest.ports[0].qps[0].number;
    guest.set_default_qps(2, &[number]);
    guest
        .machine
        .inject(1, &Frame::raw([2, 0, 0, 0, 0, 2], 300, 1));
    guest.machine.settle();
    assert_eq!(guest.machine.stats().ports[1].rx_dropped, 1);
}

/// §6.1: the toggle bit is stored last, together with its aligned doubleword. Until then, the entry
/// looks old.
#[test]
fn entries_become_visible_at_once() {
    let mut guest = TestGuest::default();
    for lap in 0..3 {
        for _ in 0..128 {
            let send = guest.ports[0].qps[0].send_cq.ring.clone();
            let receive = guest.ports[0].qps[0].rq1.clone();
            for (ring, event) in [(send, false), (receive, true)] {
                guest.machine.host.record_writes();
                if event {
                    guest
                        .machine
                        .inject(0, &Frame::raw(Frame::STATION, 100, lap));
                } else {
                    guest.send(0, 0, &Frame::raw(Frame::PEER, 100, lap));
                }
                guest.machine.settle();
                let writes = guest.machine.host.take_writes();
                let (last, earlier) = writes.split_last().unwrap();
                let at = ring.address();
                assert_eq!((last.0, last.1.len()), (at + 8, 8));
                assert_eq!(last.1[1] & 0x80 != 0, ring.toggle.bit());
                for (gpa, bytes) in earlier {
                    let toggle = (at + 9)
                        .checked_sub(*gpa)
                        .and_then(|o| bytes.get(o as usize));
                    assert!(toggle.is_none_or(|b| (b & 0x80 != 0) != ring.toggle.bit()));
                }
            }
            guest.receive(0, 0);
            guest.completions(0, 0);
        }
    }
}
