// SPDX-License-Identifier: GPL-2.0

//! Tests of ports and adapters that the guest gives back and takes again.

use ehea_abi::cb::port::{PortBlock0, PortCategory};
use ehea_abi::hcall::{Opcode, ReturnCode};

use crate::testkit::{Frame, TestGuest};

/// Asks for the attributes of the first port.
fn query(guest: &mut TestGuest) -> Result<(), ReturnCode> {
    let select = PortBlock0::SELECT_ALL.mask();
    guest.port_call(Opcode::QUERY_HEA_PORT, 1, PortCategory::ATTRIBUTES, select)
}

fn give_back(guest: &mut TestGuest) -> bool {
    let machine = &mut guest.machine;
    machine.adapter.give_back_port(&mut machine.host, 0)
}

/// A port that is in use stays. One that was given back is refused, and loses what comes, until it is taken again; it is
/// as new then.
#[test]
fn port_comes_and_goes() {
    let mut guest = TestGuest::default();
    assert!(guest.machine.adapter.is_in_use());
    assert!(!give_back(&mut guest), "it has queue pairs");
    assert_eq!(query(&mut guest), Ok(()));

    guest.close(0);
    assert!(give_back(&mut guest));
    assert_eq!(query(&mut guest), Err(ReturnCode::AUTHORITY));
    assert_eq!(guest.machine.refusals("PortNotOwned"), 1);
    assert!(!guest.machine.stats().ports[0].owned);
    let before = guest.machine.stats().ports[0].rx_dropped;
    assert!(guest.machine.inject(0, &Frame::raw(Frame::STATION, 500, 1)));
    guest.machine.settle();
    assert_eq!(guest.machine.stats().ports[0].rx_dropped, before + 1);

    let machine = &mut guest.machine;
    machine.adapter.take_back_port(&mut machine.host, 0);
    assert_eq!(query(&mut guest), Ok(()));
    assert!(guest.machine.stats().ports[0].owned);
    guest.open(1);
    let frame = Frame::raw(Frame::PEER, 500, 2);
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert_eq!(guest.machine.take_sent(0), [frame]);
}

/// A reset of the machine gives the guest everything.
#[test]
fn reset_returns_ports() {
    let mut guest = TestGuest::default();
    guest.close(0);
    assert!(give_back(&mut guest));
    guest.machine.reset();
    assert!(guest.machine.stats().ports[0].owned);
    assert!(!guest.machine.adapter.is_in_use());
}
