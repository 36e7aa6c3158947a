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

/// Returns the way in which the port receives.
pub(super) fn receive_control(vlans: Vlans) -> ReceiveControl {
    ReceiveControl::VALID
        .with(ReceiveControl::VLAN_XTRACT)
        .with(ReceiveControl::JUMBO_FRAME)
        .with(ReceiveControl::TCP_UDP_CHKSUM)
        .with(ReceiveControl::IP_CHKSUM)
        .with(match vlans {
            Vlans::Chosen => ReceiveControl::VLAN_FILTER,
            Vlans::All => ReceiveControl::default(),
        })
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
    /// Address of the port for which broadcasts are registered.
    broadcast: Option<MacAddress>,
    all_multicast: bool,
    groups: KVec<MacAddress>,
    /// Number of the queue pair that gets frames for other stations; 0 if there is none.
    default_unicast: u32,
    /// VLANs that the port receives.
    vlans: Vlans,
}

/// Makes or removes the registration of broadcasts for the port's own address.
fn set_broadcast(calls: &PortCalls, mac: MacAddress, on: bool) -> Result {
    calls.set_group("broadcast", BcmcScope::BROADCAST, mac, on)
}

fn set_multicast(calls: &PortCalls, group: MacAddress, on: bool) -> Result {
    calls.set_group("multicast", BcmcScope::MULTICAST, group, on)
}

fn set_all_multicast(calls: &PortCalls, on: bool) -> Result {
    let no_address = MacAddress::default();
    calls.set_group("all multicast", BcmcScope::ALL_MULTICAST, no_address, on)
}

impl Filter {
    /// Returns the filter that wants nothing. Firmware takes `limit` multicast groups.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            wanted: Wanted::default(),
            limit,
            active: false,
            broadcast: None,
            all_multicast: false,
            groups: KVec::new(),
            default_unicast: 0,
            vlans: Vlans::Chosen,
        }
    }

    /// Registers the frames that are wanted, when the port opens. The queue pair of the number
    /// `queue_pair` gets frames for other stations.
    ///
    /// # Errors
    ///
    /// Broadcasts cannot be registered. Nothing is registered then. Other failures are logged.
    pub(super) fn start(&mut self, ctx: &Context, queue_pair: u32) -> Result {
        let mac = MacAddress(ctx.dev().mac_address().0);
        set_broadcast(ctx.calls(), mac, true)?;
        self.broadcast = Some(mac);
        self.active = true;
        // The port was opened so.
        self.vlans = Vlans::Chosen;
        self.apply(ctx, queue_pair);
        Ok(())
    }

    /// Removes all registrations, when the port closes.
    pub(super) fn stop(&mut self, ctx: &Context) {
        self.active = false;
        self.clear_multicast(ctx);
        self.set_default_unicast(ctx, 0);
        if let Some(mac) = self.broadcast.take() {
            self.check(ctx, set_broadcast(ctx.calls(), mac, false));
        }
    }

    /// Logs a failure. Returns false if there was one.
    fn check(&self, ctx: &Context, result: Result) -> bool {
        if let Err(error) = &result {
            ctx.log_err(fmt!("{error}"));
        }
        result.is_ok()
    }

    /// Sets the frames that are wanted from now on.
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
            self.apply(ctx, queue_pair);
        }
        Ok(())
    }

    fn apply(&mut self, ctx: &Context, queue_pair: u32) {
        let target = if self.wanted.other_stations {
            queue_pair
        } else {
            0
        };
        self.set_default_unicast(ctx, target);
        self.set_vlans(ctx, self.wanted.vlans);
        let all = self.wanted.all_multicast || self.wanted.groups.len() > self.limit;
        if all || !self.apply_groups(ctx) {
            // Takes the place of single groups, which are given up only after that.
            if !self.all_multicast {
                self.all_multicast = self.check(ctx, set_all_multicast(ctx.calls(), true));
            }
            if self.all_multicast {
                self.drop_groups(ctx, |_| false);
            }
        } else if self.all_multicast {
            self.all_multicast = !self.check(ctx, set_all_multicast(ctx.calls(), false));
        }
    }

    /// Registers the groups that are wanted, and removes others. Returns whether all are
    /// registered.
    fn apply_groups(&mut self, ctx: &Context) -> bool {
        let wanted = core::mem::take(&mut self.wanted.groups);
        self.drop_groups(ctx, |group| wanted.contains(group));
        let mut complete = true;
        for &group in &wanted {
            if self.groups.contains(&group) {
                continue;
            }
            if self.groups.reserve(1, GFP_KERNEL).is_err() {
                complete = false;
                break;
            }
            if let Err(error) = set_multicast(ctx.calls(), group, true) {
                // That there is no room for more groups is no failure.
                let full = matches!(
                    error.status(),
                    Some(ReturnCode::MCG_FULL | ReturnCode::TABLE_FULL)
                );
                if !full {
                    ctx.log_err(fmt!("{error}"));
                }
                complete = false;
                break;
            }
            // There is room for it.
            let _ = self.groups.push(group, GFP_KERNEL);
        }
        self.wanted.groups = wanted;
        complete
    }

    /// Removes all groups except for those that `keep` accepts.
    fn drop_groups(&mut self, ctx: &Context, keep: impl Fn(&MacAddress) -> bool) {
        let mut groups = core::mem::take(&mut self.groups);
        groups.retain(|group| {
            if keep(group) {
                return true;
            }
            self.check(ctx, set_multicast(ctx.calls(), *group, false));
            false
        });
        self.groups = groups;
    }

    fn clear_multicast(&mut self, ctx: &Context) {
        self.drop_groups(ctx, |_| false);
        if core::mem::take(&mut self.all_multicast) {
            self.check(ctx, set_all_multicast(ctx.calls(), false));
        }
    }

    /// Directs frames for other stations to a queue pair, or to none.
    fn set_default_unicast(&mut self, ctx: &Context, queue_pair: u32) {
        if self.default_unicast == queue_pair {
            return;
        }
        match ctx.calls().set_default_unicast(queue_pair) {
            Ok(()) => self.default_unicast = queue_pair,
            Err(error) if error.status() == Some(ReturnCode::AUTHORITY) => {
                ctx.log_info(fmt!("this partition may not have promiscuous mode"));
            }
            Err(error) => ctx.log_err(fmt!("{error}")),
        }
    }

    /// Makes the port receive frames of `vlans`.
    fn set_vlans(&mut self, ctx: &Context, vlans: Vlans) {
        if self.vlans == vlans {
            return;
        }
        let changed = ctx.calls().change_receive_control(receive_control(vlans));
        if self.check(ctx, changed) {
            self.vlans = vlans;
        }
    }

    /// Follows a change of the port's own address, of which firmware knows already.
    pub(super) fn set_mac_address(&mut self, ctx: &Context, mac: MacAddress) -> Result {
        if let Some(old) = self.broadcast {
            set_broadcast(ctx.calls(), mac, true)?;
            self.check(ctx, set_broadcast(ctx.calls(), old, false));
            self.broadcast = Some(mac);
        }
        Ok(())
    }
}
