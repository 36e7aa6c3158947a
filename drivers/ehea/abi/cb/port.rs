// SPDX-License-Identifier: GPL-2.0

//! Port control blocks (§4.4).

use core::mem::{offset_of, size_of};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::bits::{Bits64, Bits8};

/// Maximum number of queue pairs over which a port spreads its frames.
pub const MAX_DEFAULT_QPS: usize = 16;

/// Maximum number of ports of an adapter that driver and adapter model know. No adapter has more.
pub const MAX_PORTS: usize = 16;

/// Number of a port control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCategory(pub u8);

impl PortCategory {
    /// [`PortBlock0`]: attributes.
    pub const ATTRIBUTES: Self = Self(0);
    /// [`PortBlock1`]: VLAN filter.
    pub const VLAN_FILTER: Self = Self(1);
    /// [`PortBlock2`]: statistics.
    pub const STATISTICS: Self = Self(2);
    /// [`PortBlock4`]: speed, pause, jumbo frames.
    pub const LINK: Self = Self(4);
    /// [`PortBlock7`]: default unicast queue pair.
    pub const DEFAULT_UNICAST_QP: Self = Self(7);
}

/// Port control block 0: attributes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct PortBlock0 {
    /// MAC address of the port: a [`MacAddress`] in the low 48 bits.
    pub port_mac_addr: U64,
    /// Receive control register: [`ReceiveControl`].
    pub port_rc: U64,
    /// Reserved.
    pub reserved1: U64,
    /// Operational state of the logical port: 1 up, 0 down.
    pub port_op_state: U32,
    /// Speed of the port: [`PortSpeed`].
    pub port_speed: U32,
    /// Operational state of the external switch port: 1 up, 0 down.
    pub ext_swport_op_state: U32,
    /// Negotiated pause, judging by its name.
    pub neg_tpf_prpf: U32,
    /// Number of queue pairs that the driver should open, 1..=[`MAX_DEFAULT_QPS`].
    pub num_default_qps: U32,
    /// Reserved.
    pub reserved2: U32,
    /// Numbers of the queue pairs over which frames are spread; unused entries are 0.
    pub default_qpn_arr: [U64; MAX_DEFAULT_QPS],
}

const _: () = {
    assert!(size_of::<PortBlock0>() == 0xb0);
    assert!(offset_of!(PortBlock0, port_op_state) == 0x18);
    assert!(offset_of!(PortBlock0, num_default_qps) == 0x28);
    assert!(offset_of!(PortBlock0, default_qpn_arr) == 0x30);
};

impl PortBlock0 {
    /// Selects the MAC address.
    pub const SELECT_MAC: Bits64 = Bits64::bit(0);
    /// Selects the receive control register.
    pub const SELECT_RECEIVE_CONTROL: Bits64 = Bits64::bit(1);
    /// Selects the array of queue pair numbers.
    pub const SELECT_DEFAULT_QPNS: Bits64 = Bits64::bit(7);
    /// Selects everything.
    pub const SELECT_ALL: Bits64 = Bits64::range(0, 7);
}

/// A MAC address in the low 48 bits of a doubleword, first octet highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Returns the address as a doubleword.
    pub const fn pack(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Returns the address that the doubleword `dword` holds. The upper 16 bits are ignored.
    pub const fn unpack(dword: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = dword.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Checks whether this is a group address (multicast or broadcast).
    pub const fn is_multicast(self) -> bool {
        Bits8::bit(7).is_set(self.0[0] as u64)
    }

    /// Checks whether a station can have this address: it is not a group address and not all zeros.
    pub const fn is_valid_station(self) -> bool {
        !self.is_multicast() && self.pack() != 0
    }
}

/// The receive control register of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveControl(pub u64);

impl ReceiveControl {
    /// Marks the register as valid.
    pub const VALID: Self = Self(Bits64::bit(49).mask());
    /// Moves VLAN tags of received frames into the completion.
    pub const VLAN_XTRACT: Self = Self(Bits64::bit(50).mask());
    /// Accepts jumbo frames.
    pub const JUMBO_FRAME: Self = Self(Bits64::bit(56).mask());
    /// Checks TCP and UDP checksums.
    pub const TCP_UDP_CHKSUM: Self = Self(Bits64::bit(58).mask());
    /// Checks IPv4 header checksums.
    pub const IP_CHKSUM: Self = Self(Bits64::bit(59).mask());
    /// Accepts only tagged frames whose VLAN is in the filter. Without this bit, all tagged frames
    /// are accepted.
    pub const VLAN_FILTER: Self = Self(Bits64::range(62, 63).set(2));

    const VLAN_FILTER_MODE: Bits64 = Bits64::range(62, 63);

    /// Checks whether tagged frames are filtered. Returns `None` if the meaning of the field's
    /// value is not known.
    pub const fn vlan_filter_mode(self) -> Option<bool> {
        match Self::VLAN_FILTER_MODE.get(self.0) {
            0 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }

    /// Checks whether all bits of `bits` are set.
    pub const fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Returns the bits that are set in `self` or in `bits`.
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }
}

/// Speed and duplex codes of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortSpeed(pub u32);

impl PortSpeed {
    /// Request for autonegotiation.
    pub const AUTONEG: Self = Self(0);
    /// 10 Mbit/s, half duplex.
    pub const M10_HALF: Self = Self(1);
    /// 10 Mbit/s, full duplex.
    pub const M10_FULL: Self = Self(2);
    /// 100 Mbit/s, half duplex.
    pub const M100_HALF: Self = Self(3);
    /// 100 Mbit/s, full duplex.
    pub const M100_FULL: Self = Self(4);
    /// 1 Gbit/s, full duplex.
    pub const G1_FULL: Self = Self(6);
    /// 10 Gbit/s, full duplex.
    pub const G10_FULL: Self = Self(8);

    /// Returns the speed in Mbit/s and whether the link is full duplex, or `None` for an unknown
    /// code.
    pub const fn decode(self) -> Option<(u32, bool)> {
        match self {
            Self::M10_HALF => Some((10, false)),
            Self::M10_FULL => Some((10, true)),
            Self::M100_HALF => Some((100, false)),
            Self::M100_FULL => Some((100, true)),
            Self::G1_FULL => Some((1000, true)),
            Self::G10_FULL => Some((10000, true)),
            _ => None,
        }
    }

    /// Returns the code for a speed of `mbps` Mbit/s, or `None` if the adapter does not have that
    /// speed.
    pub const fn encode(mbps: u32, full_duplex: bool) -> Option<Self> {
        match (mbps, full_duplex) {
            (10, false) => Some(Self::M10_HALF),
            (10, true) => Some(Self::M10_FULL),
            (100, false) => Some(Self::M100_HALF),
            (100, true) => Some(Self::M100_FULL),
            (1000, true) => Some(Self::G1_FULL),
            (10000, true) => Some(Self::G10_FULL),
            _ => None,
        }
    }
}

/// Port control block 1: VLAN filter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct PortBlock1 {
    /// One bit for each VLAN identifier; frames of a VLAN are accepted if its bit is set.
    pub vlan_filter: [u8; 512],
}

impl Default for PortBlock1 {
    fn default() -> Self {
        Self {
            vlan_filter: [0; 512],
        }
    }
}

impl PortBlock1 {
    /// Selects the filter.
    pub const SELECT_ALL: Bits64 = Bits64::bit(0);

    const fn position(vid: u16) -> (usize, Bits8) {
        let vid = vid as usize % 4096;
        (vid / 8, Bits8::bit((vid % 8) as u32))
    }

    /// Checks whether frames of the VLAN `vid` are accepted. The upper four bits of `vid` are
    /// ignored.
    pub fn accepts(&self, vid: u16) -> bool {
        let (byte, bit) = Self::position(vid);
        self.vlan_filter
            .get(byte)
            .is_some_and(|&b| bit.is_set(b.into()))
    }

    /// Accepts or refuses frames of the VLAN `vid`. The upper four bits of `vid` are ignored.
    pub fn set(&mut self, vid: u16, accept: bool) {
        let (byte, bit) = Self::position(vid);
        if let Some(b) = self.vlan_filter.get_mut(byte) {
            *b = bit.replace((*b).into(), accept.into()) as u8;
        }
    }
}

/// Port control block 2: statistics, counted since the adapter was reset.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct PortBlock2 {
    /// Number of octets received.
    pub rxo: U64,
    /// Number of unicast packets received.
    pub rxucp: U64,
    /// Number of frames discarded because no receive buffer was free.
    pub rxufd: U64,
    /// Number of frames received with errors.
    pub rxuerr: U64,
    /// Number of frames that were too long.
    pub rxftl: U64,
    /// Number of multicast packets received.
    pub rxmcp: U64,
    /// Number of broadcast packets received.
    pub rxbcp: U64,
    /// Number of octets sent.
    pub txo: U64,
    /// Number of unicast packets sent.
    pub txucp: U64,
    /// Number of multicast packets sent.
    pub txmcp: U64,
    /// Number of broadcast packets sent.
    pub txbcp: U64,
}

const _: () = {
    assert!(size_of::<PortBlock2>() == 0x58);
    assert!(offset_of!(PortBlock2, rxmcp) == 0x28);
    assert!(offset_of!(PortBlock2, txbcp) == 0x50);
};

impl PortBlock2 {
    /// Selects everything.
    pub const SELECT_ALL: Bits64 = Bits64::range(0, 10);
}

/// Port control block 4: link configuration.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct PortBlock4 {
    /// Speed of the port: [`PortSpeed`].
    pub port_speed: U32,
    /// Undocumented.
    pub pause_frame: U32,
    /// Undocumented.
    pub ens_port_op_state: U32,
    /// State of jumbo frames; they are enabled if it is not 0.
    pub jumbo_frame: U32,
    /// Undocumented.
    pub ens_port_wrap: U32,
}

const _: () = {
    assert!(size_of::<PortBlock4>() == 0x14);
    assert!(offset_of!(PortBlock4, jumbo_frame) == 0x0c);
};

impl PortBlock4 {
    /// Selects the speed.
    pub const SELECT_SPEED: Bits64 = Bits64::bit(0);
    /// Selects pause.
    pub const SELECT_PAUSE: Bits64 = Bits64::bit(1);
    /// Selects the external switch port's state.
    pub const SELECT_OP_STATE: Bits64 = Bits64::bit(2);
    /// Selects jumbo frames.
    pub const SELECT_JUMBO: Bits64 = Bits64::bit(3);
    /// Selects everything.
    pub const SELECT_ALL: Bits64 = Bits64::range(0, 3);
}

/// Port control block 7: destination of unicast frames for other stations (promiscuous mode).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct PortBlock7 {
    /// Number or handle of the queue pair that gets these frames. If it is 0, they are dropped.
    pub def_uc_qpn: U64,
}

impl PortBlock7 {
    /// Selects the queue pair.
    pub const SELECT_ALL: Bits64 = Bits64::bit(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn mac_address() {
        let mac = MacAddress([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(mac.pack(), 0x0000_0211_2233_4455);
        assert_eq!(MacAddress::unpack(0xffff_0211_2233_4455), mac);
        assert!(mac.is_valid_station());
        assert!(!MacAddress([0; 6]).is_valid_station());
        assert!(MacAddress([0xff; 6]).is_multicast());
    }

    /// Checks the value that the bring-up of a port writes (§4.4).
    #[test]
    fn receive_control() {
        let rc = ReceiveControl::VALID
            .with(ReceiveControl::VLAN_XTRACT)
            .with(ReceiveControl::JUMBO_FRAME)
            .with(ReceiveControl::TCP_UDP_CHKSUM)
            .with(ReceiveControl::IP_CHKSUM)
            .with(ReceiveControl::VLAN_FILTER);
        assert_eq!(rc.0, 0x60b2);
        assert_eq!(rc.vlan_filter_mode(), Some(true));
        assert_eq!(ReceiveControl(0).vlan_filter_mode(), Some(false));
        assert_eq!(ReceiveControl(3).vlan_filter_mode(), None);
    }

    #[test]
    fn vlan_filter_bits() {
        let mut block = PortBlock1::default();
        block.set(0, true);
        block.set(4095, true);
        block.set(100, true);
        assert_eq!(
            (
                block.vlan_filter[0],
                block.vlan_filter[511],
                block.vlan_filter[12]
            ),
            (0x80, 0x01, 0x08)
        );
        assert!(block.accepts(100) && !block.accepts(101));
        block.set(100, false);
        assert!(!block.accepts(100));
    }

    #[test]
    fn attributes_bytes() {
        let mut block = PortBlock0 {
            port_mac_addr: U64::new(MacAddress([2, 0, 0, 0, 0, 9]).pack()),
            port_speed: U32::new(PortSpeed::G10_FULL.0),
            num_default_qps: U32::new(1),
            ..PortBlock0::default()
        };
        block.default_qpn_arr[15] = U64::new(0x77);
        let bytes = block.as_bytes();
        assert_eq!(&bytes[..8], &[0, 0, 2, 0, 0, 0, 0, 9]);
        assert_eq!((bytes[0x1f], bytes[0x2b], bytes[0xaf]), (8, 1, 0x77));
    }

    #[test]
    fn selection_masks() {
        assert_eq!(PortBlock0::SELECT_ALL.mask(), 0xff00_0000_0000_0000);
        assert_eq!(
            PortBlock0::SELECT_RECEIVE_CONTROL.mask() | PortBlock0::SELECT_DEFAULT_QPNS.mask(),
            0x4100_0000_0000_0000
        );
        assert_eq!(PortBlock2::SELECT_ALL.mask(), 0xffe0_0000_0000_0000);
        assert_eq!(PortBlock4::SELECT_ALL.mask(), 0xf000_0000_0000_0000);
        assert_eq!(PortBlock4::SELECT_JUMBO.mask(), 0x1000_0000_0000_0000);
    }

    #[test]
    fn speeds() {
        for code in 1..=8 {
            let speed = PortSpeed(code);
            if let Some((mbps, full)) = speed.decode() {
                assert_eq!(PortSpeed::encode(mbps, full), Some(speed));
            }
        }
        assert_eq!(PortSpeed(5).decode(), None);
        assert_eq!(PortSpeed::encode(1000, false), None);
    }
}
