// SPDX-License-Identifier: GPL-2.0

//! Tests of the limits on what a guest can make the adapter store.

use ehea_abi::cb::adapter::PageSize;
use ehea_abi::cb::port::{MacAddress, PortBlock0, PortCategory};
use ehea_abi::hcall::{
    BcmcArgs, BcmcScope, MrAllocated, Opcode, QueueSelect, RegisterRpages, Regs, ReturnCode,
    MAX_PAGES_PER_CALL,
};
use ehea_abi::wqe::{Descriptor, SwqeFormat, SwqeHeader, TxControl};
use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::IntoBytes as _;

use crate::testkit::{TestGuest, TestMachine};

/// Maximum number of registrations of a port (abi.rst).
const REGISTRATIONS: u64 = 256;
/// Maximum number of pieces of guest memory in all regions.
const PIECES: u64 = 1 << 18;

fn register(guest: &mut TestGuest, vlan: u16, mac: MacAddress) -> ReturnCode {
    let call = BcmcArgs {
        adapter: guest.machine.handle(),
        port: 1,
        scope: BcmcScope::default(),
        mac,
        vlan,
    };
    guest.machine.hcall(Opcode::REG_BCMC, &mut call.pack())
}

/// Broadcast registrations of a single VLAN, under one address of the port after the other, have a
/// limit.
#[test]
fn broadcast_registrations() {
    let mut guest = TestGuest::default();
    let old = guest.mac(1);
    for count in 2..600 {
        let mac = MacAddress([2, 0, 0, 0, 1, count as u8]);
        let block = PortBlock0 {
            port_mac_addr: U64::new(mac.pack()),
            ..PortBlock0::default()
        };
        guest.machine.write(guest.block, &block);
        let select = PortBlock0::SELECT_MAC.mask();
        guest
            .port_call(Opcode::MODIFY_HEA_PORT, 1, PortCategory::ATTRIBUTES, select)
            .unwrap();
        let expected = if count < REGISTRATIONS {
            ReturnCode::SUCCESS
        } else {
            ReturnCode::MCG_FULL
        };
        let vlan = count as u16;
        assert_eq!(register(&mut guest, vlan, mac), expected, "{count}");
    }
    assert_eq!(guest.machine.stats().live.bcmc, REGISTRATIONS);
    // A registration that exists needs no room, and one that is removed makes room.
    let mac = MacAddress([2, 0, 0, 0, 1, (599u16 % 256) as u8]);
    assert_eq!(register(&mut guest, 9, mac), ReturnCode::MCG_FULL);
    guest.bcmc(Opcode::DEREG_BCMC, 1, BcmcScope::BROADCAST, old);
    assert_eq!(register(&mut guest, 9, mac), ReturnCode::SUCCESS);
    assert_eq!(register(&mut guest, 9, mac), ReturnCode::SUCCESS);
    guest.machine.may_leak = true;
    guest.machine.reset();
    guest.ports.clear();
}

/// Registers memory in which no page follows the one before, until that is refused. Returns the
/// number of pages, and the call that is refused.
pub(super) fn fill(machine: &mut TestMachine) -> (u64, Regs) {
    machine.claim_ram(16 << 30);
    let list = machine.alloc_pages(1);
    let pages = [0x10_0000u64, 0x20_0000];
    for index in 0..MAX_PAGES_PER_CALL {
        machine.write(list + index as u64 * 8, &U64::new(pages[index % 2]));
    }
    let mut registered = 0;
    loop {
        let mut call = TestGuest::alloc_mr_call(machine, PageSize::K4);
        call.length = 1 << 30;
        let regs = machine
            .call(Opcode::ALLOC_HEA_RESOURCE, call.pack())
            .expect("a region");
        let resource = MrAllocated::unpack(&regs).handle;
        for _ in 0..call.length / 4096 / MAX_PAGES_PER_CALL as u64 {
            let call = RegisterRpages {
                adapter: machine.handle(),
                page_size: 0,
                queue: QueueSelect::Sq,
                resource,
                address: list,
                count: MAX_PAGES_PER_CALL as u64,
            };
            match machine.hcall(Opcode::REGISTER_HEA_RPAGES, &mut call.pack()) {
                ReturnCode::SUCCESS | ReturnCode::PAGE_REGISTERED => {
                    registered += MAX_PAGES_PER_CALL as u64;
                }
                code => {
                    assert_eq!(code, ReturnCode::NOT_ENOUGH_RESOURCES);
                    return (registered, call.pack());
                }
            }
            assert!(registered <= PIECES, "no end");
        }
    }
}

#[test]
fn pieces_of_memory() {
    let mut machine = TestMachine::default();
    let (registered, _) = fill(&mut machine);
    assert_eq!(registered, PIECES);
    let stats = machine.stats();
    assert_eq!(stats.refusals["TranslationLimit"], 1);
    assert_eq!(stats.mrs.iter().map(|mr| mr.run_count).sum::<u64>(), PIECES);
    assert!(stats.mrs.iter().all(|mr| mr.runs.len() <= 4096));
    machine.reset();
}

/// The lengths of descriptors are added up before any of them is translated, because a translation
/// may yield a long list of pieces of memory.
#[test]
fn descriptors_are_bounded_before_they_are_translated() {
    let mut guest = TestGuest::default();
    let qp = &mut guest.ports[0].qps[0];
    let header = SwqeHeader {
        tx_control: U16::new(TxControl::TSO.with(SwqeFormat::Mixed.flags()).0),
        immediate_data_length: 54,
        descriptors: 2,
        mss: U16::new(1448),
        ..SwqeHeader::default()
    };
    let mut entry = [0u8; 512];
    entry[..32].copy_from_slice(header.as_bytes());
    for (index, key) in [qp.lkeys[0], 0].into_iter().enumerate() {
        let at = SwqeFormat::Mixed.descriptor_offset(index, 512).unwrap();
        let descriptor = Descriptor::new(0x8000_0000_0000_0000, key, u32::MAX);
        entry[at..at + 16].copy_from_slice(descriptor.as_bytes());
    }
    qp.post_raw(&mut guest.machine, &entry);
    guest.machine.settle();
    assert_eq!(guest.machine.refusals("FrameTooLong"), 1);
}
