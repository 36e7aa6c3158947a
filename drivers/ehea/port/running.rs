// SPDX-License-Identifier: GPL-2.0

//! State that exists while a port is open.

use super::{
    context::Context,
    errors::AffiliatedEvents,
    queue_pair::QueuePair, //
};
use crate::firmware::Eq;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// State that exists while a port is open. It is dropped in the order of the fields, so that users
/// of the event queue go before it.
pub(super) struct Running {
    pub(super) _events: AffiliatedEvents,
    pub(super) queue_pairs: KVec<KBox<QueuePair>>,
    pub(super) _affiliated_eq: Eq,
    pub(super) ctx: Arc<Context>,
}

impl Running {
    /// Returns the number of the first queue pair, which gets frames for all stations.
    pub(super) fn first_queue_pair(&self) -> u32 {
        self.queue_pairs.first().map_or(0, |pair| pair.number())
    }
}
