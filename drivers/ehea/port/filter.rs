// SPDX-License-Identifier: GPL-2.0

//! Filter of the frames that a port receives besides those for its own address (eHEA ABI §3.12,
//! §9.6).

use super::context::Context;
use crate::{
    abi::{
        cb::port::{
            MacAddress,
            ReceiveControl, //
        },
        hcall::{
            BcmcScope,
            ReturnCode, //
        }, //
    },
    error::Result,
    firmware::PortCalls,
    kernel_ext::net::{
        self,
        Features,
        RxMode, //
    }, //
};
use kernel::prelude::*;

/// VLANs that the port receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Vlans {
    /// VLANs that the stack has added.
    #[default]
    Chosen,
    /// All VLANs.
    All,
}

/// Returns the way in which a port with the features `features` receives.
fn receive_control(features: Features, vlans: Vlans) -> ReceiveControl {
    let option = |wanted, option| {
        if wanted {
            option
        } else {
            ReceiveControl::default()
        }
    };
    let checksums = features.contains(Features::RXCSUM);
    let filters = features.contains(Features::VLAN_FILTER) && vlans == Vlans::Chosen;
    ReceiveControl::VALID
        .with(ReceiveControl::JUMBO_FRAME)
        .with(option(
            features.contains(Features::VLAN_RX),
            ReceiveControl::VLAN_XTRACT,
        ))
        .with(option(checksums, ReceiveControl::TCP_UDP_CHKSUM))
        .with(option(checksums, ReceiveControl::IP_CHKSUM))
        .with(option(filters, ReceiveControl::VLAN_FILTER))
}

/// Frames that the stack wants.
#[derive(Default)]
struct Wanted {
    /// Frames for other stations.
    other_stations: bool,
    vlans: Vlans,
    all_multicast: bool,
    groups: KVec<MacAddress>,
}

/// Frames that the stack wants, and registrations with firmware for them.
pub(super) struct Filter {
    wanted: Wanted,
    /// Maximum number of groups that firmware takes.
    limit: usize,
    /// True if the port is open.
    active: bool,
    /// True if firmware refuses part of what is wanted, which was logged.
    refused: bool,
    /// True if this partition may not receive frames for other stations, which was logged.
    unauthorized: bool,
    /// Address of the port for which broadcasts are registered.
    broadcast: Option<MacAddress>,
    all_multicast: bool,
    groups: KVec<MacAddress>,
    /// Number of the queue pair that gets frames for other stations; 0 if there is none.
    default_unicast: u32,
    /// Features of the network device that are about reception.
    features: Features,
    /// Way in which the port receives.
    control: ReceiveControl,
}

/// Registers broadcasts for the port's own address.
fn add_broadcast(calls: &PortCalls, mac: MacAddress) -> Result {
    calls.set_group("broadcast", BcmcScope::BROADCAST, mac, true)
}

/// Removes the registration of broadcasts for the port's own address, or gives it up.
fn remove_broadcast(calls: &PortCalls, mac: MacAddress) -> Result {
    calls
        .set_group("broadcast", BcmcScope::BROADCAST, mac, false)
        .inspect_err(|_| calls.give_up_group(BcmcScope::BROADCAST, mac))
}

fn set_multicast(calls: &PortCalls, group: MacAddress, on: bool) -> Result {
    calls.set_group("multicast", BcmcScope::MULTICAST, group, on)
}

fn set_all_multicast(calls: &PortCalls, on: bool) -> Result {
    let no_address = MacAddress::default();
    calls.set_group("all multicast", BcmcScope::ALL_MULTICAST, no_address, on)
}

impl Filter {
    /// Returns the filter that wants nothing, for a device with the features `features`. Firmware takes `limit`
    /// multicast groups.
    pub(super) fn new(limit: usize, features: Features) -> Self {
        Self {
            wanted: Wanted::default(),
            limit,
            active: false,
            refused: false,
            unauthorized: false,
            broadcast: None,
            all_multicast: false,
            groups: KVec::new(),
            default_unicast: 0,
            features,
            control: receive_control(features, Vlans::Chosen),
        }
    }

    /// Returns the way in which the port receives at first when it is opened.
    pub(super) fn opening_control(&self) -> ReceiveControl {
        receive_control(self.features, Vlans::Chosen)
    }

    /// Registers the frames that are wanted, when the port opens. The queue pair of the number
    /// `queue_pair` gets frames for other stations.
    ///
    /// # Errors
    ///
    /// Broadcasts cannot be registered. Nothing is registered then. After other failures,
    /// [`Filter::is_incomplete`] says so.
    pub(super) fn start(&mut self, ctx: &Context, queue_pair: u32) -> Result {
        let mac = MacAddress(ctx.dev().mac_address().0);
        add_broadcast(ctx.calls(), mac)?;
        self.broadcast = Some(mac);
        self.active = true;
        // The port was opened so.
        self.control = self.opening_control();
        let _ = self.apply(ctx, queue_pair);
        Ok(())
    }

    /// Removes all registrations, when the port closes.
    pub(super) fn stop(&mut self, ctx: &Context) {
        self.active = false;
        let multicast = self.clear_multicast(ctx);
        let unicast = self.set_default_unicast(ctx, 0);
        let broadcast = match self.broadcast.take() {
            Some(mac) => remove_broadcast(ctx.calls(), mac),
            None => Ok(()),
        };
        if let Err(error) = multicast.and(unicast).and(broadcast) {
            ctx.log_err(fmt!("{error}"));
        }
        self.refused = false;
        self.unauthorized = false;
    }

    /// Checks whether firmware refuses part of what is wanted.
    pub(super) fn is_incomplete(&self) -> bool {
        self.refused
    }

    /// Sets the frames that are wanted from now on.
    ///
    /// # Errors
    ///
    /// Firmware refuses part of it, or there is no memory. The caller tries again.
    pub(super) fn set(&mut self, ctx: &Context, mode: &RxMode<'_>, queue_pair: u32) -> Result {
        let mut groups = KVec::with_capacity(mode.multicast_count(), GFP_KERNEL)?;
        for net::MacAddress(group) in mode.multicast() {
            groups.push(MacAddress(group), GFP_KERNEL)?;
        }
        self.wanted = Wanted {
            // The adapter has one unicast address per port.
            other_stations: mode.promiscuous() || mode.unicast_count() > 0,
            // A second address is no reason to receive VLANs that nobody has asked for.
            vlans: if mode.promiscuous() {
                Vlans::All
            } else {
                Vlans::Chosen
            },
            all_multicast: mode.all_multicast() || mode.promiscuous(),
            groups,
        };
        if self.active {
            self.apply(ctx, queue_pair)?;
        }
        Ok(())
    }

    /// Registers the frames that are wanted, as far as firmware lets it. The first refusal is logged
    /// once, however often this is tried again.
    fn apply(&mut self, ctx: &Context, queue_pair: u32) -> Result {
        let target = if self.wanted.other_stations {
            queue_pair
        } else {
            0
        };
        let unicast = self.set_default_unicast(ctx, target);
        let control = self.set_control(ctx, self.features);
        let multicast = self.apply_multicast(ctx);
        let result = unicast.and(control).and(multicast);
        if let (Err(error), false) = (&result, self.refused) {
            ctx.log_err(fmt!("{error}"));
        }
        self.refused = result.is_err();
        result
    }

    /// Registers the groups that are wanted, and removes others.
    fn apply_multicast(&mut self, ctx: &Context) -> Result {
        let wanted = core::mem::take(&mut self.wanted.groups);
        let (mut complete, mut result) = (false, Ok(()));
        if !self.wanted.all_multicast && wanted.len() <= self.limit {
            result = self.drop_groups(ctx, |group| wanted.contains(group));
            let added = self.add_groups(ctx, &wanted);
            complete = matches!(added, Ok(true));
            result = result.and(added.map(drop));
        }
        self.wanted.groups = wanted;
        if complete {
            if self.all_multicast {
                set_all_multicast(ctx.calls(), false)?;
                self.all_multicast = false;
            }
            return result;
        }
        // Takes the place of single groups, which are given up only after that.
        if !self.all_multicast {
            set_all_multicast(ctx.calls(), true)?;
            self.all_multicast = true;
        }
        result.and(self.drop_groups(ctx, |_| false))
    }

    /// Registers groups. Returns false if there is no room for all of them.
    fn add_groups(&mut self, ctx: &Context, wanted: &[MacAddress]) -> Result<bool> {
        for &group in wanted {
            if self.groups.contains(&group) {
                continue;
            }
            self.groups.reserve(1, GFP_KERNEL)?;
            if let Err(error) = set_multicast(ctx.calls(), group, true) {
                // That there is no room for more groups is no failure.
                return match error.status() {
                    Some(ReturnCode::MCG_FULL | ReturnCode::TABLE_FULL) => Ok(false),
                    _ => Err(error),
                };
            }
            // There is room for it.
            let _ = self.groups.push(group, GFP_KERNEL);
        }
        Ok(true)
    }

    /// Removes all groups except for those that `keep` accepts. Groups stay that firmware does not
    /// remove.
    fn drop_groups(&mut self, ctx: &Context, keep: impl Fn(&MacAddress) -> bool) -> Result {
        let mut result = Ok(());
        self.groups.retain(|group| {
            if keep(group) {
                return true;
            }
            let removed = set_multicast(ctx.calls(), *group, false);
            let stays = removed.is_err();
            if result.is_ok() {
                result = removed;
            }
            stays
        });
        result
    }

    /// Removes all registrations of multicast, or gives them up.
    fn clear_multicast(&mut self, ctx: &Context) -> Result {
        let calls = ctx.calls();
        let groups = self.drop_groups(ctx, |_| false);
        for &group in &self.groups {
            calls.give_up_group(BcmcScope::MULTICAST, group);
        }
        self.groups.clear();
        let all = match core::mem::take(&mut self.all_multicast) {
            true => set_all_multicast(calls, false).inspect_err(|_| {
                calls.give_up_group(BcmcScope::ALL_MULTICAST, MacAddress::default());
            }),
            false => Ok(()),
        };
        groups.and(all)
    }

    /// Directs frames for other stations to a queue pair, or to none.
    fn set_default_unicast(&mut self, ctx: &Context, queue_pair: u32) -> Result {
        if self.default_unicast == queue_pair {
            self.unauthorized = false;
            return Ok(());
        }
        match ctx.calls().set_default_unicast(queue_pair) {
            Ok(()) => self.default_unicast = queue_pair,
            // It stays so, and the port works all the same.
            Err(error) if error.status() == Some(ReturnCode::AUTHORITY) => {
                if !core::mem::replace(&mut self.unauthorized, true) {
                    ctx.log_info(fmt!("this partition may not have promiscuous mode"));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes the port receive frames of the VLANs that are wanted, as `features` say.
    fn set_control(&mut self, ctx: &Context, features: Features) -> Result {
        let control = receive_control(features, self.wanted.vlans);
        if self.control != control {
            ctx.calls().change_receive_control(control)?;
            self.control = control;
        }
        Ok(())
    }

    /// Makes the port receive as the features `features` say.
    pub(super) fn set_features(&mut self, ctx: &Context, features: Features) -> Result {
        if self.active {
            self.set_control(ctx, features)?;
        }
        self.features = features;
        Ok(())
    }

    /// Follows a change of the port's own address, of which firmware knows already.
    pub(super) fn set_mac_address(&mut self, ctx: &Context, mac: MacAddress) -> Result {
        if let Some(old) = self.broadcast {
            add_broadcast(ctx.calls(), mac)?;
            if let Err(error) = remove_broadcast(ctx.calls(), old) {
                ctx.log_err(fmt!("{error}"));
            }
            self.broadcast = Some(mac);
        }
        Ok(())
    }
}
