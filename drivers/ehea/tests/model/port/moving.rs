// SPDX-License-Identifier: GPL-2.0

//! Move of a port from one memory map to another, by the driver's own code.

use std::rc::Rc;

use ehea_core::abi::cb::qp::{QpBlock0, QpControl};
use ehea_core::abi::hcall::Opcode;
use ehea_core::abi::wqe::Rwqe;
use ehea_core::hcall::HcallError;
use ehea_core::moving::{Drained, ExchangeError, Pair};

use super::super::generation::{Generation, Keys};
use super::Port;

/// Failure of a port to move: firmware refused something, or a frame is never sent.
#[derive(Debug)]
pub(crate) struct Stuck;

impl From<HcallError> for Stuck {
    fn from(_: HcallError) -> Self {
        Self
    }
}

impl<'a> Pair for Port<'a> {
    type Generation = Rc<Generation<'a>>;
    type Prepared = Keys<'a>;
    type Old = Keys<'a>;
    type Error = Stuck;

    fn uses(&self, generation: &Rc<Generation<'a>>) -> bool {
        let keys = self.keys.as_ref();
        keys.is_some_and(|keys| Rc::ptr_eq(keys.generation(), generation))
    }

    fn allocate(&self, generation: &Rc<Generation<'a>>) -> Result<Keys<'a>, Stuck> {
        Ok(Keys::new(generation)?)
    }

    fn prepared(&mut self) -> &mut Option<Keys<'a>> {
        &mut self.next
    }

    fn hold_frames(&mut self) {
        self.paused = true;
    }

    fn take_frames(&mut self) {
        self.paused = false;
    }

    fn is_drained(&mut self) -> bool {
        self.complete();
        self.poster.is_idle(self.completer.completed())
    }

    fn completed(&self) -> u32 {
        self.completer.completed()
    }

    // Completions are looked for each time.
    fn look(&mut self) {}

    fn drained(&mut self, _how: Drained) {}

    fn wait(&mut self) {
        self.guest.machine.borrow_mut().advance(1_000_000);
    }

    fn is_leaving(&self) -> bool {
        false
    }

    fn not_drained(&self) -> Stuck {
        Stuck
    }

    // Completions are handled when the test asks for it.
    fn stop_polling(&mut self) {}

    fn start_polling(&mut self) {}

    fn set_enabled(&mut self, enabled: bool) -> Result<(), Stuck> {
        Ok(self.request(enabled)?)
    }

    fn exchange(&mut self, keys: Keys<'a>) -> Result<Option<Keys<'a>>, ExchangeError<Stuck>> {
        self.rewrite(&keys);
        Ok(self.keys.replace(keys))
    }

    fn out_of_use(&mut self) -> &mut bool {
        &mut self.broken
    }

    fn release_keys(&mut self) {
        self.keys = None;
    }

    fn give_up(&mut self, _error: &Stuck) {
        self.needs_reset = true;
    }
}

impl<'a> Port<'a> {
    fn request(&self, enabled: bool) -> Result<(), HcallError> {
        let qp = self.handles[0];
        self.qp_call(Opcode::QUERY_HEA_QP, qp, QpBlock0::SELECT_ALL)?;
        let block: QpBlock0 = self.guest.machine.borrow().read(self.block);
        let control = QpControl(block.control.get());
        self.modify(qp, control.same_state(enabled))?;
        self.qp_call(Opcode::QUERY_HEA_QP, qp, QpBlock0::SELECT_ALL)
    }

    /// Rewrites all work requests. Buffers that are not in the new map are replaced.
    fn rewrite(&mut self, keys: &Keys<'a>) {
        let receive = keys.receive();
        let queues = [(&self.buffers2, &self.rq2), (&self.buffers3, &self.rq3)];
        for (queue, (posted, ring)) in queues.into_iter().enumerate() {
            let len = posted.buffer_len().into();
            for (index, place) in self.buffers[queue].iter_mut().enumerate() {
                let Some(real) = place else { continue };
                if receive.map.translate(*real, len).is_none() {
                    *real = self.memory.buffer(queue, index);
                }
                let bus = receive.map.translate(*real, len).unwrap();
                let (slot, lkey) = (&mut ring.slot(index), receive.key);
                posted.rewrite(slot, index, bus, lkey).unwrap();
            }
        }
    }

    /// Returns the handle of the region that work requests refer to, or `None` if there is no
    /// region.
    pub(crate) fn region(&self) -> Option<u64> {
        self.keys
            .as_ref()
            .map(|keys| keys.generation().region().handle())
    }

    /// Returns what the adapter may write to now: the real address of each buffer, and the adapter
    /// address in its work request. Asserts that the work request has the right key.
    pub(crate) fn posted(&self) -> Vec<(u64, u64)> {
        let Some(keys) = &self.keys else {
            return Vec::new();
        };
        let receive = keys.receive();
        let mut posted = Vec::new();
        for (queue, ring) in [&self.rq2, &self.rq3].into_iter().enumerate() {
            for (index, real) in self.buffers[queue].iter().enumerate() {
                let Some(real) = real else { continue };
                let address = ring.slot(index).address;
                let rwqe: Rwqe = self.guest.machine.borrow().read(address);
                assert_eq!(rwqe.buffer.lkey.get(), receive.key);
                posted.push((*real, rwqe.buffer.vaddr.get()));
            }
        }
        posted
    }
}
