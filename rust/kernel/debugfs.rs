// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs.
//!
//! The `kernel` crate's do not name their owner, so that a module can be unloaded while one is
//! open; its close would then call what is no longer there.
//!
//! C header: `include/linux/debugfs.h`

use super::bindings;
use core::{
    marker::PhantomPinned,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    seq_file::SeqFile, //
};

/// What a file shows.
pub trait Show: Send + Sync + 'static {
    /// Writes the contents. Process context, may sleep; several readers may come at once, and a
    /// long text may be asked for twice. Must not wait for whoever drops the [`File`].
    fn show(&self, out: &SeqFile);
}

/// A file that its owner may read: `/sys/kernel/debug/MODULE/DIR/NAME`. On drop it is removed, with
/// its directory, after waiting for those who read it; reads of one that is still open fail with
/// `EIO`. The module can't be unloaded while a file is open.
///
/// # Invariants
///
/// `raw` is a live file that calls back with the address of `data`.
#[pin_data(PinnedDrop)]
pub struct File<T: Show> {
    #[pin]
    data: T,
    raw: NonNull<bindings::rust_ext_debugfs_file>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A file may be removed by another thread than that which made it, and `T` is `Send`.
unsafe impl<T: Show> Send for File<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: Show> Sync for File<T> {}

/// # Safety
///
/// `seq` is valid and used by this thread only; `context` points to a `T` that is alive.
unsafe extern "C" fn show_callback<T: Show>(seq: *mut bindings::seq_file, context: *const c_void) {
    // SAFETY: By the safety requirement.
    let out = unsafe { SeqFile::from_raw(seq) };
    // SAFETY: `context` is the address of the pinned data of a `File<T>`, set when the file was made
    // after the data had been initialised. They are alive, because the removal of the file waits for
    // this function to return and comes before their drop.
    let data = unsafe { &*context.cast::<T>() };

    data.show(out);
}

impl<T: Show> File<T> {
    /// Makes a file that shows `data`. Process context. Without debugfs there is none to be seen.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new<'a>(dir: &'a CStr, name: &'a CStr, data: T) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(&this in Self {
            data,
            _pin: PhantomPinned,
            // INVARIANT: The file was just made.
            raw: {
                // SAFETY: `this` is valid for the whole of `Self`; no reference is made.
                let context = unsafe { &raw const (*this.as_ptr()).data };
                // SAFETY: The names are copied. The callback suits the type of `context`. `Self` is
                // pinned, so `context` stays valid until `drop()` has removed the file; the data
                // are initialised.
                let raw = unsafe {
                    bindings::rust_ext_debugfs_create(
                        dir.as_char_ptr(),
                        name.as_char_ptr(),
                        Some(show_callback::<T>),
                        context.cast(),
                    )
                };
                NonNull::new(raw).ok_or(ENOMEM)?
            },
        }? Error)
    }
}

#[pinned_drop]
impl<T: Show> PinnedDrop for File<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the file is live; it is removed only here.
        unsafe { bindings::rust_ext_debugfs_remove(self.raw.as_ptr()) };
    }
}
