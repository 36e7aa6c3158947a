// SPDX-License-Identifier: GPL-2.0

//! Registration of memory regions and queues.

use std::rc::Rc;

use ehea_core::abi::cb::adapter::{PageSize, PageSizes};
use ehea_core::abi::hcall::{AllocEq, EqAllocated, EqKind, Opcode, QueueSelect, ReturnCode};
use ehea_core::bmap::SECTION_SIZE;
use ehea_core::hcall::HcallError;
use ehea_core::mr::{MemoryRegion, RegisterError, SharedRegion};
use ehea_core::queue::EqGeometry;
use ehea_model::testkit::TestMachine;

use super::guest::{map_of, Guest, Refusal};

const ALL_SIZES: PageSizes = PageSizes(0xf000_0000);

fn machine(sizes: PageSizes, ram: &[(u64, u64)]) -> TestMachine {
    let mut config = TestMachine::default_config();
    config.mr_page_sizes = sizes;
    TestMachine::with_ram(config, ram)
}

/// Memory of 80 MiB, in two pieces.
const RAM: [(u64, u64); 2] = [(0, 2 * SECTION_SIZE), (4 * SECTION_SIZE, 3 * SECTION_SIZE)];

#[test]
fn all_memory_in_the_order_of_the_map() {
    for (sizes, size, calls) in [
        (0x8000_0000, PageSize::K4, 5 * 8),
        (0, PageSize::K4, 5 * 8),
        (0xc000_0000, PageSize::K64, 3),
        (0xe000_0000, PageSize::M1, 1),
        (0xa000_0000, PageSize::M1, 1),
        (0xf000_0000, PageSize::M16, 1),
    ] {
        let sizes = PageSizes(sizes);
        let guest = Guest::new(machine(sizes, &RAM));
        let map = guest.map();
        let region =
            MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, sizes).unwrap();
        assert_eq!(region.page_size(), size);
        assert_eq!(region.register_calls(), calls);

        let stats = guest.machine.borrow().stats();
        let [mr] = &stats.mrs[..] else {
            panic!("{stats:?}")
        };
        assert_eq!(mr.handle, region.handle());
        assert_eq!(mr.bytes, map.total_bytes());
        assert_eq!(mr.page_bytes, size.bytes());
        assert_eq!(mr.register_calls, calls);
        assert_eq!(mr.runs, RAM);
        drop(region);
        assert!(guest.not_freed.borrow().is_empty());
        assert_eq!(guest.machine.borrow().stats().live.total(), 0);
    }
}

/// Registering 1 GiB in 4 KiB pages takes 512 calls, besides the one that allocates.
#[test]
fn calls_for_a_gibibyte() {
    let guest = Guest::new(machine(PageSizes(0), &[(0, 1 << 30)]));
    let map = guest.map();
    let region =
        MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, PageSizes(0)).unwrap();
    assert_eq!(region.register_calls(), 512);
    assert_eq!(guest.calls.borrow().len(), 513);
}

/// A whole region can be a single page of 16 MiB, or one page more than a page list holds.
#[test]
fn single_pages() {
    for (sections, calls) in [(1, 1), (512, 1), (513, 2), (514, 2)] {
        let guest = Guest::new(machine(ALL_SIZES, &[(0, sections * SECTION_SIZE)]));
        let map = guest.map();
        let region =
            MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, ALL_SIZES).unwrap();
        assert_eq!(region.register_calls(), calls);
        let stats = guest.machine.borrow().stats();
        assert_eq!(stats.mrs[0].runs, [(0, sections * SECTION_SIZE)]);
    }
}

/// An adapter that announces page sizes and refuses them gets smaller pages.
#[test]
fn falls_back_to_smaller_pages() {
    let guest = Guest::new(machine(PageSizes(0xc000_0000), &RAM));
    let map = guest.map();
    let region =
        MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, ALL_SIZES).unwrap();
    assert_eq!(region.page_size(), PageSize::K64);
    assert_eq!(guest.machine.borrow().refusals("MrPageSize"), 2);
}

#[test]
fn no_memory() {
    let guest = Guest::new(TestMachine::default());
    let map = map_of(&[], &[]);
    let error = MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, ALL_SIZES);
    assert_eq!(error.unwrap_err(), RegisterError::NoMemory);
    assert!(guest.calls.borrow().is_empty());
}

/// The adapter refuses memory that the machine does not have, in the middle of a page list.
#[test]
fn memory_that_is_not_there() {
    let guest = Guest::new(machine(PageSizes(0), &RAM));
    guest.machine.borrow_mut().claim_ram(1 << 30);
    let map = map_of(&[(0, 4 * SECTION_SIZE)], &[]);
    let error = MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, ALL_SIZES);
    let RegisterError::Hcall(error) = error.unwrap_err() else {
        panic!("no hypercall failed")
    };
    assert_eq!(error.opcode, Opcode::REGISTER_HEA_RPAGES);
    assert_eq!(guest.machine.borrow().stats().live.mr, 0);
}

/// Registers regions and frees them. Returns the error if something goes wrong.
fn live(guest: &Guest) -> Result<(), RegisterError> {
    let map = guest.map();
    let region = MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, ALL_SIZES)?;
    let region = Rc::new(region);
    let send = SharedRegion::register(region.clone())?;
    let receive = SharedRegion::register(region)?;
    assert_ne!(send.lkey(), receive.lkey());
    let stats = guest.machine.borrow().stats();
    assert_eq!((stats.live.mr, stats.live.smr), (1, 2));
    assert_eq!(stats.mrs[0].runs, RAM);
    drop(send);
    drop(receive);
    Ok(())
}

/// Each call in the life of a region fails in turn, with each code. What could not be made is
/// reported by name and leaves nothing behind. What could not be freed is reported and lost.
#[test]
fn every_call_fails_with_every_code() {
    for sizes in [PageSizes(0xc000_0000), ALL_SIZES] {
        let guest = Guest::new(machine(sizes, &RAM));
        live(&guest).unwrap();
        let script = guest.calls.borrow().clone();
        assert!(script.len() >= 7, "{script:?}");

        for n in 1..=script.len() as u64 {
            let (opcode, good) = script[n as usize - 1];
            let codes = ReturnCode::ALL.iter().copied();
            let codes = codes.chain([ReturnCode(-55), ReturnCode(9906), ReturnCode(i64::MIN)]);
            // A caller cannot notice that a call reports success without having done anything,
            // except for pages.
            let is_pages = opcode == Opcode::REGISTER_HEA_RPAGES;
            for code in codes.filter(|&code| code != good && (is_pages || !code.is_success())) {
                check_refusal(sizes, n, opcode, code);
            }
        }
    }
}

fn check_refusal(sizes: PageSizes, n: u64, opcode: Opcode, code: ReturnCode) {
    let context = format!("call {n}, {opcode} answers {code}");
    let guest = Guest::new(machine(sizes, &RAM));
    guest.refuse(Some(Refusal {
        opcode: None,
        calls: n..=n,
        spare_free: false,
        code,
    }));
    let result = live(&guest);
    assert!(guest.refused(), "{context}");

    let live = guest.machine.borrow().stats().live;
    let not_freed = guest.not_freed.borrow();
    let is_busy = code == ReturnCode::BUSY || code.long_busy_ms().is_some();
    if is_busy {
        assert_eq!(result, Ok(()), "{context}");
        assert!(not_freed.is_empty(), "{context}");
    } else if opcode == Opcode::FREE_RESOURCE {
        // The refusal is reported to the hypervisor.
        assert_eq!(result, Ok(()), "{context}");
        let reported = not_freed[0];
        assert_eq!(
            (reported.opcode, reported.code),
            (opcode, code),
            "{context}"
        );
        assert!(live.total() <= 1, "{context}: {live:?}");
        guest.machine.borrow_mut().may_leak = true;
        return;
    } else if let Err(error) = result {
        let RegisterError::Hcall(HcallError {
            opcode: o, code: c, ..
        }) = error
        else {
            panic!("{context}: {error}")
        };
        assert_eq!((o, c), (opcode, code), "{context}");
        let text = error.to_string();
        assert!(text.contains(opcode.name().unwrap()), "{text}");
        assert!(text.contains(&code.0.to_string()), "{text}");
    } else {
        // Smaller pages have made up for the refusal.
        let first_two = [Opcode::ALLOC_HEA_RESOURCE, Opcode::REGISTER_HEA_RPAGES];
        assert!(first_two.contains(&opcode), "{context}");
        assert!(guest.count(Opcode::ALLOC_HEA_RESOURCE) > 1, "{context}");
    }
    assert_eq!(live.total(), 0, "{context}: {live:?}");
    assert!(not_freed.is_empty(), "{context}");
}

/// A lasting refusal ends in an error, whatever page sizes are left to try.
#[test]
fn lasting_refusals() {
    for opcode in [
        Opcode::ALLOC_HEA_RESOURCE,
        Opcode::REGISTER_HEA_RPAGES,
        Opcode::REGISTER_SMR,
    ] {
        for &code in ReturnCode::ALL {
            let last_code = [ReturnCode::SUCCESS, ReturnCode::PAGE_REGISTERED];
            if last_code.contains(&code) {
                continue;
            }
            let guest = Guest::new(machine(ALL_SIZES, &RAM));
            guest.refuse(Some(Refusal {
                opcode: Some(opcode),
                calls: 1..=u64::MAX,
                spare_free: false,
                code,
            }));
            match live(&guest) {
                Err(RegisterError::Hcall(error)) => {
                    assert_eq!((error.opcode, error.code), (opcode, code));
                }
                other => panic!("{opcode} answers {code}: {other:?}"),
            }
            assert_eq!(guest.machine.borrow().stats().live.total(), 0);
        }
    }
}

/// The first region is not affected if no second one fits, and can be freed.
#[test]
fn no_room_for_a_second_region() {
    let mut config = TestMachine::default_config();
    config.max_mrs = 1;
    let guest = Guest::new(TestMachine::new(config));
    let map = guest.map();
    let register =
        || MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, PageSizes(0));
    let first = register().unwrap();
    match register().unwrap_err() {
        RegisterError::Hcall(error) => assert_eq!(error.code, ReturnCode::NOT_ENOUGH_RESOURCES),
        error => panic!("{error}"),
    }
    assert_eq!(guest.machine.borrow().stats().live.mr, 1);
    drop(first);
    drop(register().unwrap());
}

/// A region lives as long as a shared region of it, even if everything else gives it up.
#[test]
fn shared_regions_keep_the_region() {
    let guest = Guest::new(TestMachine::default());
    let map = guest.map();
    let region =
        MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, PageSizes(0)).unwrap();
    let region = Rc::new(region);
    let shared = SharedRegion::register(region.clone()).unwrap();
    drop(region);
    let stats = guest.machine.borrow().stats();
    assert_eq!((stats.live.mr, stats.live.smr), (1, 1));
    drop(shared);
    assert!(guest.not_freed.borrow().is_empty());
    assert_eq!(guest.machine.borrow().stats().live.total(), 0);
    let freed: Vec<_> = guest
        .calls
        .borrow()
        .iter()
        .filter(|call| call.0 == Opcode::FREE_RESOURCE)
        .copied()
        .collect();
    assert_eq!(freed, [(Opcode::FREE_RESOURCE, ReturnCode::SUCCESS); 2]);
}

/// A queue needs exactly the number of pages that the adapter expects.
#[test]
fn queue_pages_must_fit() {
    let guest = Guest::new(TestMachine::default());
    let firmware = guest.firmware();
    let call = AllocEq {
        adapter: firmware.adapter(),
        kind: EqKind::Affiliated,
        interrupt_sources: 1,
        max_eqes: 1000,
    };
    for (difference, code) in [
        (0, None),
        (-1, Some(ReturnCode::PAGE_REGISTERED)),
        (1, Some(ReturnCode::SUCCESS)),
    ] {
        let regs = firmware
            .call(Opcode::ALLOC_HEA_RESOURCE, call.pack(), "EQ")
            .unwrap();
        let eq = EqAllocated::unpack(&regs);
        let geometry = EqGeometry::check(&call, &eq).unwrap();
        let count = geometry.pages() as i64 + difference;
        let base = guest.machine.borrow_mut().alloc_pages(count as u64);
        let pages: Vec<u64> = (0..count as u64).map(|n| base + n * 4096).collect();
        let result = firmware.register_queue(eq.handle, QueueSelect::Sq, pages.into_iter(), "EQ");
        assert_eq!(result.err().map(|error| error.code), code);
        firmware.free(eq.handle, true, "EQ").unwrap();
    }
}
