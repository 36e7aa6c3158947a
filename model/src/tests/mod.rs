// SPDX-License-Identifier: GPL-2.0

//! Tests of the adapter as a whole.

mod blocks;
mod cmo;
mod events;
mod filter;
mod hostile;
mod life;
mod limits;
mod link;
mod liveness;
mod memory;
mod offload;
mod owned;
mod receive;
mod stats;
mod strict;
mod temper;
mod traffic;
mod turns;
mod violations;
