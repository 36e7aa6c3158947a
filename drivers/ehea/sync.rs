// SPDX-License-Identifier: GPL-2.0

//! Atomic variables for the parts that need no kernel. Their tests have others in this place.

pub(crate) use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
