// SPDX-License-Identifier: GPL-2.0

//! Which frames a port receives besides those for its own address (eHEA ABI §3.12, §9.6).

use super::context::Context;
use crate::{
    abi::{
        cb::port::MacAddress,
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

/// What is to be received.
#[derive(Default)]
struct Wanted {
    promiscuous: bool,
    all_multicast: bool,
    groups: KVec<MacAddress>,
}

/// What is wanted, and what firmware was told of it.
pub(super) struct Filter {
    wanted: Wanted,
    /// The most groups that firmware takes.
    limit: usize,
    /// The port is open.
    active: bool,
    /// Broadcasts are registered for this address, the port's own.
    broadcast: Option<MacAddress>,
    all_multicast: bool,
    groups: KVec<MacAddress>,
    /// The queue pair that gets frames for other stations; 0 if there is none.
    default_unicast: u32,
}

/// Registers, or takes back, broadcasts for the port's own address.
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
    /// Nothing but the port's own address; firmware takes `limit` multicast groups.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            wanted: Wanted::default(),
            limit,
            active: false,
            broadcast: None,
            all_multicast: false,
            groups: KVec::new(),
            default_unicast: 0,
        }
    }

    /// Tells firmware what is wanted, as the port opens. `queue_pair` is the number of that which
    /// gets frames for other stations.
    ///
    /// # Errors
    ///
    /// Broadcasts can't be had; nothing is registered then. Other failures are logged.
    pub(super) fn start(&mut self, ctx: &Context, queue_pair: u32) -> Result {
        let mac = MacAddress(ctx.dev().mac_address().0);
        set_broadcast(ctx.calls(), mac, true)?;
        self.broadcast = Some(mac);
        self.active = true;
        self.apply(ctx, queue_pair);
        Ok(())
    }

    /// Takes everything back, as the port closes.
    pub(super) fn stop(&mut self, ctx: &Context) {
        self.active = false;
        self.clear_multicast(ctx);
        self.set_default_unicast(ctx, 0);
        if let Some(mac) = self.broadcast.take() {
            self.check(ctx, set_broadcast(ctx.calls(), mac, false));
        }
    }

    /// Logs a failure; returns whether there was none.
    fn check(&self, ctx: &Context, result: Result) -> bool {
        if let Err(error) = &result {
            ctx.log_err(fmt!("{error}"));
        }
        result.is_ok()
    }

    /// Sets what is wanted from now on.
    pub(super) fn set(&mut self, ctx: &Context, mode: &RxMode<'_>, queue_pair: u32) -> Result {
        let mut groups = KVec::with_capacity(mode.multicast_count(), GFP_KERNEL)?;
        for net::MacAddress(group) in mode.multicast() {
            groups.push(MacAddress(group), GFP_KERNEL)?;
        }
        self.wanted = Wanted {
            // The adapter has one unicast address per port.
            promiscuous: mode.promiscuous() || mode.unicast_count() > 0,
            all_multicast: mode.all_multicast() || mode.promiscuous(),
            groups,
        };
        if self.active {
            self.apply(ctx, queue_pair);
        }
        Ok(())
    }

    fn apply(&mut self, ctx: &Context, queue_pair: u32) {
        let target = if self.wanted.promiscuous {
            queue_pair
        } else {
            0
        };
        self.set_default_unicast(ctx, target);
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

    /// Registers the groups that are wanted, and takes others back; returns whether all are
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

    /// Takes all groups back but those that `keep` wants.
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

    /// Sends frames for other stations to a queue pair, or to none.
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

    /// Follows a change of the port's own address, which firmware knows already.
    pub(super) fn set_mac_address(&mut self, ctx: &Context, mac: MacAddress) -> Result {
        if let Some(old) = self.broadcast {
            set_broadcast(ctx.calls(), mac, true)?;
            self.check(ctx, set_broadcast(ctx.calls(), old, false));
            self.broadcast = Some(mac);
        }
        Ok(())
    }
}
