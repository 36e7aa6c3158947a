// SPDX-License-Identifier: GPL-2.0

//! Tests of the frames that a port accepts, and of the queue pairs that get them.

use ehea_abi::cb::port::{MacAddress, PortBlock1, PortBlock7, PortCategory, ReceiveControl};
use ehea_abi::hcall::{BcmcScope, Opcode};

use super::receive::{deliver, takes};
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 7];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

#[test]
fn groups_need_a_registration() {
    let mut guest = TestGuest::default();
    let mac = guest.mac(1);
    let mut broadcast = Frame::raw([0xff; 6], 100, 1);
    let group = Frame::raw(GROUP, 100, 1);
    let tagged = Frame::tagged(&group, 5);
    assert!(takes(&mut guest, &broadcast) && !takes(&mut guest, &group));

    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::BROADCAST, mac);
    assert!(!takes(&mut guest, &broadcast));
    guest.bcmc(Opcode::REG_BCMC, 1, BcmcScope::BROADCAST, mac);
    broadcast = Frame::tagged(&broadcast, 5);
    assert!(takes(&mut guest, &broadcast));

    guest.bcmc(Opcode::REG_BCMC, 1, BcmcScope::MULTICAST, MacAddress(GROUP));
    assert!(takes(&mut guest, &group) && takes(&mut guest, &tagged));
    let another = Frame::raw([1, 0, 0x5e, 0, 0, 8], 100, 1);
    assert!(!takes(&mut guest, &another));
    guest.bcmc(
        Opcode::DEREG_BCMC,
        1,
        BcmcScope::MULTICAST,
        MacAddress(GROUP),
    );
    assert!(!takes(&mut guest, &group));

    let none = MacAddress::default();
    guest.bcmc(Opcode::REG_BCMC, 1, BcmcScope::ALL_MULTICAST, none);
    assert!(takes(&mut guest, &group) && takes(&mut guest, &another) && takes(&mut guest, &tagged));
    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::ALL_MULTICAST, none);
    assert!(!takes(&mut guest, &group));
    assert_eq!(guest.machine.stats().live.bcmc, 2);
    // Withdrawing a registration twice is no error (M15).
    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::ALL_MULTICAST, none);
}

#[test]
fn vlan_filter() {
    let mut guest = TestGuest::default();
    guest.options.receive_control = guest
        .options
        .receive_control
        .with(ReceiveControl::VLAN_FILTER);
    let number = guest.ports[0].qps[0].number;
    guest.set_default_qps(1, &[number]);
    let frame = Frame::udp(Frame::STATION, (1, 2), &[0; 50]);
    assert!(takes(&mut guest, &frame));
    assert!(!takes(&mut guest, &Frame::tagged(&frame, 100)));
    assert!(
        takes(&mut guest, &Frame::tagged(&frame, 0xe000)),
        "a priority is no VLAN"
    );
    let mut filter = PortBlock1::default();
    filter.set(100, true);
    guest.machine.write(guest.block, &filter);
    let select = PortBlock1::SELECT_ALL.mask();
    guest
        .port_call(
            Opcode::MODIFY_HEA_PORT,
            1,
            PortCategory::VLAN_FILTER,
            select,
        )
        .unwrap();
    assert!(takes(&mut guest, &Frame::tagged(&frame, 0x6064)));
    assert!(!takes(&mut guest, &Frame::tagged(&frame, 101)));
    // The filter survives close and open (§4.4).
    guest.close(0);
    guest.open(1);
    guest.machine.write(guest.block, &PortBlock1::default());
    guest
        .port_call(Opcode::QUERY_HEA_PORT, 1, PortCategory::VLAN_FILTER, select)
        .unwrap();
    assert_eq!(guest.machine.read::<PortBlock1>(guest.block), filter);
}

/// Promiscuous mode takes a number or a handle, survives a dangling one, and ends with 0 (M14).
#[test]
fn default_unicast_queue_pair() {
    let mut guest = TestGuest::default();
    let frame = Frame::raw(OTHER, 100, 1);
    assert!(!takes(&mut guest, &frame));
    let qp = &guest.ports[0].qps[0];
    for (name, expected) in [
        (qp.handle, true),
        (u64::from(qp.number), true),
        (qp.handle ^ 1, false),
        (0x00ff_ffff, false),
        (0, false),
    ] {
        let block = PortBlock7 {
            def_uc_qpn: name.into(),
        };
        guest.machine.write(guest.block, &block);
        let select = PortBlock7::SELECT_ALL.mask();
        let category = PortCategory::DEFAULT_UNICAST_QP;
        guest
            .port_call(Opcode::MODIFY_HEA_PORT, 1, category, select)
            .unwrap();
        assert_eq!(takes(&mut guest, &frame), expected, "{name:#x}");
        assert!(takes(&mut guest, &Frame::raw(Frame::STATION, 100, 1)));
    }
}

/// The frames of a flow stay together, different flows are spread, and everything else goes to the
/// first queue pair.
#[test]
fn flows_are_spread() {
    let options = GuestOptions {
        queue_pairs: 4,
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::new(TestMachine::default_config(), options);
    let mut used = [0; 4];
    for port in 0..40 {
        let frame = Frame::udp(Frame::STATION, (port, 80), &[0; 30]);
        for _ in 0..2 {
            guest.machine.inject(0, &frame);
            guest.machine.inject(0, &Frame::tagged(&frame, 3));
        }
        guest.machine.settle();
        let counts: Vec<usize> = (0..4).map(|qp| guest.receive(0, qp).len()).collect();
        let at = counts
            .iter()
            .position(|&n| n == 4)
            .expect("all on one queue pair");
        used[at] += 1;
    }
    assert!(used.iter().all(|&n| n > 2), "{used:?}");
    for frame in [
        Frame::raw(Frame::STATION, 100, 1),
        Frame::raw([0xff; 6], 100, 1),
    ] {
        assert_eq!(deliver(&mut guest, &frame).len(), 1);
    }
}

/// The two registrations of a pair are for untagged and for tagged frames.
#[test]
fn tagged_and_untagged_are_registered_apart() {
    let mut guest = TestGuest::default();
    let mac = guest.mac(1);
    let [untagged, tagged] = BcmcScope::BROADCAST;
    let frame = Frame::raw([0xff; 6], 100, 1);
    for (scope, expected) in [(untagged, [true, false]), (tagged, [false, true])] {
        guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::BROADCAST, mac);
        guest.bcmc(Opcode::REG_BCMC, 1, [scope; 2], mac);
        let got = [
            takes(&mut guest, &frame),
            takes(&mut guest, &Frame::tagged(&frame, 5)),
        ];
        assert_eq!(got, expected);
    }
}
