// SPDX-License-Identifier: GPL-2.0

//! Port as a member of its adapter.

use super::{
    context::PortDevice,
    device::Port,
    moving::{
        self,
        Pair, //
    },
    queue_pair::QueuePair,
    reset::ResetReason,
    tx::send::Queue, //
};
use crate::{
    cmo::Limits,
    error::{
        Error,
        Result, //
    },
    mr::{
        self,
        FailedStep, //
    },
    shared::{
        Generation,
        Member, //
    },
    trace::Direction, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// Port as a member of its adapter.
struct PortMember(ARef<PortDevice>);

/// Makes a member for an adapter of a port.
pub(crate) fn member(dev: &PortDevice) -> Result<KBox<dyn Member>> {
    Ok(KBox::new(PortMember(dev.into()), GFP_KERNEL)?)
}

impl Port {
    /// Calls `f` for each queue pair, until it fails. A closed port has no queue pairs.
    fn for_each_queue_pair(&self, mut f: impl FnMut(&mut QueuePair, &Queue) -> Result) -> Result {
        match &mut *self.running.lock() {
            Some(running) => running
                .queue_pairs
                .iter_mut()
                .zip(&self.queues)
                .try_for_each(|(pair, queue)| f(pair, queue)),
            None => Ok(()),
        }
    }
}

impl PortMember {
    fn for_each_queue_pair(&self, f: impl FnMut(&mut QueuePair, &Queue) -> Result) -> Result {
        self.0.data().for_each_queue_pair(f)
    }
}

impl mr::Port for PortMember {
    type Generation = Arc<Generation>;
    type Error = Error;

    fn prepare(&self, to: &Arc<Generation>) -> Result {
        self.for_each_queue_pair(|pair, queue| moving::prepare(&mut pair.moving(queue), to))
    }

    /// Moves one queue pair after the other, so that the others carry traffic.
    fn switch(&self) -> Result {
        self.for_each_queue_pair(|pair, queue| moving::switch(&mut pair.moving(queue)))
    }

    fn discard(&self) {
        let _ = self.for_each_queue_pair(|pair, queue| {
            moving::discard(&mut pair.moving(queue));
            Ok(())
        });
    }

    fn pause(&self) -> Result {
        self.for_each_queue_pair(|pair, queue| moving::pause(&mut pair.moving(queue)))
    }

    fn release_keys(&self) {
        let _ = self.for_each_queue_pair(|pair, queue| {
            pair.moving(queue).release_keys();
            Ok(())
        });
    }

    fn go_on(&self, generation: &Arc<Generation>) -> Result {
        self.for_each_queue_pair(|pair, queue| moving::go_on(&mut pair.moving(queue), generation))
    }

    fn wait_closed(&self) {
        drop(self.0.data().closing.lock());
    }

    fn reset(&self, step: FailedStep, error: &Error) {
        let error = *error;
        let reason = ResetReason::Memory { step, error };
        self.0.data().request_reset(&self.0, reason);
    }
}

impl Member for PortMember {
    fn number(&self) -> u16 {
        self.0.data().number()
    }

    fn link_changed(&self, up: bool) {
        self.0.data().link_changed(&self.0, up);
    }

    fn malfunction(&self) {
        let port = self.0.data();
        port.link_changed(&self.0, false);
        port.request_reset(&self.0, ResetReason::Malfunction);
    }

    fn follow_entitlement(&self, limits: &Limits) {
        let result = self.for_each_queue_pair(|pair, queue| pair.follow(queue, limits));
        // All else is tried again the next time.
        if let Err(Error::NotMapped(address)) = result {
            let port = self.0.data();
            port.adapter()
                .report_miss(&self.0, address, Direction::Receive);
        }
    }

    fn add_counts(&self, values: &mut [u64]) {
        self.0.data().add_counts(values);
    }
}
