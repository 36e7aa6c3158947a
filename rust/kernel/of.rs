// SPDX-License-Identifier: GPL-2.0

//! Device-tree nodes.
//!
//! The `kernel` crate reaches properties through `FwNode`, which neither gives raw bytes nor the
//! children that have no compatible property.
//!
//! C header: `include/linux/of.h`

use super::bindings;
use core::ptr::NonNull;
use kernel::{
    device::{
        Device,
        DeviceContext, //
    },
    fmt,
    prelude::*, //
};

/// A counted reference to a device-tree node.
///
/// # Invariants
///
/// `raw` is a valid node, one reference of which belongs to `self`.
pub struct Node {
    raw: NonNull<bindings::device_node>,
}

// SAFETY: Nodes are counted atomically and not bound to a thread.
unsafe impl Send for Node {}

// SAFETY: The functions used are safe to be called by several threads at once.
unsafe impl Sync for Node {}

impl Node {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `raw` is NULL or a node, one reference of which the caller gives away.
    pub(super) unsafe fn from_raw(raw: *mut bindings::device_node) -> Option<Self> {
        // INVARIANT: By the safety requirement.
        NonNull::new(raw).map(|raw| Self { raw })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::device_node {
        self.raw.as_ptr().cast()
    }

    /// Returns the root of the device tree.
    pub fn root() -> Option<Self> {
        Self::at(c"/")
    }

    /// Returns the node with the path `path`, if there is one.
    pub fn at(path: &CStr) -> Option<Self> {
        // SAFETY: The path is a string; no options are asked for. What is returned is a counted reference or NULL.
        unsafe {
            Self::from_raw(bindings::of_find_node_opts_by_path(
                path.as_char_ptr(),
                core::ptr::null_mut(),
            ))
        }
    }

    /// Returns the node of a device, if it has one.
    pub fn of<Ctx: DeviceContext>(dev: &Device<Ctx>) -> Option<Self> {
        let raw = core::ptr::from_ref(dev).cast::<bindings::device>();
        // SAFETY: `Device` is a transparent wrapper of the C type, and the device is valid; what is returned is a
        // counted reference or NULL.
        unsafe { Self::from_raw(bindings::of_node_get((*raw).of_node)) }
    }

    /// Checks whether `compatible` is in the node's list of the same name.
    pub fn is_compatible(&self, compatible: &CStr) -> bool {
        // SAFETY: The node and the string are valid.
        unsafe { bindings::of_device_is_compatible(self.as_ptr(), compatible.as_char_ptr()) != 0 }
    }

    /// Checks whether the node's `device_type` is `device_type`.
    pub fn is_type(&self, device_type: &CStr) -> bool {
        self.property(c"device_type") == Some(device_type.to_bytes_with_nul())
    }

    /// Returns the children, in the order of the tree.
    pub fn children(&self) -> Children<'_> {
        Children {
            parent: self,
            previous: None,
        }
    }

    fn property(&self, name: &CStr) -> Option<&[u8]> {
        let mut len: c_int = 0;

        // SAFETY: The node and the string are valid, `len` can be written.
        let data =
            unsafe { bindings::of_get_property(self.as_ptr(), name.as_char_ptr(), &mut len) };
        let len = usize::try_from(len).ok()?;
        if data.is_null() {
            return None;
        }
        // SAFETY: A property's value has the length that was returned with it. Values are never
        // changed in place, and a removed property is freed only with its node.
        Some(unsafe { core::slice::from_raw_parts(data.cast(), len) })
    }

    /// Returns the length of property `name` in bytes, or `None` if the node doesn't have it.
    pub fn property_len(&self, name: &CStr) -> Option<usize> {
        self.property(name).map(<[u8]>::len)
    }

    /// Copies all of property `name` to the start of `buf` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such property, `ENOSPC` if `buf` is too short for it.
    pub fn read_bytes(&self, name: &CStr, buf: &mut [u8]) -> Result<usize> {
        let data = self.property(name).ok_or(ENOENT)?;
        buf.get_mut(..data.len())
            .ok_or(ENOSPC)?
            .copy_from_slice(data);
        Ok(data.len())
    }

    /// Returns the big-endian 32-bit value of property `name`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such property, `EINVAL` if it isn't 4 bytes long.
    pub fn read_u32(&self, name: &CStr) -> Result<u32> {
        let data = self.property(name).ok_or(ENOENT)?;
        Ok(u32::from_be_bytes(data.try_into().map_err(|_| EINVAL)?))
    }

    /// Returns the big-endian 64-bit value of property `name`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such property, `EINVAL` if it isn't 8 bytes long.
    pub fn read_u64(&self, name: &CStr) -> Result<u64> {
        let data = self.property(name).ok_or(ENOENT)?;
        Ok(u64::from_be_bytes(data.try_into().map_err(|_| EINVAL)?))
    }
}

/// The name of the node, with its unit address.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: The node is valid as long as it is borrowed; its name is a string, which isn't changed.
        let name = unsafe { CStr::from_char_ptr((*self.raw.as_ptr()).full_name) };
        fmt::Display::fmt(name, f)
    }
}

impl Clone for Node {
    fn clone(&self) -> Self {
        // SAFETY: The node is valid.
        unsafe { bindings::of_node_get(self.raw.as_ptr()) };
        // INVARIANT: The reference just taken belongs to the clone.
        Self { raw: self.raw }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::of_node_put(self.raw.as_ptr()) };
    }
}

/// Iterator over the children of a [`Node`].
pub struct Children<'a> {
    parent: &'a Node,
    previous: Option<Node>,
}

impl Iterator for Children<'_> {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        let previous = match self.previous.take() {
            // The reference is passed on to the call below, which drops it.
            Some(node) => core::mem::ManuallyDrop::new(node).as_ptr(),
            None => core::ptr::null_mut(),
        };
        // SAFETY: The parent is valid; `previous` is NULL or a child that we give our reference
        // of. The returned reference is ours.
        let next = unsafe {
            Node::from_raw(bindings::of_get_next_child(self.parent.as_ptr(), previous).cast())
        }?;

        self.previous = Some(next.clone());
        Some(next)
    }
}
