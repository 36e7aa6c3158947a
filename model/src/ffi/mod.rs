// SPDX-License-Identifier: GPL-2.0

//! C interface of the model, qemu/ehea_model.h. This is the only module with `unsafe`.
//!
//! QEMU makes all calls with its big lock held. A call from inside a callback of the same model has
//! no effect and is counted and traced; the header says what it returns. A panic aborts (profile of
//! the workspace).

#![allow(unsafe_code)]

mod host;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void, CStr, CString};
use std::mem::offset_of;
use std::ptr;

use ehea_abi::cb::adapter::PageSizes;
use ehea_abi::cb::port::MacAddress;
use ehea_abi::hcall::{Opcode, Regs, ReturnCode};

use crate::adapter::Adapter;
use crate::config::Config;
use crate::host::{Host as _, TraceLevel};
use crate::stats::Stats;
use crate::temper::{Busy, Rough, Temper};
use crate::MAX_PORTS;
use host::{CHost, CallbackHost, Callbacks};

/// Value of `EHEA_MODEL_ABI`.
const ABI_VERSION: u32 = 7;

/// The C type `struct ehea_model_config`.
#[repr(C)]
pub struct CConfig {
    abi_version: u32,
    num_ports: u32,
    adapter_handle: u64,
    mmio_base: u64,
    mmio_slots: u32,
    max_eqs: u32,
    max_qps: u32,
    max_mrs: u32,
    mr_page_sizes: u32,
    num_default_qps: u32,
    flow_control: u8,
    cmo: u8,
    disabled_drops: u8,
    temper: u8,
    temper_seed: u32,
    reraise_ms: u32,
    reserved: u32,
    mac: [[u8; 8]; MAX_PORTS],
}

const _: () = {
    assert!(size_of::<CConfig>() == 192);
    assert!(offset_of!(CConfig, adapter_handle) == 8);
    assert!(offset_of!(CConfig, num_default_qps) == 44);
    assert!(offset_of!(CConfig, temper_seed) == 52);
    assert!(offset_of!(CConfig, reraise_ms) == 56);
    assert!(offset_of!(CConfig, mac) == 64);
    assert!(size_of::<CHost>() == size_of::<[usize; 15]>());
};

/// Returns the temper for a value of `enum ehea_temper`, or `None` for an unknown one.
fn temper(temper: u8, seed: u32) -> Option<Temper> {
    let rough = |busy| {
        let seed = seed.into();
        Temper::Rough(Rough { seed, busy })
    };
    match temper {
        0 => Some(Temper::Calm),
        1 => Some(rough(Busy::Anywhere)),
        2 => Some(rough(Busy::Sleeping)),
        _ => None,
    }
}

/// The C type `struct ehea_model`.
pub struct CModel {
    /// The model; borrowed while one of its functions runs.
    inner: RefCell<Inner>,
    /// Host for the traces of calls that find `inner` borrowed.
    host: CallbackHost,
    /// Number of these calls.
    reentries: Cell<u64>,
}

/// The model and what its functions need.
struct Inner {
    adapter: Adapter,
    host: CallbackHost,
    /// Text that the last function returned.
    text: CString,
}

impl Inner {
    fn text(&mut self, text: &str) -> *const c_char {
        let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
        self.text = CString::new(bytes).unwrap_or_default();
        self.text.as_ptr()
    }

    fn outcome(&mut self, result: Result<(), String>) -> *const c_char {
        match result {
            Ok(()) => ptr::null(),
            Err(why) => self.text(&why),
        }
    }
}

/// Answer of a function that takes a text, if the model is missing or is being called.
const BUSY: &CStr = c"the adapter cannot be called now";

/// Calls the model behind the pointer `model`. Returns `None` if the pointer is null, and for a
/// call while another one runs, which is counted.
///
/// # Safety
///
/// `model` is null or a pointer from [`ehea_model_create`] that was not destroyed.
unsafe fn enter<R>(
    model: *const CModel,
    what: &str,
    call: impl FnOnce(&mut Inner) -> R,
) -> Option<R> {
    // SAFETY: null or live by this function's contract; all references to it are shared ones.
    let model = unsafe { model.as_ref() }?;
    if let Ok(mut inner) = model.inner.try_borrow_mut() {
        return Some(call(&mut inner));
    }
    model.reentries.set(model.reentries.get().saturating_add(1));
    let mut host = model.host;
    if host.trace_enabled(TraceLevel::Refused) {
        let text = format!("{what} from inside the adapter has no effect");
        host.trace(TraceLevel::Refused, &text);
    }
    None
}

/// Returns the text behind the pointer `text`.
///
/// # Safety
///
/// `text` is null or points to a NUL-terminated string that does not change during the call.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, String> {
    if text.is_null() {
        return Err("no text".into());
    }
    // SAFETY: not null, so terminated by the caller's contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|error| error.to_string())
}

/// Returns the version of this interface.
#[no_mangle]
pub extern "C" fn ehea_model_abi_version() -> u32 {
    ABI_VERSION
}

/// Makes a model. Returns null if the configuration is not valid.
///
/// # Safety
///
/// `config` and `host` are null or point to initialised structures of this interface's version. The
/// functions of `host` may be called with `ctx` and arguments as the header describes them until
/// the model is destroyed.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_create(
    config: *const CConfig,
    host: *const CHost,
    ctx: *mut c_void,
) -> *mut CModel {
    // SAFETY: null or initialised, by this function's contract.
    let (config, host) = unsafe { (config.as_ref(), host.as_ref()) };
    let (Some(config), Some(callbacks)) = (config, host.and_then(Callbacks::checked)) else {
        return ptr::null_mut();
    };
    let Some(macs) = config.mac.get(..config.num_ports as usize) else {
        return ptr::null_mut();
    };
    let Some(temper) = temper(config.temper, config.temper_seed) else {
        return ptr::null_mut();
    };
    if config.abi_version != ABI_VERSION {
        return ptr::null_mut();
    }
    let config = Config {
        adapter_handle: config.adapter_handle,
        mmio_base: config.mmio_base,
        mmio_slots: config.mmio_slots,
        max_eqs: config.max_eqs,
        max_qps: config.max_qps,
        max_mrs: config.max_mrs,
        mr_page_sizes: PageSizes(config.mr_page_sizes),
        num_default_qps: config.num_default_qps,
        flow_control: config.flow_control != 0,
        cmo: config.cmo != 0,
        disabled_drops: config.disabled_drops != 0,
        temper,
        reraise_ms: config.reraise_ms,
        macs: macs
            .iter()
            .map(|&[a, b, c, d, e, f, _, _]| MacAddress([a, b, c, d, e, f]))
            .collect(),
    };
    match Adapter::new(config) {
        Ok(adapter) => {
            let host = CallbackHost { callbacks, ctx };
            Box::into_raw(Box::new(CModel {
                inner: RefCell::new(Inner {
                    adapter,
                    host,
                    text: CString::default(),
                }),
                host,
                reentries: Cell::new(0),
            }))
        }
        Err(_) => ptr::null_mut(),
    }
}

/// Releases everything, including the model.
///
/// # Safety
///
/// `model` is null or a pointer from [`ehea_model_create`]; it is not used after this call.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_destroy(model: *mut CModel) {
    // SAFETY: this function's contract.
    let reset = unsafe { enter(model, "its end", |m| m.adapter.reset(&mut m.host)) };
    if reset.is_some() {
        // SAFETY: made by `Box::into_raw()` and given back only here, by this function's contract;
        // no call uses it, or it could not have been reset.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// Resets the model with the machine.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_reset(model: *mut CModel) {
    // SAFETY: this function's contract.
    unsafe { enter(model, "a reset", |m| m.adapter.reset(&mut m.host)) };
}

/// Handles a hypercall and returns its return code.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`]; `args` is null or points to nine
/// registers that nobody else accesses during the call.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_hcall(model: *mut CModel, opcode: u64, args: *mut Regs) -> i64 {
    // SAFETY: this function's contract.
    let code = unsafe { args.as_mut() }.and_then(|args| {
        let call = |m: &mut Inner| m.adapter.hcall(&mut m.host, Opcode(opcode), args);
        // SAFETY: the outer function's contract.
        unsafe { enter(model, "a hypercall", call) }
    });
    code.unwrap_or(ReturnCode::HARDWARE).0
}

/// Loads from the register window.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_mmio_read(model: *mut CModel, offset: u64, size: u32) -> u64 {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a load from a register", |m| {
            m.adapter.mmio_read(&mut m.host, offset, size)
        })
    }
    .unwrap_or(0)
}

/// Stores to the register window.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_mmio_write(
    model: *mut CModel,
    offset: u64,
    size: u32,
    value: u64,
) {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a store to a register", |m| {
            m.adapter.mmio_write(&mut m.host, offset, size, value)
        })
    };
}

/// Does the work that is due. The model asks for the time again through its table of functions.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_run(model: *mut CModel, _now_ns: u64) {
    // SAFETY: this function's contract.
    unsafe { enter(model, "the timer", |m| m.adapter.run(&mut m.host)) };
}

/// Checks whether a port takes a frame.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_can_rx(model: *mut CModel, port: u32) -> bool {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a question of the backend", |m| {
            m.adapter.can_rx(port as usize)
        })
    }
    .unwrap_or(false)
}

/// Receives a frame from the wire.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`]; `frame` is null or points to `len`
/// bytes that do not change during the call.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_rx_frame(
    model: *mut CModel,
    port: u32,
    frame: *const u8,
    len: usize,
) -> bool {
    if frame.is_null() {
        return true;
    }
    // SAFETY: this function's contract; the frame is not null.
    let frame = unsafe { std::slice::from_raw_parts(frame, len) };
    let call = |m: &mut Inner| m.adapter.rx_frame(&mut m.host, port as usize, frame);
    // SAFETY: this function's contract.
    unsafe { enter(model, "a frame", call) }.unwrap_or(false)
}

/// Notes that the backend of a port accepts frames again.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tx_ready(model: *mut CModel, port: u32) {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a ready backend", |m| {
            m.adapter.tx_ready(&mut m.host, port as usize)
        })
    };
}

/// Sets the state of the external link of a port.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_set_link(model: *mut CModel, port: u32, up: bool) {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a change of the link", |m| {
            m.adapter.set_link(&mut m.host, port as usize, up)
        })
    };
}

/// Checks whether the guest uses the adapter.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_in_use(model: *mut CModel) -> bool {
    // SAFETY: this function's contract.
    unsafe { enter(model, "a question for objects", |m| m.adapter.is_in_use()) }.unwrap_or(true)
}

/// Takes a port from the guest, unless the guest uses it. Returns whether it was taken.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_port_give_back(model: *mut CModel, port: u32) -> bool {
    let call = |m: &mut Inner| m.adapter.give_back_port(&mut m.host, port as usize);
    // SAFETY: this function's contract.
    unsafe { enter(model, "the loss of a port", call) }.unwrap_or(false)
}

/// Returns a port to the guest.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_port_take_back(model: *mut CModel, port: u32) {
    let call = |m: &mut Inner| m.adapter.take_back_port(&mut m.host, port as usize);
    // SAFETY: this function's contract.
    unsafe { enter(model, "the return of a port", call) };
}

/// Notes that guest memory left the machine or was given back by the guest.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_ram_removed(model: *mut CModel, gpa: u64, len: u64) {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a removal of memory", |m| {
            m.adapter.ram_removed(&mut m.host, gpa, len)
        })
    };
}

/// Notes that the guest got memory.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_ram_returned(model: *mut CModel, gpa: u64, len: u64) {
    // SAFETY: this function's contract.
    unsafe {
        enter(model, "a return of memory", |m| {
            m.adapter.ram_returned(gpa, len)
        })
    };
}

/// Notes that an entry of the adapter's TCE table is about to change.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tce_put(model: *mut CModel, from: u64, to: u64) {
    // SAFETY: this function's contract.
    unsafe { enter(model, "a change of a TCE", |m| m.adapter.tce_put(from, to)) };
}

/// Notes that all entries of the adapter's TCE table were cleared.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tce_clear(model: *mut CModel) {
    // SAFETY: this function's contract.
    unsafe { enter(model, "a clearing of the TCEs", |m| m.adapter.tce_clear()) };
}

/// Notes that a hypercall is about to map memory for the adapter. Returns 0, or the code that the
/// hypercall must return instead.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tce_hcall(model: *mut CModel, opcode: u64) -> i64 {
    let call = |m: &mut Inner| m.adapter.tce_hcall(&mut m.host, opcode);
    // SAFETY: this function's contract.
    let code = unsafe { enter(model, "a hypercall for a TCE", call) };
    code.unwrap_or(ReturnCode::HARDWARE).0
}

/// Returns the statistics as JSON. The text is valid until the next call.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_stats_json(model: *mut CModel) -> *const c_char {
    // SAFETY: this function's contract.
    let reentries = unsafe { model.as_ref() }.map_or(0, |model| model.reentries.get());
    let call = |m: &mut Inner| {
        let stats = Stats {
            reentries,
            ..m.adapter.stats()
        };
        m.text(&serde_json::to_string(&stats).unwrap_or_default())
    };
    // SAFETY: this function's contract.
    unsafe { enter(model, "a question for the statistics", call) }.unwrap_or(ptr::null())
}

/// Returns the armed faults as JSON. The text is valid until the next call.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_faults_json(model: *mut CModel) -> *const c_char {
    let call = |m: &mut Inner| {
        let json = serde_json::to_string(&m.adapter.faults()).unwrap_or_default();
        m.text(&json)
    };
    // SAFETY: this function's contract.
    unsafe { enter(model, "a question for the faults", call) }.unwrap_or(ptr::null())
}

/// Arms a fault. Returns null on success, else a message.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`]; `json` is null or a NUL-terminated
/// string.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_fault_add(
    model: *mut CModel,
    json: *const c_char,
) -> *const c_char {
    // SAFETY: this function's contract.
    let json = unsafe { text(json) };
    let call = |m: &mut Inner| {
        let fault = json.and_then(|json| serde_json::from_str(json).map_err(|e| e.to_string()));
        let result = fault.and_then(|fault| m.adapter.fault_add(&mut m.host, fault));
        m.outcome(result)
    };
    // SAFETY: this function's contract.
    unsafe { enter(model, "a fault", call) }.unwrap_or(BUSY.as_ptr())
}

/// Disarms all faults.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_fault_clear(model: *mut CModel) {
    // SAFETY: this function's contract.
    unsafe { enter(model, "an end of faults", |m| m.adapter.fault_clear()) };
}

/// Sets the external link of a port. Returns null on success, else a message.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`]; `json` is null or a NUL-terminated
/// string.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_port_link(
    model: *mut CModel,
    json: *const c_char,
) -> *const c_char {
    // SAFETY: this function's contract.
    let json = unsafe { text(json) };
    let call = |m: &mut Inner| {
        let result = json.and_then(|json| m.adapter.port_link(&mut m.host, json));
        m.outcome(result)
    };
    // SAFETY: this function's contract.
    unsafe { enter(model, "a change of the link", call) }.unwrap_or(BUSY.as_ptr())
}
