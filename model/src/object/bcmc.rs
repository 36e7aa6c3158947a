// SPDX-License-Identifier: GPL-2.0

//! Registrations of broadcast and multicast addresses at a port (§3.12).

use std::collections::BTreeSet;

use ehea_abi::cb::port::MacAddress;
use ehea_abi::hcall::BcmcArgs;

use crate::limits::{MAX_MULTICAST, MAX_REGISTRATIONS};
use crate::refusal::Refusal;

/// Addresses whose frames a registration covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Broadcast,
    AllMulticast,
    Multicast([u8; 6]),
}

/// VLANs whose frames a registration covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Vlans {
    Untagged,
    All,
    One(u16),
}

/// A registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Registration {
    group: Group,
    vlans: Vlans,
    /// Address of the port at the time of the registration, for broadcasts.
    mac: [u8; 6],
}

impl Registration {
    /// Returns the registration that a call describes. It is for untagged frames, for all VLANs, or
    /// for one VLAN.
    pub(crate) fn new(call: &BcmcArgs) -> Result<Self, Refusal> {
        let scope = call.scope;
        let group = match (scope.multicast, scope.all_addresses) {
            (false, _) => Group::Broadcast,
            (true, false) => Group::Multicast(call.mac.0),
            (true, true) => Group::AllMulticast,
        };
        let vlans = match (scope.untagged, scope.all_vlans) {
            (false, false) => Vlans::One(call.vlan),
            (true, false) if call.vlan == 0 => Vlans::Untagged,
            (false, true) if call.vlan == 0 => Vlans::All,
            _ => return Err(Refusal::BcmcScope),
        };
        Ok(Self {
            group,
            vlans,
            mac: call.mac.0,
        })
    }
}

/// The registrations of a port.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    /// All registrations, in an order that puts those for the same frames side by side.
    all: BTreeSet<Registration>,
}

impl Registrations {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a registration. The registration of a crashed kernel may still be present.
    pub(crate) fn insert(&mut self, new: Registration) -> Result<(), Refusal> {
        if self.all.contains(&new) {
            return Ok(());
        }
        let one_more = matches!(new.group, Group::Multicast(_)) && !self.has_group(new.group);
        if self.all.len() >= MAX_REGISTRATIONS || one_more && self.groups() >= MAX_MULTICAST {
            return Err(Refusal::BcmcLimit);
        }
        self.all.insert(new);
        Ok(())
    }

    /// Removes a registration, if it is present.
    pub(crate) fn remove(&mut self, registration: Registration) {
        self.all.remove(&registration);
    }

    /// Checks whether broadcasts are received: untagged ones, or those of a VLAN.
    pub(crate) fn take_broadcast(&self, vlan: Option<u16>) -> bool {
        self.take(Group::Broadcast, vlan)
    }

    /// Checks whether frames to a multicast address are received: untagged ones, or those of a
    /// VLAN.
    pub(crate) fn take_multicast(&self, mac: MacAddress, vlan: Option<u16>) -> bool {
        self.take(Group::Multicast(mac.0), vlan) || self.take(Group::AllMulticast, vlan)
    }

    fn take(&self, group: Group, vlan: Option<u16>) -> bool {
        match vlan {
            None => self.has(group, Vlans::Untagged),
            Some(vid) => self.has(group, Vlans::All) || self.has(group, Vlans::One(vid)),
        }
    }

    fn has(&self, group: Group, vlans: Vlans) -> bool {
        let at = |mac| Registration { group, vlans, mac };
        let mut found = self.all.range(at([0; 6])..=at([0xff; 6]));
        found.next().is_some()
    }

    fn has_group(&self, group: Group) -> bool {
        let first = Registration {
            group,
            vlans: Vlans::Untagged,
            mac: [0; 6],
        };
        let next = self.all.range(first..).next();
        next.is_some_and(|next| next.group == group)
    }

    /// Returns the number of multicast addresses.
    fn groups(&self) -> usize {
        let mut groups: Vec<_> = self.all.iter().map(|entry| entry.group).collect();
        groups.dedup();
        groups.retain(|group| matches!(group, Group::Multicast(_)));
        groups.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ehea_abi::hcall::BcmcScope;
    use proptest::prelude::*;

    fn registration() -> impl Strategy<Value = BcmcArgs> {
        (any::<[bool; 4]>(), 0u8..3, 0u16..3).prop_map(|(flags, last, vlan)| {
            let [all_addresses, multicast, untagged, all_vlans] = flags;
            BcmcArgs {
                adapter: 1,
                port: 1,
                scope: BcmcScope {
                    all_addresses,
                    multicast,
                    untagged,
                    all_vlans,
                },
                mac: match all_addresses {
                    true => MacAddress::default(),
                    false => MacAddress([1, 0, 0, 0, 0, last]),
                },
                vlan,
            }
        })
    }

    /// Checks whether a registration is for a frame, according to the text of the interface.
    fn is_for(call: &BcmcArgs, mac: Option<MacAddress>, vlan: Option<u16>) -> bool {
        let group = match mac {
            None => !call.scope.multicast,
            Some(mac) => call.scope.multicast && (call.scope.all_addresses || call.mac == mac),
        };
        let tag = match vlan {
            None => call.scope.untagged,
            Some(vid) => !call.scope.untagged && (call.scope.all_vlans || call.vlan == vid),
        };
        group && tag
    }

    proptest! {
        /// Compares with a search of a list.
        #[test]
        fn like_a_list(steps in proptest::collection::vec((any::<bool>(), registration()), 0..40)) {
            let mut registrations = Registrations::default();
            let mut list: Vec<BcmcArgs> = Vec::new();
            for (insert, call) in steps {
                let Ok(new) = Registration::new(&call) else {
                    continue;
                };
                list.retain(|old| *old != call);
                if insert {
                    registrations.insert(new).unwrap();
                    list.push(call);
                } else {
                    registrations.remove(new);
                }
                prop_assert_eq!(registrations.len(), list.len());
                for vlan in [None, Some(1), Some(2), Some(3)] {
                    let any = |mac| list.iter().any(|call| is_for(call, mac, vlan));
                    prop_assert_eq!(registrations.take_broadcast(vlan), any(None));
                    for last in 0..4 {
                        let mac = MacAddress([1, 0, 0, 0, 0, last]);
                        prop_assert_eq!(registrations.take_multicast(mac, vlan), any(Some(mac)));
                    }
                }
            }
        }
    }
}
