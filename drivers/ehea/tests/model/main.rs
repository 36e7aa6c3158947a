// SPDX-License-Identifier: GPL-2.0

//! Tests of the driver's own code for memory regions and queues, on the model of the adapter.
//!
//! The test machine panics if the adapter touches memory that was not registered. It also panics at
//! its end if anything is still allocated.

mod adapter;
mod closing;
mod failures;
mod generation;
mod guest;
mod hotplug;
mod offload;
mod port;
mod registration;
mod ring;
mod traffic;
