// SPDX-License-Identifier: GPL-2.0

//! Hypercalls of the HEA.
//!
//! C header: `arch/powerpc/include/asm/hvcall.h`

use super::bindings;

/// Whether `opcode` belongs to the HEA: `H_RESET_EVENTS`, `H_FREE_RESOURCE`, `H_REGISTER_SMR`,
/// `H_ERROR_DATA`, and `H_MODIFY_HEA_QP` to `H_ALLOC_HEA_RESOURCE`.
///
/// Others are refused: some of them change this partition's own page tables.
const fn is_hea(opcode: u64) -> bool {
    matches!(opcode, 0x15c | 0x164 | 0x174 | 0x1b4 | 0x250..=0x278)
}

/// Returned for an opcode that isn't the HEA's: `H_FUNCTION`, as from a hypervisor that doesn't
/// know it.
pub const H_FUNCTION: i64 = -2;

/// Calls the hypervisor with up to nine arguments; returns the status and the registers R4 to R12.
///
/// Unused arguments are 0. Returned registers are meaningful only as far as the ABI says so for
/// the opcode and the status. Doesn't sleep, doesn't retry: a long-busy status is returned, see
/// [`long_busy_msecs`]. Any context.
///
/// Real addresses in `args` are addresses that the hypervisor or the adapter will access, as DMA
/// addresses are: they must be those of memory made for it (`page`).
pub fn hea_call9(opcode: u64, args: [u64; 9]) -> (i64, [u64; 9]) {
    let mut rets = [0usize; bindings::PLPAR_HCALL9_BUFSIZE as usize];

    if !is_hea(opcode) {
        return (H_FUNCTION, [0; 9]);
    }

    // CAST: `unsigned long` has 64 bits here.
    let opcode = opcode as usize;
    let [a, b, c, d, e, f, g, h, i] = args;
    // SAFETY: There is room for as many registers as the hypervisor returns. The opcode is one of the HEA's,
    // so that the call changes no resource of the kernel itself.
    let status =
        unsafe { bindings::plpar_hcall9(opcode, rets.as_mut_ptr(), a, b, c, d, e, f, g, h, i) };
    (status as i64, rets.map(|register| register as u64))
}

/// The time in milliseconds that the hypervisor suggests to wait before the call is repeated;
/// `None` if `status` isn't one of the long-busy codes.
pub fn long_busy_msecs(status: i64) -> Option<u64> {
    Some(match u32::try_from(status).ok()? {
        bindings::H_LONG_BUSY_ORDER_1_MSEC => 1,
        bindings::H_LONG_BUSY_ORDER_10_MSEC => 10,
        bindings::H_LONG_BUSY_ORDER_100_MSEC => 100,
        bindings::H_LONG_BUSY_ORDER_1_SEC => 1_000,
        bindings::H_LONG_BUSY_ORDER_10_SEC => 10_000,
        bindings::H_LONG_BUSY_ORDER_100_SEC => 100_000,
        _ => return None,
    })
}
