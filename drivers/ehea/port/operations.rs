// SPDX-License-Identifier: GPL-2.0

//! Operations that the network stack calls.

use super::{
    context::PortOperations,
    device::Port,
    reset::ResetReason,
    tx::frame::can_segment, //
};
use crate::{
    abi::cb::port::MacAddress,
    kernel_ext::net::{
        self,
        lock::{
            ConfigLock,
            InstanceLock,
            Rtnl, //
        },
        queue::TxQueue,
        skbuff::SkBuff,
        stats::{
            RxQueueStats,
            Stats64,
            TxQueueStats, //
        },
        Features,
        NetDevice,
        RxMode,
        Transmit, //
    }, //
};
use kernel::prelude::*;

#[vtable]
impl net::Operations for PortOperations {
    type Data = Port;

    fn open(dev: &NetDevice<Self>, lock: &ConfigLock<'_>) -> Result {
        let port = dev.data();
        // The link is there when the adapter says so.
        dev.carrier_off();
        // If it is put off, the carrier comes when the port is open.
        port.open(dev, dev.mtu(), lock).map_err(|error| {
            port.log_err(dev, fmt!("{error}"));
            error.to_errno()
        })?;
        Ok(())
    }

    fn stop(dev: &NetDevice<Self>, lock: &ConfigLock<'_>) {
        dev.data().close(dev, lock);
        dev.carrier_off();
    }

    #[inline]
    fn start_xmit(dev: &NetDevice<Self>, txq: &mut TxQueue<'_>, skb: SkBuff) -> Transmit {
        let port = dev.data().get_ref();
        match port.queues.get(usize::from(txq.index())) {
            Some(queue) => queue.transmit(&port.adapter, dev, txq, skb),
            None => Transmit::Ok,
        }
    }

    #[inline]
    fn features_check(dev: &NetDevice<Self>, skb: &SkBuff, features: Features) -> Features {
        match skb.gso() {
            Some(gso) if !can_segment(skb, gso, dev.data().max_mtu) => {
                features.without(Features::GSO)
            }
            _ => features,
        }
    }

    fn set_features(dev: &NetDevice<Self>, features: Features, _lock: &ConfigLock<'_>) -> Result {
        let port = dev.data();
        let mut filter = port.filter.lock();
        let set = filter.set_features(&port.context(dev), features);
        set.map_err(|error| {
            port.log_err(dev, fmt!("{error}"));
            error.to_errno()
        })
    }

    fn get_stats64(dev: &NetDevice<Self>, stats: &mut Stats64) {
        dev.data().fill_stats64(stats);
    }

    fn rx_queue_stats(dev: &NetDevice<Self>, queue: u16, _lock: &InstanceLock<'_>) -> RxQueueStats {
        dev.data().rx_queue_stats(queue)
    }

    fn tx_queue_stats(dev: &NetDevice<Self>, queue: u16, _lock: &InstanceLock<'_>) -> TxQueueStats {
        dev.data().tx_queue_stats(queue)
    }

    fn tx_timeout(dev: &NetDevice<Self>, queue: u16) {
        let port = dev.data();
        let is_running = || {
            let mut txq = dev.lock_tx_queue(queue)?;
            let queue = port.queues.get(usize::from(queue))?;
            Some(queue.sender.is_running(&mut txq))
        };
        // A queue that is held or closed waits for firmware: its queue pair moves, or its port is reset. What
        // goes wrong in that has a reset of its own.
        if is_running() != Some(true) {
            return;
        }
        port.request_reset(dev, ResetReason::Stuck { queue });
    }

    fn set_mac_address(
        dev: &NetDevice<Self>,
        mac: &net::MacAddress,
        _lock: &ConfigLock<'_>,
    ) -> Result {
        let port = dev.data();
        let old = MacAddress(dev.mac_address().0);
        let new = MacAddress(mac.0);
        let result = port.calls.set_mac_address(new).and_then(|()| {
            let mut filter = port.filter.lock();
            filter
                .set_mac_address(&port.context(dev), new)
                .inspect_err(|_| {
                    // Stays with the old one, as the stack does.
                    let _ = port.calls.set_mac_address(old);
                })
        });
        result.map_err(|error| {
            port.log_err(dev, fmt!("{error}"));
            error.to_errno()
        })
    }

    fn change_mtu(dev: &NetDevice<Self>, mtu: u32, lock: &ConfigLock<'_>) -> Result {
        // Queue pairs are always ready for the longest frame, outside of CMO.
        dev.data().change_mtu(dev, mtu, lock);
        Ok(())
    }

    fn set_rx_mode(dev: &NetDevice<Self>, mode: &RxMode<'_>, _lock: &ConfigLock<'_>) -> Result {
        let port = dev.data();
        let queue_pair = port.first_queue_pair().unwrap_or(0);
        let mut filter = port.filter.lock();
        Ok(filter.set(&port.context(dev), mode, queue_pair)?)
    }

    fn vlan_rx_add_vid(dev: &NetDevice<Self>, vid: u16, _rtnl: &Rtnl) -> Result {
        set_vlan(dev, vid, true)
    }

    fn vlan_rx_kill_vid(dev: &NetDevice<Self>, vid: u16, _rtnl: &Rtnl) -> Result {
        set_vlan(dev, vid, false)
    }

    fn deferred(dev: &NetDevice<Self>, events: u32) {
        dev.data().deferred(dev, events);
    }
}

fn set_vlan(dev: &NetDevice<PortOperations>, vid: u16, accept: bool) -> Result {
    let port = dev.data();
    port.calls.set_vlan(vid, accept).map_err(|error| {
        port.log_err(dev, fmt!("{error}"));
        error.to_errno()
    })
}
