// SPDX-License-Identifier: GPL-2.0

//! Memory with its mapping.

use super::{
    Access,
    Direction,
    Mapping,
    Reachable, //
};
use crate::kernel_ext::page::{
    ContiguousBuffer,
    Window, //
};
use kernel::prelude::*;

/// Memory that the device may read and write as long as the buffer exists.
pub struct DmaBuffer {
    // Dropped in this order: what is mapped is not free. None if `access` is not charged.
    _mapping: Option<Mapping>,
    memory: ContiguousBuffer,
}

impl DmaBuffer {
    /// Allocates `len` zeroed bytes and maps them, if `access` is charged. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `len` is 0; `ENOMEM`, also if the entitlement is exhausted.
    pub fn new(access: &Access, len: usize) -> Result<Self> {
        Self::of(access, ContiguousBuffer::new(len)?).map_err(|(error, _)| error)
    }

    /// Maps memory, if `access` is charged. Any context.
    ///
    /// # Errors
    ///
    /// As for [`DmaBuffer::new`]; the memory comes back.
    pub fn of(
        access: &Access,
        memory: ContiguousBuffer,
    ) -> core::result::Result<Self, (Error, ContiguousBuffer)> {
        let mapping = match access {
            Access::Unrestricted(_) => None,
            Access::Charged(mapper) => {
                let address = memory.real_address();
                let len = memory.window().len();
                match Mapping::new(mapper, address, len, Direction::Bidirectional) {
                    Ok(mapping) => Some(mapping),
                    Err(error) => return Err((error, memory)),
                }
            }
        };
        Ok(Self {
            _mapping: mapping,
            memory,
        })
    }

    /// Gives the memory up, because the device can't be kept from it: it isn't mapped any more, and is never free.
    pub fn abandon(self) {
        core::mem::forget(self.memory);
    }

    /// Returns the real address of the first byte.
    pub fn real_address(&self) -> u64 {
        self.memory.real_address()
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a buffer isn't empty")]
    pub fn len(&self) -> usize {
        self.memory.window().len()
    }

    /// Returns the contents.
    #[inline]
    pub fn window(&self) -> Window<'_> {
        self.memory.window()
    }

    /// Returns the `len` bytes from `offset`, or `None` if they are not inside.
    #[inline]
    pub fn reach(&self, offset: usize, len: usize) -> Option<Reachable> {
        let end = offset.checked_add(len)?;
        (end <= self.len()).then_some(Reachable {
            address: self.memory.real_address() + offset as u64,
            len: len as u64,
        })
    }
}
