// SPDX-License-Identifier: GPL-2.0
//! The witness: a big-endian Linux 6.12 with the original C driver for this adapter, and a userland
//! for it. It is built with GCC from Debian's source packages, in a build root of its own, since
//! nothing else needs a compiler for big-endian POWER.

mod kernel;
mod root;
mod userland;

pub(crate) use kernel::WitnessKernel;
pub(crate) use root::WitnessRoot;
pub(crate) use userland::WitnessUserland;

/// Prefix of the cross compiler's programs.
pub(crate) const CROSS: &str = "powerpc64-linux-gnu-";
