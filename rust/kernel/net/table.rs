// SPDX-License-Identifier: GPL-2.0

//! The tables of operations that C calls.

use super::{
    lock::{
        ConfigLock,
        InstanceLock,
        Rtnl, //
    },
    operations::{
        NetDevice,
        Operations,
        Transmit, //
    },
    queue::TxQueue,
    rx_mode::RxMode,
    skbuff::SkBuff,
    stats::Stats64,
    Features,
    MacAddress, //
};
use crate::kernel_ext::{
    bindings,
    callback::optional, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// The callbacks for devices with the operations `T`.
pub(super) struct Table<T>(PhantomData<T>);

// The table is set by `UnregisteredNetDevice<T>`, so the devices that it was set for have initialised
// data; and it is used between registration and unregistration only. These are the type invariants
// of `NetDevice<T>`.
impl<T: Operations> Table<T> {
    pub(super) const OPS: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_features_check: optional!(T::HAS_FEATURES_CHECK, Self::features_check),
        ndo_fix_features: optional!(T::HAS_FIX_FEATURES, Self::fix_features),
        ndo_set_features: optional!(T::HAS_SET_FEATURES, Self::set_features),
        ndo_set_rx_mode_async: optional!(T::HAS_SET_RX_MODE, Self::set_rx_mode),
        ndo_set_mac_address: optional!(T::HAS_SET_MAC_ADDRESS, Self::set_mac_address),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_change_mtu: optional!(T::HAS_CHANGE_MTU, Self::change_mtu),
        ndo_tx_timeout: optional!(T::HAS_TX_TIMEOUT, Self::tx_timeout),
        ndo_get_stats64: optional!(T::HAS_GET_STATS64, Self::get_stats64),
        ndo_vlan_rx_add_vid: optional!(T::HAS_VLAN_RX_ADD_VID, Self::vlan_rx_add_vid),
        ndo_vlan_rx_kill_vid: optional!(T::HAS_VLAN_RX_KILL_VID, Self::vlan_rx_kill_vid),
        ..pin_init::zeroed()
    };

    /// True if the driver counts by queue.
    pub(super) const HAS_QUEUE_STATS: bool = T::HAS_RX_QUEUE_STATS && T::HAS_TX_QUEUE_STATS;

    pub(super) const STAT_OPS: bindings::netdev_stat_ops = bindings::netdev_stat_ops {
        get_queue_stats_rx: optional!(Self::HAS_QUEUE_STATS, Self::rx_queue_stats),
        get_queue_stats_tx: optional!(Self::HAS_QUEUE_STATS, Self::tx_queue_stats),
        get_base_stats: optional!(Self::HAS_QUEUE_STATS, Self::base_stats),
    };

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: By the safety requirement.
        let lock = unsafe { ConfigLock::held(dev) };

        from_result(|| T::open(dev, &lock).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: By the safety requirement.
        let lock = unsafe { ConfigLock::held(dev) };

        T::stop(dev, &lock);
        0
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for. `skb` is valid and given away, unless
    /// `NETDEV_TX_BUSY` is returned; the transmit lock of its queue is held.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        let Some(skb) = NonNull::new(skb) else {
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        // SAFETY: The buffer is valid and given away, unless `NETDEV_TX_BUSY` is returned.
        let skb = unsafe { SkBuff::from_raw(skb) };
        // SAFETY: The stack holds the lock of the queue that is set in the buffer, since the device
        // isn't one that does without (`lltx`).
        let mut txq = unsafe { TxQueue::new(dev, skb.queue()) };

        match T::start_xmit(dev, &mut txq, skb) {
            Transmit::Ok => bindings::netdev_tx_NETDEV_TX_OK,
            Transmit::Busy(skb) => {
                // The stack still has its pointer.
                let _ = skb.into_raw();
                bindings::netdev_tx_NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `skb` is valid.
    unsafe extern "C" fn features_check(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
        features: u64,
    ) -> u64 {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };
        let Some(skb) = NonNull::new(skb) else {
            return features;
        };
        // SAFETY: The buffer is valid, and lent: it isn't dropped here, and is given out by shared
        // reference only.
        let skb = ManuallyDrop::new(unsafe { SkBuff::from_raw(skb) });

        // As the stack does for drivers without this operation.
        let features = match skb.is_tagged() {
            // SAFETY: The buffer is valid.
            true => unsafe {
                bindings::rust_ext_netdev_vlan_features_check(skb.as_raw(), features)
            },
            false => features,
        };

        T::features_check(dev, &skb, Features::from_raw(features)).into_raw()
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for.
    unsafe extern "C" fn fix_features(dev: *mut bindings::net_device, features: u64) -> u64 {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };

        T::fix_features(dev, Features::from_raw(features)).into_raw()
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held.
    unsafe extern "C" fn set_features(dev: *mut bindings::net_device, features: u64) -> c_int {
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: By the safety requirement.
        let lock = unsafe { ConfigLock::held(dev) };

        from_result(|| T::set_features(dev, Features::from_raw(features), &lock).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held. Both lists are
    /// valid and not changed during the call.
    unsafe extern "C" fn set_rx_mode(
        dev: *mut bindings::net_device,
        unicast: *mut bindings::netdev_hw_addr_list,
        multicast: *mut bindings::netdev_hw_addr_list,
    ) -> c_int {
        // SAFETY: The device is valid.
        let flags = unsafe { (&raw const (*dev).flags).read_volatile() };
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: By the safety requirement.
        let lock = unsafe { ConfigLock::held(dev) };
        // SAFETY: Both lists are snapshots made for this call.
        let (unicast, multicast) = unsafe { (&*unicast, &*multicast) };
        let mode = RxMode {
            flags,
            unicast,
            multicast,
        };

        from_result(|| T::set_rx_mode(dev, &mode, &lock).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held. `addr` is a
    /// `struct sockaddr`.
    unsafe extern "C" fn set_mac_address(
        dev: *mut bindings::net_device,
        addr: *mut c_void,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The device is valid, `addr` is a `struct sockaddr`.
            to_result(unsafe { bindings::eth_prepare_mac_addr_change(dev, addr) })?;
            let data = addr
                .cast::<bindings::sockaddr>()
                .wrapping_byte_add(core::mem::offset_of!(bindings::sockaddr, sa_data));
            // SAFETY: As above; an Ethernet address is in the first six bytes of its data.
            let mac = MacAddress(unsafe { data.cast::<[u8; 6]>().read() });
            // SAFETY: By the safety requirement.
            let device: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
            // SAFETY: By the safety requirement.
            let lock = unsafe { ConfigLock::held(device) };
            T::set_mac_address(device, &mac, &lock)?;
            // SAFETY: As above.
            unsafe { bindings::eth_commit_mac_addr_change(dev, addr) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held.
    unsafe extern "C" fn change_mtu(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            // SAFETY: By the safety requirement.
            let device: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
            // SAFETY: By the safety requirement.
            let lock = unsafe { ConfigLock::held(device) };
            T::change_mtu(device, mtu, &lock)?;
            // SAFETY: The device is valid, both locks are held. Others read the field meanwhile.
            unsafe { AtomicU32::from_ptr(&raw mut (*dev).mtu) }.store(mtu, Ordering::Relaxed);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for.
    unsafe extern "C" fn tx_timeout(dev: *mut bindings::net_device, queue: c_uint) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };

        // CAST: Devices are allocated with `u16` queues.
        T::tx_timeout(dev, queue as u16);
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique, but perhaps not
    /// aligned: rtnetlink passes a place in a message, on processors that don't mind.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };
        let mut counted = Stats64(pin_init::zeroed());

        T::get_stats64(dev, &mut counted);
        // SAFETY: By the safety requirement. The stack has zeroed the counters.
        unsafe { stats.write_unaligned(counted.0) };
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique. The
    /// instance lock is held.
    unsafe extern "C" fn rx_queue_stats(
        dev: *mut bindings::net_device,
        queue: c_int,
        stats: *mut bindings::netdev_queue_stats_rx,
    ) {
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: By the safety requirement.
        let lock = unsafe { InstanceLock::held(dev) };
        // CAST: Devices are allocated with `u16` queues.
        let counted = T::rx_queue_stats(dev, queue as u16, &lock);

        // SAFETY: The counters are valid and, during the call, ours. Those that aren't kept stay as they are.
        unsafe {
            (*stats).packets = counted.packets;
            (*stats).bytes = counted.bytes;
            (*stats).alloc_fail = counted.alloc_fail;
        }
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique. The
    /// instance lock is held.
    unsafe extern "C" fn tx_queue_stats(
        dev: *mut bindings::net_device,
        queue: c_int,
        stats: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: By the safety requirement.
        let dev: &NetDevice<T> = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: By the safety requirement.
        let lock = unsafe { InstanceLock::held(dev) };
        // CAST: Devices are allocated with `u16` queues.
        let counted = T::tx_queue_stats(dev, queue as u16, &lock);

        // SAFETY: The counters are valid and, during the call, ours. Those that aren't kept stay as they are.
        unsafe {
            (*stats).packets = counted.packets;
            (*stats).bytes = counted.bytes;
            (*stats).stop = counted.stop;
        }
    }

    /// Reports what queues have counted that are not in use now.
    ///
    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `rx` and `tx` are valid and unique. The
    /// instance lock is held.
    unsafe extern "C" fn base_stats(
        dev: *mut bindings::net_device,
        rx: *mut bindings::netdev_queue_stats_rx,
        tx: *mut bindings::netdev_queue_stats_tx,
    ) {
        let count = |queues: c_uint| c_int::try_from(queues).unwrap_or(c_int::MAX);

        // SAFETY: The counters are valid and, during the call, ours. The device is valid; its numbers of
        // queues don't change under the lock, nor do the operations that are called back.
        unsafe {
            (*rx).packets = 0;
            (*rx).bytes = 0;
            (*rx).alloc_fail = 0;
            (*tx).packets = 0;
            (*tx).bytes = 0;
            (*tx).stop = 0;
            bindings::netdev_stat_queue_sum(
                dev,
                count((*dev).real_num_rx_queues),
                count((*dev).num_rx_queues),
                rx,
                count((*dev).real_num_tx_queues),
                count((*dev).num_tx_queues),
                tx,
            );
        }
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; both locks are held.
    unsafe extern "C" fn vlan_rx_add_vid(
        dev: *mut bindings::net_device,
        _proto: u16,
        vid: u16,
    ) -> c_int {
        // SAFETY: By the safety requirement.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };

        from_result(|| T::vlan_rx_add_vid(dev, vid, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held.
    unsafe extern "C" fn vlan_rx_kill_vid(
        dev: *mut bindings::net_device,
        _proto: u16,
        vid: u16,
    ) -> c_int {
        // SAFETY: By the safety requirement.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };

        from_result(|| T::vlan_rx_kill_vid(dev, vid, &rtnl).map(|()| 0))
    }
}
