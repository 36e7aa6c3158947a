// SPDX-License-Identifier: GPL-2.0

//! Memory that the adapter may reach, and how it finds it.

pub(crate) mod removed;
pub(crate) mod tce;
pub(crate) mod translate;

/// Kind of access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}
