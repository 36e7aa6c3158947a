// SPDX-License-Identifier: GPL-2.0

//! Files in sysfs.
//!
//! C headers: `include/linux/sysfs.h`, `include/linux/device.h`

use super::bindings;
use kernel::{
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

/// A constant that consists of pointers to other constants.
#[repr(transparent)]
pub(super) struct Constant<T>(pub(super) T);

// SAFETY: Nobody writes to the value, nor to what it points to.
unsafe impl<T> Sync for Constant<T> {}

/// Returns the description of a file called `name`.
#[allow(clippy::needless_update, reason = "lockdep adds fields")]
pub(super) const fn attribute(name: &'static CStr, mode: u16) -> bindings::attribute {
    bindings::attribute {
        name: as_char_ptr_in_const_context(name),
        mode,
        ..pin_init::zeroed()
    }
}

/// Returns the group of the files in `list`, which ends with NULL.
pub(super) const fn group(
    list: &'static [*const bindings::attribute],
) -> bindings::attribute_group {
    bindings::attribute_group {
        __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
            attrs_const: list.as_ptr(),
        },
        ..pin_init::zeroed()
    }
}

/// Type of a function that prints a file of a device.
type Show = unsafe extern "C" fn(
    *mut bindings::device,
    *mut bindings::device_attribute,
    *mut c_char,
) -> isize;

/// Returns the description of a file of devices that can be read only.
pub(super) const fn readable(name: &'static CStr, show: Show) -> bindings::device_attribute {
    bindings::device_attribute {
        attr: attribute(name, 0o444),
        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 { show: Some(show) },
        ..pin_init::zeroed()
    }
}

/// File `devspec`: path of a device's node, as devices of other buses on powerpc have.
pub(super) static DEVSPEC: Constant<bindings::device_attribute> =
    Constant(readable(c"devspec", show_devspec));

/// # Safety
///
/// `dev` is a device that has a node as long as it exists; `buf` has room for a page.
unsafe extern "C" fn show_devspec(
    dev: *mut bindings::device,
    _attribute: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: By the safety requirement. The format takes a pointer to a node.
    let len = unsafe { bindings::sysfs_emit(buf, c"%pOF\n".as_char_ptr(), (*dev).of_node) };
    // CAST: At most a page.
    len as isize
}
