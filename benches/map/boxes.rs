// SPDX-License-Identifier: GPL-2.0
//! Allocation of memory for the table.

pub(crate) use std::boxed::Box;
pub(crate) use std::convert::Infallible as Error;

use super::table::ENTRIES;

/// Returns a level without entries.
pub(crate) fn empty<T>() -> Result<Box<[Option<Box<T>>; ENTRIES]>, Error> {
    Ok(Box::new([const { None }; ENTRIES]))
}

/// Returns a lowest level without sections.
pub(crate) fn zeros() -> Result<Box<[u64; ENTRIES]>, Error> {
    Ok(Box::new([0; ENTRIES]))
}
