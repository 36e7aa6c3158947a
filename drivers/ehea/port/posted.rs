// SPDX-License-Identifier: GPL-2.0

//! Buffers of a queue pair that firmware does not let go.
//!
//! If firmware refuses to disable a queue pair, the adapter may reach all buffers that are posted, even when the
//! port is closed. They go to the owner of the queues' memory then, and are free when that is.

use super::{
    rx::buffers::Buffers,
    tx::{
        bounce::BouncePool,
        ring::SendRing, //
    }, //
};
use crate::{
    kernel_ext::dma::{
        Abandon,
        MappingRing, //
    },
    shared::Keys, //
};
use kernel::sync::Arc;

/// Buffers, with the keys to them, that the adapter may reach because of a queue pair. There are none as long as the queue pair has them.
#[derive(Default)]
pub(super) struct Posted {
    /// Buffers of RQ2 and RQ3.
    pub(super) receive: Option<[Buffers; 2]>,
    /// Mappings of frames to be sent, in a CMO partition. They are undone before the frames are free.
    pub(super) mappings: Option<Arc<MappingRing>>,
    /// Frames to be sent.
    pub(super) frames: Option<Arc<SendRing>>,
    /// Copies of frames to be sent.
    pub(super) copies: Option<Arc<BouncePool>>,
    /// Keys to the memory region in which all of these are. Memory does not go away as long as there are some.
    pub(super) keys: Option<Keys>,
}

impl Abandon for Posted {
    fn abandon(&mut self) {
        for buffers in self.receive.iter_mut().flatten() {
            buffers.abandon();
        }
        self.mappings = None;
        // Their other owners were those who used the queue pair.
        if let Some(mut frames) = self.frames.take().and_then(Arc::into_unique_or_drop) {
            frames.abandon();
        }
        if let Some(mut copies) = self.copies.take().and_then(Arc::into_unique_or_drop) {
            copies.abandon();
        }
        self.keys = None;
    }
}
