// SPDX-License-Identifier: GPL-2.0

//! Choice of the frames that a port accepts, and of the queue pairs that get them (§7.1).

use ehea_abi::cb::port::{MacAddress, ReceiveControl};

use crate::object::port::Port;
use crate::object::qp::Qp;
use crate::object::table::Table;
use crate::traffic::checksum::Ipv4;
use zerocopy::FromBytes as _;

/// Length of an Ethernet header in bytes.
pub(crate) const ETHER_HEADER: usize = 14;
/// Offset of the EtherType, or of the VLAN tag in front of it.
pub(crate) const ETHER_TYPE: usize = 12;
/// Length of an 802.1Q tag in bytes.
pub(crate) const VLAN_TAG: usize = 4;
/// EtherTypes.
pub(crate) const TPID_8021Q: u16 = 0x8100;
pub(crate) const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;

/// Returns the big-endian word at the offset `at` of a frame.
pub(crate) fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

/// Returns the tag control information of a tagged frame.
pub(crate) fn vlan_tci(frame: &[u8]) -> Option<u16> {
    if word(frame, ETHER_TYPE)? != TPID_8021Q {
        return None;
    }
    word(frame, ETHER_HEADER)
}

/// Returns the VLAN of a frame. A tag without a VLAN identifier only carries a priority.
fn vlan(frame: &[u8]) -> Option<u16> {
    vlan_tci(frame)
        .map(|tci| tci & 0xfff)
        .filter(|&vid| vid != 0)
}

/// Returns the destination address of a frame.
pub(crate) fn destination(frame: &[u8]) -> MacAddress {
    MacAddress(frame.first_chunk().copied().unwrap_or_default())
}

/// Kind of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Unicast,
    Multicast,
    Broadcast,
}

impl Cast {
    pub(crate) fn of(mac: MacAddress) -> Self {
        if mac.0 == [0xff; 6] {
            Self::Broadcast
        } else if mac.is_multicast() {
            Self::Multicast
        } else {
            Self::Unicast
        }
    }
}

impl Port {
    /// Checks whether the filters let a frame pass.
    pub(crate) fn accepts(&self, frame: &[u8]) -> bool {
        let vlan = vlan(frame);
        if let Some(vid) = vlan {
            let filters = self.receive_option(ReceiveControl::default())
                && self.receive_control.vlan_filter_mode() == Some(true);
            if filters && !self.vlan_filter.accepts(vid) {
                return false;
            }
        }
        let mac = destination(frame);
        match Cast::of(mac) {
            Cast::Unicast => mac == self.mac || self.def_uc_qpn != 0,
            Cast::Multicast => self.bcmc.take_multicast(mac, vlan),
            Cast::Broadcast => self.bcmc.take_broadcast(vlan),
        }
    }

    /// Returns the queue pair number or handle that the port's settings choose for a frame.
    /// Broadcasts, multicasts and everything that is not IP go to the first default queue pair
    /// (choice).
    fn queue_pair_for(&self, frame: &[u8]) -> Option<u64> {
        let mac = destination(frame);
        let cast = Cast::of(mac);
        if cast == Cast::Unicast && mac != self.mac {
            return Some(self.def_uc_qpn).filter(|&qpn| qpn != 0);
        }
        let set = || self.default_qpns.iter().filter(|&&qpn| qpn != 0);
        let flow = match cast {
            Cast::Unicast => flow_hash(frame),
            _ => 0,
        };
        let index = flow.checked_rem(set().count())?;
        set().nth(index).copied()
    }
}

/// Returns the handle of the queue pair that a number or handle names (M14).
fn resolve(qps: &Table<Qp>, name: u64) -> Option<u64> {
    if qps.contains(name) {
        return Some(name);
    }
    qps.by_number(u32::try_from(name).ok()?)
}

/// Returns the queue pair that gets a frame of port index `index`, or `None` if none can get it.
pub(crate) fn route(qps: &Table<Qp>, index: usize, port: &Port, frame: &[u8]) -> Option<u64> {
    let handle = resolve(qps, port.queue_pair_for(frame)?)?;
    let qp = qps.get(handle)?;
    (qp.port == index && qp.is_operational()).then_some(handle)
}

/// Returns the same number for all frames of a flow, and 0 for everything that is not IP (§7.1,
/// choice).
fn flow_hash(frame: &[u8]) -> usize {
    let at = match vlan_tci(frame) {
        Some(_) => ETHER_TYPE.saturating_add(VLAN_TAG),
        None => ETHER_TYPE,
    };
    let packet = frame.get(at.saturating_add(2)..).unwrap_or_default();
    match word(frame, at) {
        Some(TYPE_IPV4) => {
            let Ok((ip, _)) = Ipv4::ref_from_prefix(packet) else {
                return 0;
            };
            let addresses = fnv(fnv(FNV_BASIS, &ip.source), &ip.destination);
            let ports = match ip.protocol {
                Ipv4::TCP | Ipv4::UDP if !ip.is_fragment() => packet
                    .get(ip.header_length()..)
                    .and_then(<[u8]>::first_chunk::<4>),
                _ => None,
            };
            ports.map_or(addresses, |ports| fnv(addresses, ports)) as usize
        }
        // Next header and addresses; ports follow if there are no extension headers.
        Some(TYPE_IPV6) => {
            let Some(addresses) = packet.get(8..40) else {
                return 0;
            };
            let hash = fnv(FNV_BASIS, addresses);
            match (packet.get(6), packet.get(40..44)) {
                (Some(&(Ipv4::TCP | Ipv4::UDP)), Some(ports)) => fnv(hash, ports) as usize,
                _ => hash as usize,
            }
        }
        _ => 0,
    }
}

const FNV_BASIS: u32 = 0x811c_9dc5;

fn fnv(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
