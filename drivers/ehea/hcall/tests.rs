// SPDX-License-Identifier: GPL-2.0

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::string::ToString as _;
use std::vec::Vec;

use super::*;
use crate::abi::hcall::{Opcode, QueueSelect, RegisterRpages, Regs, ReturnCode};

/// Gives prepared answers and takes note of calls.
#[derive(Default)]
struct Script {
    answers: RefCell<VecDeque<ReturnCode>>,
    calls: RefCell<Vec<(Opcode, Regs)>>,
    slept_ms: Cell<u64>,
    not_freed: RefCell<Vec<HcallError>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = ReturnCode>) -> Self {
        Self {
            answers: RefCell::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }
}

impl Hypervisor for Script {
    type Block = ();
    type QueuePage = u64;
    type Results = Regs;

    fn call(&self, opcode: Opcode, regs: Regs, memory: Memory<'_, Self>) -> (ReturnCode, Regs) {
        // A queue's page is the one that the registers name.
        if let Memory::Queue(&page) = memory {
            assert_eq!(RegisterRpages::unpack(&regs).address, page);
        }
        self.calls.borrow_mut().push((opcode, regs));
        let mut answers = self.answers.borrow_mut();
        // The last answer is repeated.
        let code = match answers.len() {
            1 => answers[0],
            _ => answers.pop_front().unwrap(),
        };
        (code, [42; 9])
    }

    fn sleep_ms(&self, ms: u32) {
        self.slept_ms.set(self.slept_ms.get() + u64::from(ms));
    }

    fn not_freed(&self, _resource: u64, error: &HcallError) {
        self.not_freed.borrow_mut().push(*error);
    }
}

const ARGS: Regs = [1, 2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn busy_firmware_gets_the_same_call_again() {
    let script = Script::new([
        ReturnCode::LONG_BUSY_ORDER_10_MSEC,
        ReturnCode::BUSY,
        ReturnCode::LONG_BUSY_ORDER_1_SEC,
        ReturnCode::SUCCESS,
    ]);
    let firmware = Caller::new(&script, 1);
    assert_eq!(
        firmware.call(Opcode::QUERY_HEA, ARGS, "adapter"),
        Ok([42; 9])
    );
    assert_eq!(*script.calls.borrow(), [(Opcode::QUERY_HEA, ARGS); 4]);
    assert_eq!(script.slept_ms.get(), 10 + 1 + 1000);
}

#[test]
fn patience_ends() {
    for code in [
        ReturnCode::BUSY,
        ReturnCode::LONG_BUSY_ORDER_1_MSEC,
        ReturnCode::LONG_BUSY_ORDER_10_SEC,
        ReturnCode::LONG_BUSY_ORDER_100_SEC,
    ] {
        let script = Script::new([code]);
        let error = Caller::new(&script, 1).call(Opcode::QUERY_HEA, ARGS, "adapter");
        assert_eq!(error.unwrap_err().code, code);
        assert_eq!(script.slept_ms.get(), u64::from(BUSY_TIMEOUT_MS));
    }
}

#[test]
fn other_answers_are_failures() {
    for code in [
        ReturnCode::PAGE_REGISTERED,
        ReturnCode::AUTHORITY,
        ReturnCode(9906),
        ReturnCode(9899),
        ReturnCode(-9900),
        ReturnCode(i64::MIN),
    ] {
        let script = Script::new([code]);
        let error = Caller::new(&script, 1).call(Opcode::QUERY_HEA, ARGS, "adapter");
        assert_eq!(error.unwrap_err().code, code);
        assert_eq!(script.calls.borrow().len(), 1);
        assert_eq!(script.slept_ms.get(), 0);
    }
}

#[test]
fn errors_name_call_and_code() {
    let error = HcallError {
        opcode: Opcode::ALLOC_HEA_RESOURCE,
        code: ReturnCode::NOT_ENOUGH_RESOURCES,
        what: "memory region",
    };
    assert_eq!(
        error.to_string(),
        "H_ALLOC_HEA_RESOURCE (memory region) failed: H_NOT_ENOUGH_RESOURCES (-44)"
    );
}

#[test]
fn queue_pages_one_by_one() {
    let more = ReturnCode::PAGE_REGISTERED;
    let script = Script::new([more, more, ReturnCode::SUCCESS]);
    let pages = [0x1000, 0x5000, 0x2000];
    Caller::new(&script, 7)
        .register_queue(9, QueueSelect::Rq2, pages.into_iter(), "RQ2")
        .unwrap();
    let calls: Vec<_> = script
        .calls
        .borrow()
        .iter()
        .map(|(_, regs)| RegisterRpages::unpack(regs))
        .collect();
    assert_eq!(
        calls,
        pages.map(|address| RegisterRpages {
            adapter: 7,
            page_size: 0,
            queue: QueueSelect::Rq2,
            resource: 9,
            address,
            count: 1,
        })
    );
}

/// The two good answers in the wrong place, and others, on each call.
#[test]
fn queue_pages_need_the_exact_answer() {
    for wrong in 0..3 {
        for code in [
            ReturnCode::SUCCESS,
            ReturnCode::PAGE_REGISTERED,
            ReturnCode::PARAMETER,
            ReturnCode(2),
        ] {
            let more = ReturnCode::PAGE_REGISTERED;
            let mut answers = [more, more, ReturnCode::SUCCESS];
            let expected = answers[wrong];
            answers[wrong] = code;
            let script = Script::new(answers);
            let result = Caller::new(&script, 7).register_queue(
                9,
                QueueSelect::Sq,
                [1, 2, 3].into_iter(),
                "EQ",
            );
            assert_eq!(result.is_ok(), code == expected, "{code} to call {wrong}");
            if let Err(error) = result {
                assert_eq!(error.code, code);
                assert_eq!(script.calls.borrow().len(), wrong + 1);
            }
        }
    }
}

#[test]
fn no_call_for_a_single_page_behind_others() {
    for total in (1..3000).chain([1 << 20, (1 << 20) + 1]) {
        let mut left = total;
        let mut calls = 0;
        while left > 0 {
            let count = next_count(left);
            assert!(count <= 512 && count <= left);
            assert!(count > 1 || total == 1, "a single page of {total}");
            left -= count;
            calls += 1;
        }
        assert_eq!(calls, total.div_ceil(512));
    }
}
