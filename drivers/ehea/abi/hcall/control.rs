// SPDX-License-Identifier: GPL-2.0

//! Calls about the adapter, ports, queue pairs and events (§3.8 to §3.14).

use super::super::bits::Bits64;
use super::super::cb::port::{MacAddress, PortCategory};
use super::Regs;

/// H_QUERY_HEA: fills an [`super::super::cb::adapter::AdapterBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryHea {
    /// Adapter handle.
    pub adapter: u64,
    /// Real address of the control block.
    pub block: u64,
}

impl QueryHea {
    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [self.adapter, self.block, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, block, ..] = *regs;
        Self { adapter, block }
    }
}

/// H_QUERY_HEA_PORT and H_MODIFY_HEA_PORT: fills or applies the selected fields of a port control
/// block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCall {
    /// Adapter handle.
    pub adapter: u64,
    /// Number of the control block.
    pub category: PortCategory,
    /// Logical port number.
    pub port: u16,
    /// Selection mask.
    pub select: u64,
    /// Real address of the control block.
    pub block: u64,
}

impl PortCall {
    const CATEGORY: Bits64 = Bits64::range(40, 47);
    const PORT: Bits64 = Bits64::range(48, 63);

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            Self::CATEGORY.set(self.category.0 as u64) | Self::PORT.set(self.port as u64),
            self.select,
            0,
            self.block,
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, target, select, _, block, ..] = *regs;
        Self {
            adapter,
            category: PortCategory(Self::CATEGORY.get(target) as u8),
            port: Self::PORT.get(target) as u16,
            select,
            block,
        }
    }
}

/// Number of a queue pair control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpCategory(pub u64);

impl QpCategory {
    /// Block 0: [`super::super::cb::qp::QpBlock0`].
    pub const BLOCK0: Self = Self(0);
    /// Block 1: [`super::super::cb::qp::QpBlock1`].
    pub const BLOCK1: Self = Self(1);
}

/// H_QUERY_HEA_QP and H_MODIFY_HEA_QP: fills or applies the selected fields of a queue pair control
/// block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpCall {
    /// Adapter handle.
    pub adapter: u64,
    /// Number of the control block.
    pub category: QpCategory,
    /// Handle of the queue pair.
    pub qp: u64,
    /// Selection mask.
    pub select: u64,
    /// Real address of the control block.
    pub block: u64,
}

impl QpCall {
    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            self.category.0,
            self.qp,
            self.select,
            self.block,
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, category, qp, select, block, ..] = *regs;
        Self {
            adapter,
            category: QpCategory(category),
            qp,
            select,
            block,
        }
    }
}

/// Answer of H_MODIFY_HEA_QP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QpModified {
    /// Identifier of an attribute that was refused.
    pub invalid_attribute: u64,
    /// Number of entries of the send queue.
    pub sq_entries: u16,
    /// Number of entries of the receive queues.
    pub rq_entries: u16,
    /// Selection mask of the fields that were applied.
    pub processed: u64,
}

impl QpModified {
    /// Returns the registers of the answer.
    pub const fn pack(&self) -> Regs {
        [
            self.invalid_attribute,
            0,
            0,
            self.sq_entries as u64,
            self.rq_entries as u64,
            self.processed,
            0,
            0,
            0,
        ]
    }
}

/// H_DISABLE_AND_GET_HEA: disables a queue pair. It no longer touches memory when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisableAndGetHea {
    /// Adapter handle.
    pub adapter: u64,
    /// Code of the requested report; [`DisableAndGetHea::WQE_POINTERS`] is the one in use.
    pub report: u64,
    /// Handle of the queue pair.
    pub qp: u64,
}

impl DisableAndGetHea {
    /// Report of the positions of the work queues.
    pub const WQE_POINTERS: u64 = 1;

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [self.adapter, self.report, self.qp, 0, 0, 0, 0, 0, 0]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, report, qp, ..] = *regs;
        Self {
            adapter,
            report,
            qp,
        }
    }
}

/// Set of frames that a broadcast or multicast registration covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BcmcScope {
    /// True for all addresses, false for a single one.
    pub all_addresses: bool,
    /// True for multicast, false for broadcast.
    pub multicast: bool,
    /// True for untagged frames, false for tagged ones.
    pub untagged: bool,
    /// True for all VLANs, false for a single one.
    pub all_vlans: bool,
}

impl BcmcScope {
    /// The two registrations that broadcasts need: one for untagged frames, one for all VLANs.
    pub const BROADCAST: [Self; 2] = Self::pair(false, false);
    /// The two registrations that one multicast address needs.
    pub const MULTICAST: [Self; 2] = Self::pair(false, true);
    /// The two registrations that all multicast addresses need.
    pub const ALL_MULTICAST: [Self; 2] = Self::pair(true, true);

    const fn pair(all_addresses: bool, multicast: bool) -> [Self; 2] {
        [
            Self {
                all_addresses,
                multicast,
                untagged: true,
                all_vlans: false,
            },
            Self {
                all_addresses,
                multicast,
                untagged: false,
                all_vlans: true,
            },
        ]
    }
}

/// H_REG_BCMC and H_DEREG_BCMC: registers or deregisters a broadcast or multicast address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BcmcArgs {
    /// Adapter handle.
    pub adapter: u64,
    /// Logical port number.
    pub port: u16,
    /// Frames that the registration covers.
    pub scope: BcmcScope,
    /// Address: the port's own for broadcasts, zero for all addresses.
    pub mac: MacAddress,
    /// VLAN identifier, 12 bits; 0 with `all_vlans` or `untagged`.
    pub vlan: u16,
}

impl BcmcArgs {
    const PORT: Bits64 = Bits64::range(48, 63);
    const ALL_ADDRESSES: Bits64 = Bits64::bit(60);
    const MULTICAST: Bits64 = Bits64::bit(61);
    const UNTAGGED: Bits64 = Bits64::bit(62);
    const ALL_VLANS: Bits64 = Bits64::bit(63);
    const VLAN: Bits64 = Bits64::range(52, 63);

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            Self::PORT.set(self.port as u64),
            Self::ALL_ADDRESSES.flag(self.scope.all_addresses)
                | Self::MULTICAST.flag(self.scope.multicast)
                | Self::UNTAGGED.flag(self.scope.untagged)
                | Self::ALL_VLANS.flag(self.scope.all_vlans),
            self.mac.pack(),
            Self::VLAN.set(self.vlan as u64),
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, port, scope, mac, vlan, ..] = *regs;
        Self {
            adapter,
            port: Self::PORT.get(port) as u16,
            scope: BcmcScope {
                all_addresses: Self::ALL_ADDRESSES.is_set(scope),
                multicast: Self::MULTICAST.is_set(scope),
                untagged: Self::UNTAGGED.is_set(scope),
                all_vlans: Self::ALL_VLANS.is_set(scope),
            },
            mac: MacAddress::unpack(mac),
            vlan: Self::VLAN.get(vlan) as u16,
        }
    }
}

/// H_RESET_EVENTS: withdraws pending events of a notification event queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetEvents {
    /// Adapter handle.
    pub adapter: u64,
    /// Handle of the notification event queue.
    pub neq: u64,
    /// Mask of the events to withdraw; [`ResetEvents::ALL`] is the one in use.
    pub events: u64,
}

impl ResetEvents {
    /// Mask of all events: port malfunction, adapter malfunction, port state change.
    pub const ALL: u64 = Bits64::range(61, 63).mask();

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [self.adapter, self.neq, self.events, 0, 0, 0, 0, 0, 0]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, neq, events, ..] = *regs;
        Self {
            adapter,
            neq,
            events,
        }
    }
}

/// H_ERROR_DATA: fills an [`super::super::cb::error::ErrorBlock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorData {
    /// Adapter handle.
    pub adapter: u64,
    /// Handle of the queue pair, completion queue or event queue.
    pub resource: u64,
    /// Real address of the control block.
    pub block: u64,
}

impl ErrorData {
    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [self.adapter, self.resource, self.block, 0, 0, 0, 0, 0, 0]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, resource, block, ..] = *regs;
        Self {
            adapter,
            resource,
            block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_call() {
        let call = PortCall {
            adapter: 1,
            category: PortCategory::DEFAULT_UNICAST_QP,
            port: 0x1234,
            select: 0x8000_0000_0000_0000,
            block: 0x1000,
        };
        assert_eq!(
            call.pack(),
            [1, 0x0007_1234, 0x8000_0000_0000_0000, 0, 0x1000, 0, 0, 0, 0]
        );
        assert_eq!(PortCall::unpack(&call.pack()), call);
    }

    /// Checks the registration types of §3.12.
    #[test]
    fn bcmc() {
        for (pair, types) in [
            (BcmcScope::BROADCAST, [0x2, 0x1]),
            (BcmcScope::MULTICAST, [0x6, 0x5]),
            (BcmcScope::ALL_MULTICAST, [0xe, 0xd]),
        ] {
            for (scope, kind) in pair.into_iter().zip(types) {
                let call = BcmcArgs {
                    adapter: 1,
                    port: 2,
                    scope,
                    mac: MacAddress([1, 0, 0x5e, 0, 0, 1]),
                    vlan: 0,
                };
                assert_eq!(call.pack(), [1, 2, kind, 0x0100_5e00_0001, 0, 0, 0, 0, 0]);
                assert_eq!(BcmcArgs::unpack(&call.pack()), call);
            }
        }
    }

    #[test]
    fn simple_calls() {
        let query = QueryHea {
            adapter: 1,
            block: 2,
        };
        assert_eq!(QueryHea::unpack(&query.pack()), query);
        let qp = QpCall {
            adapter: 1,
            category: QpCategory::BLOCK1,
            qp: 2,
            select: 3,
            block: 4,
        };
        assert_eq!(qp.pack(), [1, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!(QpCall::unpack(&qp.pack()), qp);
        let reset = ResetEvents {
            adapter: 1,
            neq: 2,
            events: ResetEvents::ALL,
        };
        assert_eq!(reset.pack(), [1, 2, 7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ResetEvents::unpack(&reset.pack()), reset);
        let error = ErrorData {
            adapter: 1,
            resource: 2,
            block: 3,
        };
        assert_eq!(ErrorData::unpack(&error.pack()), error);
        let disable = DisableAndGetHea {
            adapter: 1,
            report: DisableAndGetHea::WQE_POINTERS,
            qp: 2,
        };
        assert_eq!(disable.pack(), [1, 1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(DisableAndGetHea::unpack(&disable.pack()), disable);
    }
}
