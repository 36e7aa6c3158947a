// SPDX-License-Identifier: GPL-2.0

//! Share of an open port in the entitlement.

use super::{
    context::PortDevice,
    device::Port,
    opening::Occasion, //
};
use crate::{
    cmo::{
        Limits,
        Plan, //
    },
    error::Result,
    kernel_ext::{
        crash,
        net::lock::ConfigLock, //
    }, //
};

impl Port {
    /// Returns the number of queue pairs that the port wants.
    fn wanted_queue_pairs(&self) -> u16 {
        // CAST: At most 16.
        self.queues.len() as u16
    }

    /// Plans the layout of the queues of the port, which is being opened for the MTU `mtu`. Returns `None` if the bus
    /// has not given the adapter any entitlement yet, which it is worth to wait for.
    pub(super) fn plan(&self, mtu: u32) -> Result<Option<Plan>> {
        let queue_pairs = self.wanted_queue_pairs();
        let Some(entitlement) = self.adapter.entitlement() else {
            return Ok(Some(if crash::is_dump_kernel() {
                Plan::SMALLEST
            } else {
                Plan::full(queue_pairs)
            }));
        };
        let plan = entitlement.opening(self.number(), queue_pairs, mtu)?;
        // The others have less from now on.
        self.adapter.entitlement_changed();
        let waits = entitlement.is_below_minimum() && self.put_off.try_again();
        Ok((!waits).then_some(plan))
    }

    /// Returns a smaller plan after there was not enough entitlement for `plan`, or `None` if there
    /// is no smaller one.
    pub(super) fn smaller_plan(&self, plan: &Plan) -> Option<Plan> {
        let entitlement = self.adapter.entitlement()?;
        let smaller = entitlement.reduce(self.number());
        (smaller != *plan).then_some(smaller)
    }

    /// Gives the port's share back, after nothing is mapped any more.
    pub(super) fn release_entitlement(&self) {
        if let Some(entitlement) = self.adapter.entitlement() {
            entitlement.closed(self.number());
            self.adapter.entitlement_changed();
        }
    }

    /// Returns how much each queue pair may have mapped now.
    pub(super) fn limits(&self) -> Limits {
        match self.adapter.entitlement() {
            Some(entitlement) => entitlement.limits(self.number()),
            None => Limits::default(),
        }
    }

    /// Makes the port receive frames for the MTU `mtu`. If buffers for large frames are not needed
    /// any more, the port is taken down and up again, because posted buffers cannot be taken back
    /// from the adapter.
    pub(super) fn change_mtu(&self, dev: &PortDevice, mtu: u32, lock: &ConfigLock<'_>) {
        let Some(entitlement) = self.adapter.entitlement() else {
            return;
        };
        if dev.is_running() && Limits::large_frames(dev.mtu()) && !Limits::large_frames(mtu) {
            self.close(dev, lock);
            self.reopen(dev, mtu, lock, Occasion::Reset);
            return;
        }
        entitlement.set_mtu(self.number(), mtu);
        self.adapter.entitlement_changed();
    }
}
