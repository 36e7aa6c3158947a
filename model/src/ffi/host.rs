// SPDX-License-Identifier: GPL-2.0

//! Functions that the device gives to the model: `struct ehea_model_host`.

use std::ffi::{c_char, c_int, c_void};

use crate::host::{Host, NotRam, TraceLevel};

/// Value of `EHEA_MODEL_NO_DEADLINE`.
const NO_DEADLINE: u64 = u64::MAX;

macro_rules! host_table {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The C type `struct ehea_model_host`.
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct CHost {
            $(pub(super) $name: Option<unsafe extern "C" fn(*mut c_void $(, $arg)*) $(-> $ret)?>,)*
        }

        /// The functions of [`CHost`], checked for null pointers.
        #[derive(Clone, Copy)]
        pub(super) struct Callbacks {
            $($name: unsafe extern "C" fn(*mut c_void $(, $arg)*) $(-> $ret)?,)*
        }

        impl Callbacks {
            pub(super) fn checked(table: &CHost) -> Option<Self> {
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
    guest_is_idle: fn() -> bool;
    now_ns: fn() -> u64;
    timer_set: fn(u64);
    tx_frame: fn(u32, *const c_void, usize) -> bool;
    rx_flush: fn(u32);
    trace_enabled: fn(u32) -> bool;
    trace: fn(u32, *const c_char, usize);
}

/// The host that the table of functions reaches.
#[derive(Clone, Copy)]
pub(super) struct CallbackHost {
    pub(super) callbacks: Callbacks,
    pub(super) ctx: *mut c_void,
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

    fn guest_is_idle(&mut self) -> bool {
        // SAFETY: `ctx` belongs to the function, see above.
        unsafe { (self.callbacks.guest_is_idle)(self.ctx) }
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
