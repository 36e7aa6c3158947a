// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs.
//!
//! The `kernel` crate's do not name their owner, so that a module can be unloaded while one is
//! open; its close would then call what is no longer there.
//!
//! C header: `include/linux/debugfs.h`

use super::{
    bindings,
    callback::Callback,
    module_lock::{
        ModuleLock,
        Shared, //
    }, //
};
use core::{
    convert::Infallible,
    ptr::null_mut, //
};
use kernel::{
    prelude::*,
    seq_file::SeqFile, //
};

/// Contents of a file.
pub trait Show: Send + Sync + 'static {
    /// Writes the contents. Process context, may sleep; several readers may come at once, and a
    /// long text may be asked for twice. Must not wait for whoever drops the [`File`].
    fn show(&self, out: &SeqFile);
}

/// The directory of the module, which is there while it has files.
struct ModuleDir {
    dir: *mut bindings::dentry,
    files: usize,
}

// SAFETY: Directories aren't bound to a thread.
unsafe impl Send for ModuleDir {}

static MODULE_DIR: Shared<ModuleDir> = Shared::new(ModuleDir {
    dir: null_mut(),
    files: 0,
});

impl ModuleDir {
    /// Counts one more file. Returns the directory, which is made for the first one.
    fn get(&mut self) -> *mut bindings::dentry {
        if self.files == 0 {
            // SAFETY: No precondition.
            self.dir = unsafe { bindings::rust_ext_debugfs_create_module_dir() };
        }
        self.files += 1;
        self.dir
    }

    /// Counts one file less, and removes the directory with the last one.
    fn put(&mut self) {
        self.files -= 1;
        if self.files == 0 {
            // SAFETY: Made in `get()`, or an error; nobody uses it any more.
            unsafe { bindings::rust_ext_debugfs_remove(self.dir) };
        }
    }
}

/// A file that its owner may read: `/sys/kernel/debug/MODULE/DIR/NAME`. On drop it is removed, with
/// its directory, after waiting for those who read it; reads of one that is still open fail with
/// `EIO`. The module can't be unloaded while a file is open.
///
/// # Invariants
///
/// The file exists, with [`show_callback`] for the data.
#[pin_data(PinnedDrop)]
pub struct File<T: Show> {
    #[pin]
    file: Callback<bindings::rust_ext_debugfs_file, T>,
}

/// # Safety
///
/// `seq` is valid and used by this thread only; `raw` is the structure of a `File<T>`.
unsafe extern "C" fn show_callback<T: Show>(
    seq: *mut bindings::seq_file,
    raw: *mut bindings::rust_ext_debugfs_file,
) {
    // SAFETY: By the safety requirement.
    let out = unsafe { SeqFile::from_raw(seq) };

    // SAFETY: It is not dropped, because the removal of the file waits for this function to return.
    unsafe { Callback::<_, T>::handler(raw) }.show(out);
}

impl<T: Show> File<T> {
    /// Makes a file that shows `data`. Process context. Without debugfs there is none to be seen.
    ///
    /// # Errors
    ///
    /// None for now.
    pub fn new<'a>(dir: &'a CStr, name: &'a CStr, data: T) -> impl PinInit<Self, Error> + 'a {
        let create = |raw: *mut bindings::rust_ext_debugfs_file| {
            let parent = MODULE_DIR.get(&mut ModuleLock::take()).get();
            // SAFETY: The names are copied. `raw` can be written, and is pinned until `drop()` has removed
            // the file. The callback suits the type of the data, which are initialised. The parent is there
            // until `drop()` has given it up.
            unsafe {
                raw.write(bindings::rust_ext_debugfs_file {
                    dir: bindings::rust_ext_debugfs_create_dir(dir.as_char_ptr(), parent),
                    show: Some(show_callback::<T>),
                });
                bindings::rust_ext_debugfs_create_file(name.as_char_ptr(), raw);
            };
            Ok(())
        };

        // INVARIANT: Made as the last step.
        try_pin_init!(Self {
            file <- Callback::new::<Infallible>(data, create),
        })
    }
}

#[pinned_drop]
impl<T: Show> PinnedDrop for File<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the file exists; it is removed only here.
        unsafe { bindings::rust_ext_debugfs_remove((*self.file.as_raw()).dir) };
        MODULE_DIR.get(&mut ModuleLock::take()).put();
    }
}
