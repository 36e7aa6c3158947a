// SPDX-License-Identifier: GPL-2.0
//! What the tool makes, one file for each kind.

pub(crate) mod root;
pub(crate) mod userland;
