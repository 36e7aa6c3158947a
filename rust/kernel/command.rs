// SPDX-License-Identifier: GPL-2.0

//! Files of bound devices to which users write commands.
//!
//! C header: `include/linux/device/driver.h`

use super::{
    attribute::attribute,
    bindings,
    bound::Bound, //
};
use core::ptr::null;
use kernel::{
    container_of,
    error::from_result,
    prelude::*, //
};

/// File of a device to which users write, for as long as the device is bound to a driver that keeps data of the type `D`
/// for it. Only root may write.
#[repr(C)]
pub struct Command<D: 'static> {
    attribute: bindings::device_attribute,
    run: fn(Pin<&D>, &str) -> Result,
}

// SAFETY: Nobody writes to it, nor to what it points to.
unsafe impl<D> Sync for Command<D> {}

/// Maximum number of commands of a driver.
const MAX: usize = 4;

/// Attributes of commands, with NULL behind them.
pub(super) type List = [*const bindings::attribute; MAX + 1];

/// Returns the attributes of commands. It doesn't compile if there are too many of them.
pub(super) const fn list<D>(commands: &[&'static Command<D>]) -> List {
    // PANIC: While compiling.
    assert!(commands.len() <= MAX);
    let mut list = [null(); MAX + 1];
    let mut i = 0;
    while i < commands.len() {
        list[i] = &raw const commands[i].attribute.attr;
        i += 1;
    }
    list
}

impl<D> Command<D> {
    /// Describes a file called `name`. What a user writes is passed to `run`, without white space at its ends. Process
    /// context; several such calls may run at once.
    pub const fn new(name: &'static CStr, run: fn(Pin<&D>, &str) -> Result) -> Self {
        Self {
            attribute: bindings::device_attribute {
                attr: attribute(name, 0o200),
                __bindgen_anon_2: bindings::device_attribute__bindgen_ty_2 {
                    store: Some(Self::store),
                },
                ..pin_init::zeroed()
            },
            run,
        }
    }

    /// # Safety
    ///
    /// `dev` is a device that is bound, until the function returns, to a driver with data of the type `D` and the command `attribute`; `count`
    /// bytes can be read from `buf`.
    unsafe extern "C" fn store(
        dev: *mut bindings::device,
        attribute: *mut bindings::device_attribute,
        buf: *const c_char,
        count: usize,
    ) -> isize {
        from_result(|| {
            // SAFETY: By the safety requirement. Commands are static.
            let command = unsafe { &*container_of!(attribute, Self, attribute).cast_const() };
            // SAFETY: By the safety requirement.
            let text = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };
            let text = core::str::from_utf8(text).map_err(|_| EINVAL)?.trim();
            // SAFETY: By the safety requirement. The core waits for the function before it unbinds the device.
            let data = unsafe { Bound::<D>::data(dev) };
            (command.run)(data, text)?;
            // CAST: At most a page.
            Ok(count as isize)
        })
    }
}
