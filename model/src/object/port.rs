// SPDX-License-Identifier: GPL-2.0

//! Logical ports: attributes, filters, and memory for frames that wait (§4.4, §7.1).

use ehea_abi::cb::port::{
    MacAddress, PortBlock1, PortBlock2, PortSpeed, ReceiveControl, MAX_DEFAULT_QPS,
};
use zerocopy::byteorder::big_endian::U64;

use super::bcmc::Registrations;
use super::fifo::Fifo;
use crate::limits::PORT_FIFO_BYTES;
use crate::stats::PortCounters;

/// Length in bytes of the longest frame on the wire, including CRC (M21).
pub(crate) const MAX_WIRE_FRAME: usize = 9022;
/// Length in bytes of the longest frame on the wire while jumbo frames are off, including VLAN tag
/// and CRC.
pub(crate) const MAX_WIRE_FRAME_STANDARD: usize = 1522;
/// A logical port.
#[derive(Debug)]
pub(crate) struct Port {
    /// Logical port number, from 1.
    pub(crate) number: u16,
    pub(crate) mac: MacAddress,
    pub(crate) receive_control: ReceiveControl,
    pub(crate) default_qpns: [u64; MAX_DEFAULT_QPS],
    pub(crate) vlan_filter: PortBlock1,
    pub(crate) statistics: PortBlock2,
    pub(crate) speed: PortSpeed,
    pub(crate) pause: u32,
    pub(crate) jumbo: u32,
    /// Number or handle of the queue pair for frames to other stations; 0 if there is none.
    pub(crate) def_uc_qpn: u64,
    pub(crate) bcmc: Registrations,
    /// True if the guest has the port. Firmware refuses all calls about a port that was given back.
    pub(crate) owned: bool,
    /// True if the physical link is up.
    pub(crate) link: bool,
    /// True if a queue pair can receive, or could if it were enabled.
    pub(crate) operational: bool,
    /// True if the backend has a frame of this port and cannot take another.
    pub(crate) tx_busy: bool,
    /// True if the backend was told to wait.
    pub(crate) held_back: bool,
    pub(crate) counters: PortCounters,
    /// Ordinal of the port's last part of a turn of work.
    pub(crate) served: u64,
    /// Number of bytes of frames that wait for the port's queue pairs.
    fifo_bytes: usize,
}

impl Port {
    pub(crate) fn new(number: u16, mac: MacAddress, flow_control: bool) -> Self {
        Self {
            number,
            mac,
            receive_control: ReceiveControl::default(),
            default_qpns: [0; MAX_DEFAULT_QPS],
            vlan_filter: PortBlock1::default(),
            statistics: PortBlock2::default(),
            speed: PortSpeed::G10_FULL,
            pause: flow_control.into(),
            jumbo: 0,
            def_uc_qpn: 0,
            bcmc: Registrations::default(),
            owned: true,
            link: true,
            operational: false,
            tx_busy: false,
            held_back: false,
            counters: PortCounters::default(),
            served: 0,
            fifo_bytes: 0,
        }
    }

    /// Checks whether a receive option is set. No option is set while the register is not valid.
    pub(crate) fn receive_option(&self, option: ReceiveControl) -> bool {
        self.receive_control
            .contains(ReceiveControl::VALID.with(option))
    }

    /// Returns the length in bytes of the longest frame on the wire, including CRC.
    pub(crate) const fn max_wire_frame(&self) -> usize {
        if self.jumbo != 0 {
            MAX_WIRE_FRAME
        } else {
            MAX_WIRE_FRAME_STANDARD
        }
    }

    pub(crate) const fn fifo_bytes(&self) -> usize {
        self.fifo_bytes
    }

    /// Checks whether there is room for any frame.
    pub(crate) const fn fifo_has_room(&self) -> bool {
        self.fifo_bytes.saturating_add(MAX_WIRE_FRAME) <= PORT_FIFO_BYTES
    }

    /// Checks whether a backend with flow control has to wait, so that nothing is lost on a port
    /// that is up.
    pub(crate) const fn must_hold_back(&self) -> bool {
        self.link && self.operational && !self.fifo_has_room()
    }

    /// Makes a frame wait for its queue pair.
    pub(crate) fn hold(&mut self, fifo: &mut Fifo, frame: Vec<u8>) {
        self.fifo_bytes = self.fifo_bytes.saturating_add(frame.len());
        fifo.push(frame);
    }

    /// Removes the frame that has waited longest and returns it.
    pub(crate) fn release(&mut self, fifo: &mut Fifo) -> Option<Vec<u8>> {
        let frame = fifo.pop()?;
        self.fifo_bytes = self.fifo_bytes.saturating_sub(frame.len());
        Some(frame)
    }

    /// Drops all waiting frames of a queue pair. Returns their number.
    pub(crate) fn lose(&mut self, fifo: &mut Fifo) -> u64 {
        let mut lost = 0u64;
        while self.release(fifo).is_some() {
            self.drop_frame();
            lost = lost.saturating_add(1);
        }
        lost
    }

    /// Counts a received frame that is lost because no buffer or queue pair takes it.
    pub(crate) fn drop_frame(&mut self) {
        bump(&mut self.statistics.rxufd, 1);
        self.counters.rx_dropped = self.counters.rx_dropped.saturating_add(1);
    }

    /// Counts a received frame that is lost because it is too long.
    pub(crate) fn drop_long_frame(&mut self) {
        bump(&mut self.statistics.rxftl, 1);
        self.counters.rx_dropped = self.counters.rx_dropped.saturating_add(1);
    }
}

/// Adds to a statistics counter.
pub(crate) fn bump(counter: &mut U64, by: usize) {
    counter.set(counter.get().saturating_add(by as u64));
}
