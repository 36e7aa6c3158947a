// SPDX-License-Identifier: GPL-2.0

//! What the adapter may reach, and how it finds it.

pub(crate) mod removed;
pub(crate) mod tce;
pub(crate) mod translate;

/// What memory is accessed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}
