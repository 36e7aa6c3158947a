// SPDX-License-Identifier: GPL-2.0

//! Memory that comes and goes while a port is being closed or opened: neither can the port be moved, nor is
//! it gone.

use ehea_core::abi::hcall::ReturnCode;

use super::adapter::{block_range, machine};
use super::guest::{Guest, Refusal};
use super::hotplug::{large_pages, Step, Watch};

/// Removes a block while the ports `closing` are being closed.
fn remove_while_closing(max_mrs: u32, closing: &[usize]) {
    let guest = Guest::new(machine(large_pages(), max_mrs, &[0, 1]));
    let mut watch = Watch::new(&guest, [0, 1]);
    watch.step(Step::Use(Some(0)));
    for &port in closing {
        watch.adapter.members()[port].begin_close();
    }
    watch.step(Step::GoingOffline(0));
    assert!(watch.leaving.contains(&0), "the removal was refused");
    assert_eq!(guest.machine.borrow().stats().mrs.len(), 1);
    watch.step(Step::Reset);
    watch.recover();
}

#[test]
fn removal_waits_for_ports_that_close() {
    for closing in [&[0][..], &[1], &[0, 1]] {
        remove_while_closing(8, closing);
    }
}

#[test]
fn removal_waits_where_there_is_room_for_one_region() {
    for closing in [&[0][..], &[1], &[0, 1]] {
        remove_while_closing(1, closing);
    }
}

/// A rebuild for a port that is being opened is not put off because one for a miss has failed.
#[test]
fn a_port_that_opens_gets_its_memory() {
    let guest = Guest::new(machine(large_pages(), 8, &[0]));
    let mut watch = Watch::new(&guest, [0]);
    watch.step(Step::Online(1));
    guest.refuse(Some(Refusal {
        opcode: None,
        calls: 1..=u64::MAX,
        spare_free: true,
        code: ReturnCode::HARDWARE,
    }));
    watch.step(Step::Use(Some(1)));
    watch.step(Step::Work);
    guest.refuse(None);
    assert!(!watch.adapter.mapped().contains(&1));
    let address = block_range(1).start();
    watch.adapter.miss(address);
    assert!(watch.adapter.work().is_ok());
    assert!(!watch.adapter.mapped().contains(&1), "misses are put off");
    watch.adapter.request(address).unwrap();
    assert!(watch.adapter.mapped().contains(&1));
    assert!(watch.adapter.are_all_up());
    watch.recover();
}
