// SPDX-License-Identifier: GPL-2.0

//! Entries of event queues (§6.6): one big-endian doubleword each.

use super::bits::Bits64;

/// Toggle bit of both kinds of entries.
pub const VALID: Bits64 = Bits64::bit(0);

/// An entry of an affiliated event queue: an asynchronous error of a queue pair or completion
/// queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eqe {
    /// True if the event concerns a completion queue, false if it concerns a queue pair.
    pub is_cq: bool,
    /// Code of the event. The codes are undocumented.
    pub identifier: u8,
    /// Number of the queue pair or completion queue, 24 bits.
    pub number: u32,
    /// Token that the driver gave to the queue pair or completion queue.
    pub token: u32,
}

impl Eqe {
    const IS_CQ: Bits64 = Bits64::bit(1);
    const IDENTIFIER: Bits64 = Bits64::range(2, 7);
    const NUMBER: Bits64 = Bits64::range(8, 31);
    const TOKEN: Bits64 = Bits64::range(32, 63);

    /// Returns the doubleword, with the toggle bit clear.
    pub const fn pack(self) -> u64 {
        Self::IS_CQ.flag(self.is_cq)
            | Self::IDENTIFIER.set(self.identifier as u64)
            | Self::NUMBER.set(self.number as u64)
            | Self::TOKEN.set(self.token as u64)
    }

    /// Returns the entry that the doubleword `dword` holds.
    pub const fn unpack(dword: u64) -> Self {
        Self {
            is_cq: Self::IS_CQ.is_set(dword),
            identifier: Self::IDENTIFIER.get(dword) as u8,
            number: Self::NUMBER.get(dword) as u32,
            token: Self::TOKEN.get(dword) as u32,
        }
    }
}

/// Code of a port or adapter event in a notification event queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeqEvent(pub u8);

impl NeqEvent {
    /// Change of a port's state; the entry carries the new state.
    pub const PORT_STATE_CHANGE: Self = Self(0x30);
    /// Malfunction of the adapter.
    pub const ADAPTER_MALFUNCTION: Self = Self(0x32);
    /// Malfunction of a port.
    pub const PORT_MALFUNCTION: Self = Self(0x33);
}

/// An entry of the notification event queue: a port or adapter event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeqEntry {
    /// Code of the event.
    pub event: NeqEvent,
    /// True if the logical port is up.
    pub port_up: bool,
    /// True if the physical link of the external switch port is up.
    pub link_up: bool,
    /// True if the external switch port is the primary one.
    pub primary: bool,
    /// Logical port number.
    pub port: u16,
}

impl NeqEntry {
    const EVENT: Bits64 = Bits64::range(2, 7);
    const PORT_UP: Bits64 = Bits64::bit(16);
    const LINK_UP: Bits64 = Bits64::bit(17);
    const PRIMARY: Bits64 = Bits64::bit(18);
    const PORT: Bits64 = Bits64::range(32, 47);

    /// Returns the doubleword, with the toggle bit clear.
    pub const fn pack(self) -> u64 {
        Self::EVENT.set(self.event.0 as u64)
            | Self::PORT_UP.flag(self.port_up)
            | Self::LINK_UP.flag(self.link_up)
            | Self::PRIMARY.flag(self.primary)
            | Self::PORT.set(self.port as u64)
    }

    /// Returns the entry that the doubleword `dword` holds.
    pub const fn unpack(dword: u64) -> Self {
        Self {
            event: NeqEvent(Self::EVENT.get(dword) as u8),
            port_up: Self::PORT_UP.is_set(dword),
            link_up: Self::LINK_UP.is_set(dword),
            primary: Self::PRIMARY.is_set(dword),
            port: Self::PORT.get(dword) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the example of §6.6: port 1 up, link up, primary, first lap.
    #[test]
    fn neq_entry() {
        let entry = NeqEntry {
            event: NeqEvent::PORT_STATE_CHANGE,
            port_up: true,
            link_up: true,
            primary: true,
            port: 1,
        };
        assert_eq!(entry.pack() | VALID.mask(), 0xb000_e000_0001_0000);
        assert_eq!(NeqEntry::unpack(0xb000_e000_0001_0000), entry);
    }

    #[test]
    fn eqe() {
        let entry = Eqe {
            is_cq: true,
            identifier: 0x3f,
            number: 0x12_3456,
            token: 0x89ab_cdef,
        };
        assert_eq!(entry.pack(), 0x7f12_3456_89ab_cdef);
        assert_eq!(Eqe::unpack(0xff12_3456_89ab_cdef), entry);
    }
}
