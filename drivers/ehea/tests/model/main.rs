// SPDX-License-Identifier: GPL-2.0

//! The driver's own code for memory regions and queues, on the model of the adapter.
//!
//! The test machine panics when the adapter touches memory that was not registered, and at its end
//! when anything is still allocated.

mod adapter;
mod failures;
mod generation;
mod guest;
mod hotplug;
mod port;
mod registration;
mod ring;
mod traffic;
