// SPDX-License-Identifier: GPL-2.0

//! Hypercalls of the HEA.
//!
//! Some calls name memory that the hypervisor or the adapter writes to. Such a call is made with that
//! memory, not with its address alone: [`Memory`].
//!
//! C header: `arch/powerpc/include/asm/hvcall.h`

use super::{
    bindings,
    dma::Reachable,
    page::ContiguousBuffer, //
};
use core::borrow::Borrow;

/// Status of a call that the hypervisor does not know.
const H_FUNCTION: i64 = bindings::H_FUNCTION as i64;

/// Status of a call whose arguments are not valid.
const H_PARAMETER: i64 = bindings::H_PARAMETER as i64;

/// Status of a call that has done its work.
const H_SUCCESS: i64 = bindings::H_SUCCESS as i64;

/// Bytes in a page as the hypervisor counts them.
const PAGE: u64 = 4096;

/// Argument registers of a call, R4 to R12.
type Registers = [u64; 9];

/// Memory that a call names by its real address.
#[derive(Clone, Copy)]
pub enum Memory<'a> {
    /// No memory.
    None,
    /// A page that the hypervisor reads or writes during the call.
    Block(&'a ContiguousBuffer),
    /// A page of a queue, which the adapter reads and writes until the queue is freed.
    Queue(&'a Reachable),
}

impl Memory<'_> {
    /// Checks whether this is the memory that a call with the argument `argument` is about.
    fn suits(self, argument: Argument) -> bool {
        match (self, argument) {
            (Self::None, Argument::None) => true,
            (Self::Block(block), Argument::Block(address)) => {
                block.real_address() == address && block.window().len() as u64 >= PAGE
            }
            (Self::Queue(page), Argument::Queue(address)) => {
                page.address() == address && page.len() >= PAGE
            }
            _ => false,
        }
    }
}

/// Memory that a call is about, by its real address.
#[derive(Clone, Copy)]
enum Argument {
    /// No memory, or memory that the adapter accesses only where a work request says so.
    None,
    /// A page for the time of the call.
    Block(u64),
    /// A page of a queue.
    Queue(u64),
}

impl Argument {
    /// Returns the memory that a call is about; `None` if the call is not one of the HEA's, or its
    /// effect is not known.
    ///
    /// Calls of others are refused, because some of them change this partition's own page tables.
    fn of(opcode: u64, args: &Registers) -> Option<Self> {
        let [_, second, third, fourth, fifth, ..] = *args;
        Some(match u32::try_from(opcode).ok()? {
            bindings::H_RESET_EVENTS
            | bindings::H_FREE_RESOURCE
            | bindings::H_REGISTER_SMR
            | bindings::H_REG_BCMC
            | bindings::H_DEREG_BCMC
            | bindings::H_DISABLE_AND_GET_HEA
            | bindings::H_ALLOC_HEA_RESOURCE => Self::None,
            bindings::H_QUERY_HEA => Self::Block(second),
            bindings::H_ERROR_DATA => Self::Block(third),
            bindings::H_QUERY_HEA_QP
            | bindings::H_MODIFY_HEA_QP
            | bindings::H_QUERY_HEA_PORT
            | bindings::H_MODIFY_HEA_PORT => Self::Block(fifth),
            bindings::H_REGISTER_HEA_RPAGES => match (fifth, page_size_code(second)) {
                (1, SIZE_OF_QUEUE_PAGES) => Self::Queue(fourth),
                // A single page of a memory region, which is larger than those of queues.
                (1, _) => Self::None,
                // A list of pages, which only memory regions have.
                _ => Self::Block(fourth),
            },
            _ => return None,
        })
    }
}

/// Code of the only size that pages of queues have, 4 KiB.
const SIZE_OF_QUEUE_PAGES: u8 = 0;

/// Returns the code of the page size with which pages are registered: bits 48 to 55 of R5.
const fn page_size_code(second: u64) -> u8 {
    // CAST: One byte is taken.
    (second >> 8) as u8
}

/// Registers of the adapter at an address that the hypervisor has answered.
pub struct RegisterBlock {
    address: u64,
}

impl RegisterBlock {
    /// Returns the physical address.
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

/// Answer of a call.
pub struct Answer {
    status: i64,
    registers: Registers,
    /// Physical address of the registers of what the call has allocated.
    block: Option<u64>,
}

impl Answer {
    /// Returns an answer that is not the hypervisor's.
    const fn refusal(status: i64) -> Self {
        Self {
            status,
            registers: [0; 9],
            block: None,
        }
    }

    /// Returns the status.
    pub fn status(&self) -> i64 {
        self.status
    }

    /// Returns the registers R4 to R12.
    ///
    /// They are meaningful only as far as the ABI says so for the opcode and the status.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Returns the registers of the queue or queue pair that the call has allocated, if they are at
    /// `address`.
    pub fn register_block(&self, address: u64) -> Option<RegisterBlock> {
        (self.block? == address).then_some(RegisterBlock { address })
    }
}

impl Borrow<Registers> for Answer {
    fn borrow(&self) -> &Registers {
        &self.registers
    }
}

/// Returns the physical address of the registers of what a successful call has allocated.
fn allocated_registers(opcode: u64, args: &Registers, answer: &Registers) -> Option<u64> {
    /// The kinds of resources that have registers, in the lowest byte of R5.
    const QUEUE_PAIR: u64 = 1;
    const COMPLETION_QUEUE: u64 = 2;

    let [_, control, ..] = *args;
    let [.., r9, r10, _, _] = *answer;
    match (
        opcode == bindings::H_ALLOC_HEA_RESOURCE.into(),
        control & 0xff,
    ) {
        (true, COMPLETION_QUEUE) => Some(r9),
        (true, QUEUE_PAIR) => Some(r10),
        _ => None,
    }
}

/// Calls the hypervisor with up to nine arguments. Any context.
///
/// Unused arguments are 0. The call does not sleep and is not repeated: a long-busy status is returned. If
/// the call names memory, `memory` must be that memory; no call is made
/// otherwise.
pub fn hea_call9(opcode: u64, args: [u64; 9], memory: Memory<'_>) -> Answer {
    let mut rets = [0usize; bindings::PLPAR_HCALL9_BUFSIZE as usize];

    match Argument::of(opcode, &args) {
        None => return Answer::refusal(H_FUNCTION),
        Some(argument) if !memory.suits(argument) => return Answer::refusal(H_PARAMETER),
        Some(_) => {}
    }

    let [a, b, c, d, e, f, g, h, i] = args;
    // CAST: `unsigned long` has 64 bits here.
    let number = opcode as usize;
    // SAFETY: There is room for as many registers as the hypervisor returns. The opcode is one of the HEA's,
    // so that the call changes no resource of the kernel itself. What the hypervisor writes to during the
    // call is a page of the caller's, and so is what the adapter writes to of its own accord afterwards.
    let status =
        unsafe { bindings::plpar_hcall9(number, rets.as_mut_ptr(), a, b, c, d, e, f, g, h, i) };
    let status = status as i64;
    let registers = rets.map(|register| register as u64);
    let block = match status {
        H_SUCCESS => allocated_registers(opcode, &args, &registers),
        _ => None,
    };
    Answer {
        status,
        registers,
        block,
    }
}
