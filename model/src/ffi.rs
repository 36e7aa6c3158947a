// SPDX-License-Identifier: GPL-2.0

//! The C interface, qemu/ehea_model.h: the only file with `unsafe`.
//!
//! QEMU calls everything with its big lock held and never from inside a callback, so a model is
//! never entered twice; see the header. A panic aborts (profile of the workspace).

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::mem::offset_of;
use std::ptr;

use ehea_abi::cb::adapter::PageSizes;
use ehea_abi::cb::port::MacAddress;
use ehea_abi::hcall::{Opcode, Regs};

use crate::adapter::Adapter;
use crate::config::{Config, MAX_PORTS};
use crate::host::{Host, NotRam, TraceLevel};

/// EHEA_MODEL_ABI.
const ABI_VERSION: u32 = 2;
/// EHEA_MODEL_NO_DEADLINE.
const NO_DEADLINE: u64 = u64::MAX;

/// `struct ehea_model_config`.
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
    reserved: [u8; 6],
    mac: [[u8; 8]; MAX_PORTS],
}

const _: () = {
    assert!(size_of::<CConfig>() == 184);
    assert!(offset_of!(CConfig, adapter_handle) == 8);
    assert!(offset_of!(CConfig, num_default_qps) == 44);
    assert!(offset_of!(CConfig, mac) == 56);
    assert!(size_of::<CHost>() == size_of::<[usize; 14]>());
};

macro_rules! host_table {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// `struct ehea_model_host`.
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct CHost {
            $($name: Option<unsafe extern "C" fn(*mut c_void $(, $arg)*) $(-> $ret)?>,)*
        }

        /// The same, checked for null pointers.
        struct Callbacks {
            $($name: unsafe extern "C" fn(*mut c_void $(, $arg)*) $(-> $ret)?,)*
        }

        impl Callbacks {
            fn checked(table: &CHost) -> Option<Self> {
                Some(Self { $($name: table.$name?,)* })
            }
        }
    };
}

host_table! {
    mem_read: fn(u64, *mut c_void, u64) -> c_int;
    mem_write: fn(u64, *const c_void, u64) -> c_int;
    mem_write_u64_be: fn(u64, u64) -> c_int;
    mem_is_ram: fn(u64, u64) -> bool;
    ram_size: fn() -> u64;
    irq_alloc: fn() -> i64;
    irq_free: fn(u32);
    irq_pulse: fn(u32);
    now_ns: fn() -> u64;
    timer_set: fn(u64);
    tx_frame: fn(u32, *const c_void, usize) -> bool;
    rx_flush: fn(u32);
    trace_enabled: fn(u32) -> bool;
    trace: fn(u32, *const c_char, usize);
}

/// The host behind the table.
struct CallbackHost {
    callbacks: Callbacks,
    ctx: *mut c_void,
}

fn level(level: TraceLevel) -> u32 {
    match level {
        TraceLevel::Refused => 0,
        TraceLevel::Event => 1,
        TraceLevel::Verbose => 2,
    }
}

fn result(code: c_int) -> Result<(), NotRam> {
    match code {
        0 => Ok(()),
        _ => Err(NotRam),
    }
}

fn port_number(port: usize) -> u32 {
    u32::try_from(port).unwrap_or(u32::MAX)
}

// Every call below passes `ctx` as it was given to `ehea_model_create()`, whose contract makes the
// functions of the table callable with it as long as the model lives.
impl Host for CallbackHost {
    fn mem_read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), NotRam> {
        let (at, len) = (buf.as_mut_ptr().cast(), buf.len() as u64);
        // SAFETY: `ctx` belongs to the function, see above; it writes `len` bytes of `buf`.
        result(unsafe { (self.callbacks.mem_read)(self.ctx, gpa, at, len) })
    }

    fn mem_write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), NotRam> {
        let (at, len) = (buf.as_ptr().cast(), buf.len() as u64);
        // SAFETY: `ctx` belongs to the function, see above; it reads `len` bytes of `buf`.
        result(unsafe { (self.callbacks.mem_write)(self.ctx, gpa, at, len) })
    }

    fn mem_write_u64_be(&mut self, gpa: u64, value: u64) -> Result<(), NotRam> {
        // SAFETY: `ctx` belongs to the function, see above.
        result(unsafe { (self.callbacks.mem_write_u64_be)(self.ctx, gpa, value) })
    }

    fn mem_is_ram(&mut self, gpa: u64, len: u64) -> bool {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.mem_is_ram)(self.ctx, gpa, len) }
    }

    fn ram_size(&mut self) -> u64 {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.ram_size)(self.ctx) }
    }

    fn irq_alloc(&mut self) -> Option<u32> {
        // SAFETY: `ctx` belongs to the function, see above.
        u32::try_from(unsafe { (self.callbacks.irq_alloc)(self.ctx) }).ok()
    }

    fn irq_free(&mut self, irq: u32) {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.irq_free)(self.ctx, irq) }
    }

    fn irq_pulse(&mut self, irq: u32) {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.irq_pulse)(self.ctx, irq) }
    }

    fn now_ns(&mut self) -> u64 {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.now_ns)(self.ctx) }
    }

    fn timer_set(&mut self, deadline_ns: Option<u64>) {
        let deadline = deadline_ns.unwrap_or(NO_DEADLINE);
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.timer_set)(self.ctx, deadline) }
    }

    fn tx_frame(&mut self, port: usize, frame: &[u8]) -> bool {
        let (port, at) = (port_number(port), frame.as_ptr().cast());
        // SAFETY: `ctx` belongs to the function, see above; it reads `frame.len()` bytes.
        unsafe { (self.callbacks.tx_frame)(self.ctx, port, at, frame.len()) }
    }

    fn rx_flush(&mut self, port: usize) {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.rx_flush)(self.ctx, port_number(port)) }
    }

    fn trace_enabled(&mut self, of: TraceLevel) -> bool {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.trace_enabled)(self.ctx, level(of)) }
    }

    fn trace(&mut self, of: TraceLevel, message: &str) {
        let (at, len) = (message.as_ptr().cast(), message.len());
        // SAFETY: `ctx` belongs to the function, see above; it reads `len` bytes of `message`.
        unsafe { (self.callbacks.trace)(self.ctx, level(of), at, len) }
    }
}

/// `struct ehea_model`.
pub struct CModel {
    adapter: Adapter,
    host: CallbackHost,
    /// The text that the last function returned.
    text: CString,
}

impl CModel {
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

/// The model behind a pointer; none for null.
///
/// # Safety
///
/// `model` is null or a pointer from [`ehea_model_create`] that was not destroyed and is not in use
/// by another call.
unsafe fn model<'a>(model: *mut CModel) -> Option<&'a mut CModel> {
    // SAFETY: the caller's contract is exactly that of the exclusive reference.
    unsafe { model.as_mut() }
}

/// The text behind a pointer.
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

/// The version of this interface.
#[no_mangle]
pub extern "C" fn ehea_model_abi_version() -> u32 {
    ABI_VERSION
}

/// Makes a model; null if the configuration is not valid.
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
        macs: macs
            .iter()
            .map(|&[a, b, c, d, e, f, _, _]| MacAddress([a, b, c, d, e, f]))
            .collect(),
    };
    match Adapter::new(config) {
        Ok(adapter) => Box::into_raw(Box::new(CModel {
            adapter,
            host: CallbackHost { callbacks, ctx },
            text: CString::default(),
        })),
        Err(_) => ptr::null_mut(),
    }
}

/// Releases everything, the model included.
///
/// # Safety
///
/// `model` is null or a pointer from [`ehea_model_create`]; it is not used after this call.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_destroy(model: *mut CModel) {
    if model.is_null() {
        return;
    }
    // SAFETY: made by `Box::into_raw()` and given back only here, by this function's contract.
    let mut model = unsafe { Box::from_raw(model) };
    model.adapter.reset(&mut model.host);
}

/// Machine reset.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_reset(model: *mut CModel) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.reset(&mut m.host);
    }
}

/// A hypercall; the value is the return code.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`]; `args` is null or points to nine
/// registers that nobody else accesses during the call.
#[no_mangle]
pub unsafe extern "C" fn ehea_model_hcall(model: *mut CModel, opcode: u64, args: *mut Regs) -> i64 {
    // SAFETY: this function's contract.
    let (model, args) = unsafe { (self::model(model), args.as_mut()) };
    match (model, args) {
        (Some(m), Some(args)) => m.adapter.hcall(&mut m.host, Opcode(opcode), args).0,
        _ => ehea_abi::hcall::ReturnCode::HARDWARE.0,
    }
}

/// A load from the register window.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_mmio_read(model: *mut CModel, offset: u64, size: u32) -> u64 {
    // SAFETY: this function's contract.
    match unsafe { self::model(model) } {
        Some(m) => m.adapter.mmio_read(&mut m.host, offset, size),
        None => 0,
    }
}

/// A store to the register window.
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
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.mmio_write(&mut m.host, offset, size, value);
    }
}

/// Does the work that is due. The time is asked for again through the table.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_run(model: *mut CModel, _now_ns: u64) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.run(&mut m.host);
    }
}

/// Whether a port takes a frame.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_can_rx(model: *mut CModel, port: u32) -> bool {
    // SAFETY: this function's contract.
    match unsafe { self::model(model) } {
        Some(m) => m.adapter.can_rx(port as usize),
        None => false,
    }
}

/// A frame from the wire.
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
    let (model, frame) = unsafe { (self::model(model), std::slice::from_raw_parts(frame, len)) };
    match model {
        Some(m) => m.adapter.rx_frame(&mut m.host, port as usize, frame),
        None => true,
    }
}

/// The backend of a port takes frames again.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tx_ready(model: *mut CModel, port: u32) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.tx_ready(&mut m.host, port as usize);
    }
}

/// The external link of a port changed.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_set_link(model: *mut CModel, port: u32, up: bool) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.set_link(&mut m.host, port as usize, up);
    }
}

/// Guest memory went away.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_ram_removed(model: *mut CModel, gpa: u64, len: u64) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.ram_removed(&mut m.host, gpa, len);
    }
}

/// The guest got memory.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_ram_returned(model: *mut CModel, gpa: u64, len: u64) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.ram_returned(gpa, len);
    }
}

/// An entry of the adapter's TCE table is about to change.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tce_put(model: *mut CModel, from: u64, to: u64) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.tce_put(from, to);
    }
}

/// All entries of the adapter's TCE table were cleared.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tce_clear(model: *mut CModel) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.tce_clear();
    }
}

/// A hypercall is about to map something for the adapter; the value is 0 or what it returns instead.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_tce_hcall(model: *mut CModel, opcode: u64) -> i64 {
    // SAFETY: this function's contract.
    match unsafe { self::model(model) } {
        Some(m) => m.adapter.tce_hcall(&mut m.host, opcode).0,
        None => 0,
    }
}

/// Everything that is counted, as JSON. Valid until the next call.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_stats_json(model: *mut CModel) -> *const c_char {
    // SAFETY: this function's contract.
    match unsafe { self::model(model) } {
        Some(m) => {
            let json = serde_json::to_string(&m.adapter.stats()).unwrap_or_default();
            m.text(&json)
        }
        None => ptr::null(),
    }
}

/// The armed faults, as JSON. Valid until the next call.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_faults_json(model: *mut CModel) -> *const c_char {
    // SAFETY: this function's contract.
    match unsafe { self::model(model) } {
        Some(m) => {
            let json = serde_json::to_string(&m.adapter.faults()).unwrap_or_default();
            m.text(&json)
        }
        None => ptr::null(),
    }
}

/// Arms a fault; null on success, else why not.
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
    let (model, json) = unsafe { (self::model(model), text(json)) };
    let Some(m) = model else {
        return ptr::null();
    };
    let fault = json.and_then(|json| serde_json::from_str(json).map_err(|e| e.to_string()));
    let result = fault.and_then(|fault| m.adapter.fault_add(&mut m.host, fault));
    m.outcome(result)
}

/// Disarms all faults.
///
/// # Safety
///
/// `model` is null or a live pointer from [`ehea_model_create`].
#[no_mangle]
pub unsafe extern "C" fn ehea_model_fault_clear(model: *mut CModel) {
    // SAFETY: this function's contract.
    if let Some(m) = unsafe { self::model(model) } {
        m.adapter.fault_clear();
    }
}

/// Sets the external link of a port; null on success, else why not.
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
    let (model, json) = unsafe { (self::model(model), text(json)) };
    let Some(m) = model else {
        return ptr::null();
    };
    let result = json.and_then(|json| m.adapter.port_link(&mut m.host, json));
    m.outcome(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// QEMU checks its own pointers; the model does not rely on it.
    #[test]
    fn null_pointers() {
        let null = ptr::null_mut();
        // SAFETY: null is legal for every pointer.
        unsafe {
            assert!(ehea_model_create(ptr::null(), ptr::null(), null).is_null());
            let none = ptr::null_mut();
            ehea_model_destroy(none);
            ehea_model_reset(none);
            assert!(ehea_model_hcall(none, 0x278, ptr::null_mut()) < 0);
            assert_eq!(ehea_model_mmio_read(none, 0, 8), 0);
            ehea_model_mmio_write(none, 0, 8, 0);
            ehea_model_run(none, 0);
            assert!(!ehea_model_can_rx(none, 0));
            assert!(ehea_model_rx_frame(none, 0, ptr::null(), 60));
            ehea_model_tce_put(none, 0, 1);
            ehea_model_tce_clear(none);
            assert_eq!(ehea_model_tce_hcall(none, 0x20), 0);
            assert!(ehea_model_stats_json(none).is_null());
            assert!(ehea_model_fault_add(none, ptr::null()).is_null());
            assert!(ehea_model_port_link(none, c"{}".as_ptr()).is_null());
        }
    }
}
