// SPDX-License-Identifier: GPL-2.0

//! Tests of memory regions: limits, page sizes, cost, and memory that comes and goes.

use ehea_abi::cb::adapter::{AdapterBlock, PageSize, PageSizes};
use ehea_abi::hcall::{
    FreeResource, MrAllocated, Opcode, QueryHea, QueueSelect, RegisterRpages, RegisterSmr,
    ReturnCode, ACCESS_LOCAL_WRITE,
};
use ehea_abi::wqe::{Descriptor, SwqeFormat, SwqeHeader};
use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::IntoBytes as _;

use crate::config::Config;
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine, PD};

const MIB: u64 = 1 << 20;
const START: u64 = 0x8000_0000_0000_0000;

fn config(sizes: u32) -> Config {
    Config {
        mr_page_sizes: PageSizes(sizes),
        ..TestMachine::default_config()
    }
}

/// Traffic works with every page size. Larger pages need fewer calls.
#[test]
fn page_sizes() {
    for (page, calls) in [
        (PageSize::K4, 32),
        (PageSize::K64, 2),
        (PageSize::M1, 1),
        (PageSize::M16, 1),
    ] {
        let options = GuestOptions {
            page,
            ..GuestOptions::default()
        };
        let mut guest = TestGuest::new(config(0xf000_0000), options);
        let stats = guest.machine.stats();
        let mr = &stats.mrs[0];
        assert_eq!(
            (mr.register_calls, mr.page_bytes, mr.bytes, mr.smrs),
            (calls, page.bytes(), 64 * MIB, 2)
        );
        assert_eq!(mr.pages * page.bytes(), mr.bytes);
        assert_eq!(mr.runs, [(0, 32 * MIB), (48 * MIB, 32 * MIB)]);
        assert_eq!(stats.hcalls["H_REGISTER_HEA_RPAGES"] - calls, 45);
        let frame = Frame::raw(Frame::STATION, 5000, 1);
        guest.machine.inject(0, &frame);
        guest.send(0, 0, &frame);
        guest.machine.settle();
        assert_eq!(guest.receive(0, 0)[0].frame, frame);
        assert_eq!(guest.machine.take_sent(0), [frame]);
    }
}

/// §12: a page size is refused if the adapter does not have it or the region was not allocated with
/// it.
#[test]
fn page_sizes_are_checked() {
    let mut machine = TestMachine::new(config(0xc000_0000));
    for (size, legal) in [(0, true), (1, true), (2, false), (3, false), (4, false)] {
        let call = ehea_abi::hcall::AllocMr {
            page_size: size,
            ..TestGuest::alloc_mr_call(&machine, PageSize::K4)
        };
        let result = machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack());
        assert_eq!(result.is_ok(), legal, "{size}");
    }
    machine.reset();
}

#[test]
fn the_adapter_tells_what_it_has() {
    let mut machine = TestMachine::new(config(0x9000_0000));
    let block = machine.alloc_pages(1);
    let call = QueryHea {
        adapter: machine.handle(),
        block,
    };
    machine.call(Opcode::QUERY_HEA, call.pack()).unwrap();
    let info: AdapterBlock = machine.read(block);
    assert_eq!(info.mr_page_size.get(), 0x9000_0000);
    assert_eq!(info.max_mr_size.get(), 64 * MIB);
    assert_eq!((info.max_mrs.get(), info.max_qps.get()), (8, 64));
    assert_eq!((info.max_cqs.get(), info.max_eqs.get()), (128, 128));
    assert_eq!((info.num_ports.get(), info.max_mc_mac.get()), (1, 65));
    assert_eq!((info.cur_mrs.get(), info.cur_qps.get()), (0, 0));
}

/// The limit is the current size of memory, in sections (§8).
#[test]
fn a_region_is_not_larger_than_memory() {
    let mut machine = TestMachine::default();
    let call = |length| ehea_abi::hcall::AllocMr {
        adapter: TestMachine::default_config().adapter_handle,
        start: START,
        length,
        access: ACCESS_LOCAL_WRITE,
        page_size: 0,
        pd: PD,
    };
    for (ram, length, legal) in [
        (64 * MIB, 64 * MIB, true),
        (64 * MIB, 64 * MIB + 4096, false),
        (63 * MIB, 64 * MIB, true),
        (80 * MIB, 80 * MIB, true),
        (64 * MIB, 80 * MIB, false),
    ] {
        machine.claim_ram(ram);
        let result = machine.call(Opcode::ALLOC_HEA_RESOURCE, call(length).pack());
        assert_eq!(result.is_ok(), legal, "{length:#x} of {ram:#x}");
    }
    machine.reset();
}

/// M23: the machine is asked about runs, not pages, and the list is read once.
#[test]
fn registration_is_cheap() {
    let mut machine = TestMachine::default();
    machine.host.take_accesses();
    let before = machine.stats().dma.read_bytes;
    let mr = TestGuest::register_memory(&mut machine, PageSize::K4);
    assert_eq!(machine.host.take_accesses().len(), 32);
    assert_eq!(machine.stats().dma.read_bytes - before, 16384 * 8);
    assert_eq!(machine.stats().pinned_bytes, 64 * MIB);
    free(&mut machine, mr.handle).unwrap();
}

fn free(machine: &mut TestMachine, resource: u64) -> Result<(), ReturnCode> {
    let call = FreeResource {
        adapter: machine.handle(),
        resource,
        force: true,
    };
    machine.call(Opcode::FREE_RESOURCE, call.pack()).map(|_| ())
}

/// Either all pages of a call are registered, or none.
#[test]
fn a_bad_page_spoils_the_call() {
    let mut machine = TestMachine::default();
    let call = ehea_abi::hcall::AllocMr {
        length: 4 * 4096,
        ..TestGuest::alloc_mr_call(&machine, PageSize::K4)
    };
    let regs = machine
        .call(Opcode::ALLOC_HEA_RESOURCE, call.pack())
        .unwrap();
    let mr = MrAllocated::unpack(&regs);
    let list = machine.alloc_pages(1);
    let register = |machine: &mut TestMachine, pages: &[u64], address: u64| {
        let entries: Vec<U64> = pages.iter().map(|&p| U64::new(p)).collect();
        machine.write(list, entries.as_slice());
        let mut regs = RegisterRpages {
            adapter: machine.handle(),
            page_size: 0,
            queue: QueueSelect::Sq,
            resource: mr.handle,
            address: list + address,
            count: pages.len() as u64,
        }
        .pack();
        machine.hcall(Opcode::REGISTER_HEA_RPAGES, &mut regs)
    };
    let bad = |code: ReturnCode| code.0 < 0;
    assert!(bad(register(&mut machine, &[0x1000, 40 * MIB], 0)));
    assert!(bad(register(&mut machine, &[0x1000, 0x2001], 0)));
    assert!(bad(register(&mut machine, &[0x1000, 0x2000], 8)));
    assert!(bad(register(&mut machine, &[0x1000, u64::MAX << 12], 0)));
    assert!(bad(register(&mut machine, &[0x1000; 5], 0)));
    assert_eq!(machine.stats().mrs[0].pages, 0);
    let code = register(&mut machine, &[0x5000, 0x6000, 0x1000], 0);
    assert_eq!(code, ReturnCode::PAGE_REGISTERED);
    assert!(bad(register(&mut machine, &[0x1000, 0x2000], 0)));
    let stats = machine.stats();
    assert_eq!(stats.mrs[0].runs, [(0x5000, 0x2000), (0x1000, 0x1000)]);
    assert_eq!(
        (stats.mrs[0].register_calls, stats.pinned_bytes),
        (1, 0x3000)
    );
    free(&mut machine, mr.handle).unwrap();
    assert_eq!(free(&mut machine, mr.handle), Err(ReturnCode::RH_PARM));
}

/// Sends 1000 bytes from an adapter address with a key. Returns whether they were sent.
fn send_from(guest: &mut TestGuest, vaddr: u64, key: u32) -> bool {
    let mut entry = [0u8; 512];
    let header = SwqeHeader {
        tx_control: U16::new(SwqeFormat::Descriptors.flags().0),
        descriptors: 1,
        ..SwqeHeader::default()
    };
    entry[..32].copy_from_slice(header.as_bytes());
    entry[32..48].copy_from_slice(Descriptor::new(vaddr, key, 1000).as_bytes());
    guest.ports[0].qps[0].post_raw(&mut guest.machine, &entry);
    guest.machine.settle();
    guest.machine.take_sent(0).len() == 1
}

/// Memory that leaves while it is registered is counted once and not touched any more.
#[test]
fn memory_that_leaves() {
    let mut guest = TestGuest::default();
    let key = guest.ports[0].qps[0].lkeys[0];
    assert!(send_from(&mut guest, START + 34 * MIB, key));
    guest.machine.remove_ram(40 * MIB, 8 * MIB);
    assert_eq!(guest.machine.stats().removed_while_registered, 0, "a hole");
    guest.machine.remove_ram(48 * MIB, 16 * MIB);
    guest.machine.remove_ram(48 * MIB, 16 * MIB);
    let stats = guest.machine.stats();
    assert_eq!(stats.removed_while_registered, 1);
    assert_eq!(stats.mrs[0].runs, [(0, 32 * MIB), (64 * MIB, 16 * MIB)]);
    assert!(send_from(&mut guest, START + 48 * MIB, key));
    assert!(send_from(&mut guest, START + 32 * MIB - 1000, key));
    // New memory at the same place is not the memory that was registered.
    guest.machine.add_ram(48 * MIB, 16 * MIB);
    assert!(!send_from(&mut guest, START + 34 * MIB, key));
    let stats = guest.machine.stats();
    assert_eq!(
        (stats.refusals["MemoryGone"], stats.refused_accesses),
        (1, 1)
    );
}

/// Memory that the guest has given back is not touched any more, though the machine still has it.
/// It is not reached through a region, cannot be registered again, and cannot hold a control block.
#[test]
fn memory_that_was_given_back() {
    let mut guest = TestGuest::default();
    guest.machine.may_leak = true;
    let key = guest.ports[0].qps[0].lkeys[0];
    assert!(send_from(&mut guest, START + 34 * MIB, key));
    guest.machine.give_back(48 * MIB, 16 * MIB);
    let stats = guest.machine.stats();
    assert_eq!(stats.removed_while_registered, 1);
    assert_eq!(stats.removed_accesses, 0);

    let call = TestGuest::alloc_mr_call(&guest.machine, PageSize::K4);
    let regs = guest.machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack());
    let page = RegisterRpages {
        adapter: guest.machine.handle(),
        page_size: 0,
        queue: QueueSelect::Sq,
        resource: MrAllocated::unpack(&regs.unwrap()).handle,
        address: 64 * MIB - 4096,
        count: 1,
    };
    let register = |guest: &mut TestGuest, page: RegisterRpages| {
        let code = guest
            .machine
            .hcall(Opcode::REGISTER_HEA_RPAGES, &mut page.pack());
        (code, guest.machine.stats().removed_accesses)
    };
    assert_eq!(register(&mut guest, page), (ReturnCode::MEM_PARM, 1));
    // The memory cannot hold a list of pages.
    let list = RegisterRpages { count: 2, ..page };
    let (code, removed) = register(&mut guest, list);
    assert_eq!((code == ReturnCode::PAGE_REGISTERED, removed), (false, 2));
    assert_eq!(guest.machine.stats().refused_accesses, 0);

    // When the guest has the memory again, it can be registered, but the old registration is void.
    guest.machine.take_back(48 * MIB, 16 * MIB);
    assert_eq!(register(&mut guest, page), (ReturnCode::PAGE_REGISTERED, 2));
    assert!(!send_from(&mut guest, START + 34 * MIB, key));
    let stats = guest.machine.stats();
    assert_eq!(stats.refusals["MemoryGone"], 1);
    assert_eq!((stats.refused_accesses, stats.removed_accesses), (1, 3));
}

/// A work request is not executed if its memory was given back before.
#[test]
fn queues_that_were_given_back() {
    let mut guest = TestGuest::default();
    guest.machine.may_leak = true;
    let queue = guest.ports[0].qps[0].sq.base;
    guest.machine.give_back(queue, 4096);
    let key = guest.ports[0].qps[0].lkeys[0];
    assert!(!send_from(&mut guest, START, key));
    let stats = guest.machine.stats();
    assert_eq!(stats.refusals["QueueMemoryGone"], 1);
    // The region lost the page, too.
    assert_eq!(
        (stats.removed_while_registered, stats.removed_accesses),
        (2, 1)
    );
    // After a reset, all memory belongs to the guest.
    guest.machine.reset();
    let mut guest = TestGuest::default();
    let key = guest.ports[0].qps[0].lkeys[0];
    assert!(send_from(&mut guest, START, key));
}

/// Make before break: there are two regions at once, and the key in a work request chooses one.
#[test]
fn two_regions_at_once() {
    let mut guest = TestGuest::default();
    let old = guest.ports[0].qps[0].lkeys[0];
    let new = TestGuest::register_memory(&mut guest.machine, PageSize::K4);
    let call = RegisterSmr {
        adapter: guest.machine.handle(),
        mr: new.handle,
        start: START + MIB,
        access: ACCESS_LOCAL_WRITE,
        pd: PD,
    };
    let regs = guest
        .machine
        .call(Opcode::REGISTER_SMR, call.pack())
        .unwrap();
    let shared = MrAllocated::unpack(&regs);
    assert!(send_from(&mut guest, START, old));
    assert!(send_from(&mut guest, START + MIB, shared.lkey));
    assert!(send_from(&mut guest, START + 64 * MIB, shared.lkey));
    assert!(
        send_from(&mut guest, START, new.lkey),
        "a region's own key works too"
    );
    // A region is freed by force; its alias stays behind and is useless.
    assert_eq!(guest.free(new.handle, false), Err(ReturnCode::R_STATE));
    guest.free(new.handle, true).unwrap();
    assert!(send_from(&mut guest, START, old));
    assert!(!send_from(&mut guest, START + MIB, shared.lkey));
    guest.free(shared.handle, true).unwrap();
}

/// An alias has no rights that its region does not have.
#[test]
fn a_read_only_region() {
    let mut machine = TestMachine::default();
    let call = ehea_abi::hcall::AllocMr {
        length: 4096,
        access: 0,
        ..TestGuest::alloc_mr_call(&machine, PageSize::K4)
    };
    let regs = machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack());
    let mr = MrAllocated::unpack(&regs.unwrap()).handle;
    let page = RegisterRpages {
        adapter: machine.handle(),
        page_size: 0,
        queue: QueueSelect::Sq,
        resource: mr,
        address: 0x1000,
        count: 1,
    };
    machine
        .call(Opcode::REGISTER_HEA_RPAGES, page.pack())
        .unwrap();
    for (access, legal) in [(0, true), (ACCESS_LOCAL_WRITE, false)] {
        let call = RegisterSmr {
            adapter: machine.handle(),
            mr,
            start: START,
            access,
            pd: PD,
        };
        let result = machine.call(Opcode::REGISTER_SMR, call.pack());
        assert_eq!(result.is_ok(), legal);
    }
    machine.reset();
}
