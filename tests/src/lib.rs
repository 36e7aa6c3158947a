// SPDX-License-Identifier: GPL-2.0
//! End-to-end tests of the driver against a booted guest.

#![forbid(unsafe_code)]

pub mod peer;
