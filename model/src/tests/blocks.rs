// SPDX-License-Identifier: GPL-2.0

//! Tests of control blocks, registers and statistics.

use ehea_abi::cb::port::{PortBlock0, PortBlock2, PortBlock4, PortCategory, PortSpeed};
use ehea_abi::cb::qp::QpBlock0;
use ehea_abi::hcall::Opcode;
use ehea_abi::regs;
use zerocopy::byteorder::big_endian::U64;

use crate::testkit::{Frame, TestGuest};

/// M13: control blocks have what drivers rely on.
#[test]
fn control_blocks() {
    let mut guest = TestGuest::default();
    let block = guest.block;
    // Only what is selected is written.
    guest.machine.write(block, &[0xaau8; 4096]);
    let query = |guest: &mut TestGuest, category, select: u64| {
        guest
            .port_call(Opcode::QUERY_HEA_PORT, 1, category, select)
            .unwrap();
    };
    query(
        &mut guest,
        PortCategory::ATTRIBUTES,
        PortBlock0::SELECT_MAC.mask(),
    );
    assert_eq!(
        guest.machine.read_bytes(block, 16),
        [0, 0, 2, 0, 0, 0, 0, 1, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa]
    );
    query(
        &mut guest,
        PortCategory::ATTRIBUTES,
        PortBlock0::SELECT_ALL.mask(),
    );
    let attributes: PortBlock0 = guest.machine.read(block);
    let speed = PortSpeed(attributes.port_speed.get());
    assert_eq!(speed.decode(), Some((10_000, true)));
    assert_eq!(attributes.num_default_qps.get(), 1);
    assert_eq!(
        attributes.default_qpn_arr[0].get(),
        u64::from(guest.ports[0].qps[0].number)
    );
    assert_eq!(attributes.reserved1.get(), 0xaaaa_aaaa_aaaa_aaaa);

    query(
        &mut guest,
        PortCategory::LINK,
        PortBlock4::SELECT_ALL.mask(),
    );
    assert_eq!(guest.machine.read::<PortBlock4>(block).jumbo_frame.get(), 1);

    let handle = guest.ports[0].qps[0].handle;
    guest
        .qp_call(Opcode::QUERY_HEA_QP, handle, QpBlock0::SELECT_ALL.mask())
        .unwrap();
    let qp: QpBlock0 = guest.machine.read(block);
    assert_eq!((qp.max_swqes.get(), qp.port_number.get()), (127, 1));

    // Statistics count octets with CRC and frames by destination.
    for (to, n) in [(Frame::PEER, 1), ([0xff; 6], 2), ([1, 0, 0x5e, 0, 0, 1], 3)] {
        for _ in 0..n {
            guest.send(0, 0, &Frame::raw(to, 100, 1));
        }
    }
    for (to, n) in [(Frame::STATION, 4), ([0xff; 6], 5)] {
        for _ in 0..n {
            guest.machine.inject(0, &Frame::raw(to, 50, 1));
        }
    }
    guest.machine.settle();
    query(
        &mut guest,
        PortCategory::STATISTICS,
        PortBlock2::SELECT_ALL.mask(),
    );
    let s: PortBlock2 = guest.machine.read(block);
    let sent = [s.txo, s.txucp, s.txbcp, s.txmcp].map(U64::get);
    assert_eq!(sent, [6 * 104, 1, 2, 3]);
    let received = [s.rxo, s.rxucp, s.rxbcp, s.rxmcp, s.rxufd, s.rxuerr, s.rxftl].map(U64::get);
    assert_eq!(received, [9 * 64, 4, 5, 0, 0, 0, 0]);
}

/// Register accesses of a wrong size or alignment, or to gaps, are ignored.
#[test]
fn register_accesses() {
    let mut guest = TestGuest::default();
    let qp = guest.ports[0].qps[0].registers;
    let cq = guest.ports[0].qps[0].send_cq.registers;
    let machine = &mut guest.machine;
    for (address, size) in [
        (qp + 0x20, 4),
        (qp + 0x24, 8),
        (qp + 0x1000, 8),
        (qp + 0x400, 8),
        (cq + 0x30, 8),
        (cq + 0x78, 8),
        (machine.config().mmio_base + 255 * 0x1_0000, 8),
        (u64::MAX, 8),
    ] {
        let before = machine.stats().ignored_mmio;
        machine.store_sized(address, size, 1);
        assert_eq!(machine.stats().ignored_mmio, before + 1, "{address:#x}");
    }
    assert_eq!(machine.load(qp + regs::qp::RQ1C as u64), 127);
    assert_eq!(machine.load(qp + regs::qp::RQ1A as u64), 0);
    assert_eq!(machine.load(cq + regs::cq::FEC as u64), 256);
    // Giving back what was never taken does not make the queue larger.
    machine.store(cq + regs::cq::FECA as u64, 1);
    assert_eq!(machine.load(cq + regs::cq::FEC as u64), 256);
    assert_eq!(machine.stats().ignored_mmio, 9);
}

/// Statistics survive the conversion to and from JSON, by which they reach tests in other
/// processes.
#[test]
fn statistics_as_json() {
    let guest = TestGuest::default();
    let stats = guest.machine.stats();
    let json = serde_json::to_string(&stats).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::stats::Stats>(&json).unwrap(),
        stats
    );
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["live"]["qp"], 1);
    assert_eq!(
        value["mrs"][0]["runs"][1],
        serde_json::json!([48 << 20, 32 << 20])
    );
    assert_eq!(value["ports"][0]["port"], 1);
}
