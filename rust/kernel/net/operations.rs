// SPDX-License-Identifier: GPL-2.0

//! What a driver does for its network devices.

use super::{
    queue::TxQueue,
    rtnl::Rtnl,
    skbuff::SkBuff,
    stats::{
        RxQueueStats,
        Stats64,
        TxQueueStats, //
    },
    Features,
    MacAddress,
    NetDevice, //
};
use crate::kernel_ext::bindings;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*, //
};

/// What became of a frame.
pub enum Transmit {
    /// The driver has it: sent, kept or dropped.
    Ok,
    /// There was no room, which the driver should have said before; the stack tries again.
    Busy(SkBuff),
}

/// The operations of a driver's network devices.
#[vtable]
pub trait Operations: Sized + 'static {
    /// What the driver keeps for each device.
    type Data: Send + Sync + 'static;

    /// Brings the device up. Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any; the device stays down, and `stop` isn't called.
    fn open(dev: &NetDevice<Self>, rtnl: &Rtnl) -> Result;

    /// Brings the device down: nothing of it may be active afterwards. Process context, RTNL held.
    fn stop(dev: &NetDevice<Self>, rtnl: &Rtnl);

    /// Sends a frame. The lock of the queue is held, bottom halves are off (with netconsole:
    /// interrupts).
    fn start_xmit(dev: &NetDevice<Self>, txq: &mut TxQueue<'_>, skb: SkBuff) -> Transmit;

    /// Takes out of `features` what the device can't do for this frame. May be called several
    /// times at once.
    fn features_check(dev: &NetDevice<Self>, skb: &SkBuff, features: Features) -> Features {
        let _ = (dev, skb, features);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the features that the user wants into those that are possible together. Process
    /// context, RTNL held; must not change anything.
    fn fix_features(dev: &NetDevice<Self>, features: Features) -> Features {
        let _ = (dev, features);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Turns features on and off, compared with [`features`](super::Device::features). Process
    /// context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any; nothing has changed then.
    fn set_features(dev: &NetDevice<Self>, features: Features, rtnl: &Rtnl) -> Result {
        let _ = (dev, features, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets what the device receives. Process context, RTNL held; called after `open`, too.
    ///
    /// # Errors
    ///
    /// Any; the stack tries again later.
    fn set_rx_mode(dev: &NetDevice<Self>, mode: &RxMode<'_>, rtnl: &Rtnl) -> Result {
        let _ = (dev, mode, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the address, also while the device is up; it is valid. Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any; the address isn't changed.
    fn set_mac_address(dev: &NetDevice<Self>, mac: &MacAddress, rtnl: &Rtnl) -> Result {
        let _ = (dev, mac, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the MTU, also while the device is up; it is within the limits. The old one is still
    /// set. Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any; the MTU isn't changed.
    fn change_mtu(dev: &NetDevice<Self>, mtu: u32, rtnl: &Rtnl) -> Result {
        let _ = (dev, mtu, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells that a queue has been stopped for longer than the watchdog allows. Bottom halves are
    /// off: see [`NetDevice::defer`].
    fn tx_timeout(dev: &NetDevice<Self>, queue: u16) {
        let _ = (dev, queue);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports the standard counters. RCU, must not sleep; may be called several times at once.
    fn get_stats64(dev: &NetDevice<Self>, stats: &mut Stats64<'_>) {
        let _ = (dev, stats);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what receive queue `queue` has counted, also one that isn't in use now. Process context,
    /// RTNL held. A driver has this and [`Operations::tx_queue_stats`], or neither.
    fn rx_queue_stats(dev: &NetDevice<Self>, queue: u16) -> RxQueueStats {
        let _ = (dev, queue);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what transmit queue `queue` has counted, likewise.
    fn tx_queue_stats(dev: &NetDevice<Self>, queue: u16) -> TxQueueStats {
        let _ = (dev, queue);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives frames of VLAN `vid`, too (802.1Q). Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any.
    fn vlan_rx_add_vid(dev: &NetDevice<Self>, vid: u16, rtnl: &Rtnl) -> Result {
        let _ = (dev, vid, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives frames of VLAN `vid` no more. Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any.
    fn vlan_rx_kill_vid(dev: &NetDevice<Self>, vid: u16, rtnl: &Rtnl) -> Result {
        let _ = (dev, vid, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Does what was deferred by [`NetDevice::defer`]; `events` is what has come together. Process
    /// context, no lock held; never in parallel with itself for the same device. It is waited for
    /// when the device is unregistered.
    fn deferred(dev: &NetDevice<Self>, events: u32) {
        let _ = (dev, events);
    }
}

/// Iterator over a list of addresses.
pub struct Addresses<'a> {
    list: &'a bindings::netdev_hw_addr_list,
    cursor: *const bindings::netdev_hw_addr,
}

impl Iterator for Addresses<'_> {
    type Item = MacAddress;

    fn next(&mut self) -> Option<MacAddress> {
        // SAFETY: The list is valid and not changed as long as it is borrowed; `cursor` is NULL or
        // an element of it.
        let addr = unsafe { bindings::rust_ext_hw_addr_next(self.list, &mut self.cursor) };
        if addr.is_null() {
            return None;
        }
        // SAFETY: An element's address has room for 32 bytes, six of which are used for Ethernet.
        Some(MacAddress(unsafe { *addr.cast::<[u8; 6]>() }))
    }
}

/// What a device is to receive.
pub struct RxMode<'a> {
    flags: bindings::rust_ext_rx_mode,
    unicast: &'a bindings::netdev_hw_addr_list,
    multicast: &'a bindings::netdev_hw_addr_list,
}

impl RxMode<'_> {
    /// All frames.
    pub fn promiscuous(&self) -> bool {
        self.flags.promiscuous != 0
    }

    /// All multicast frames.
    pub fn all_multicast(&self) -> bool {
        self.flags.all_multicast != 0
    }

    /// Unicast addresses besides the device's own.
    pub fn unicast(&self) -> Addresses<'_> {
        Addresses {
            list: self.unicast,
            cursor: core::ptr::null(),
        }
    }

    /// Number of addresses in [`unicast`](Self::unicast).
    pub fn unicast_count(&self) -> usize {
        // SAFETY: The list is valid.
        usize::try_from(unsafe { bindings::rust_ext_hw_addr_count(self.unicast) }).unwrap_or(0)
    }

    /// Multicast addresses.
    pub fn multicast(&self) -> Addresses<'_> {
        Addresses {
            list: self.multicast,
            cursor: core::ptr::null(),
        }
    }

    /// Number of addresses in [`multicast`](Self::multicast).
    pub fn multicast_count(&self) -> usize {
        // SAFETY: The list is valid.
        usize::try_from(unsafe { bindings::rust_ext_hw_addr_count(self.multicast) }).unwrap_or(0)
    }
}

/// The callbacks for devices with the operations `T`.
pub(super) struct Table<T>(PhantomData<T>);

/// `Some(callback)` if the driver has the operation.
macro_rules! optional {
    ($has:expr, $callback:expr) => {
        if $has {
            Some($callback)
        } else {
            None
        }
    };
}

// The table is set by `UnregisteredNetDevice<T>`, so the devices that it was set for have initialised
// data; and it is used between registration and unregistration only. These are the type invariants
// of `NetDevice<T>`.
impl<T: Operations> Table<T> {
    pub(super) const CALLBACKS: bindings::rust_ext_netdev_callbacks =
        bindings::rust_ext_netdev_callbacks {
            open: Some(Self::open),
            stop: Some(Self::stop),
            start_xmit: Some(Self::start_xmit),
            features_check: optional!(T::HAS_FEATURES_CHECK, Self::features_check),
            fix_features: optional!(T::HAS_FIX_FEATURES, Self::fix_features),
            set_features: optional!(T::HAS_SET_FEATURES, Self::set_features),
            set_rx_mode: optional!(T::HAS_SET_RX_MODE, Self::set_rx_mode),
            set_mac_address: optional!(T::HAS_SET_MAC_ADDRESS, Self::set_mac_address),
            change_mtu: optional!(T::HAS_CHANGE_MTU, Self::change_mtu),
            tx_timeout: optional!(T::HAS_TX_TIMEOUT, Self::tx_timeout),
            get_stats64: optional!(T::HAS_GET_STATS64, Self::get_stats64),
            rx_queue_stats: optional!(T::HAS_RX_QUEUE_STATS, Self::rx_queue_stats),
            tx_queue_stats: optional!(T::HAS_TX_QUEUE_STATS, Self::tx_queue_stats),
            vlan_rx_add_vid: optional!(T::HAS_VLAN_RX_ADD_VID, Self::vlan_rx_add_vid),
            vlan_rx_kill_vid: optional!(T::HAS_VLAN_RX_KILL_VID, Self::vlan_rx_kill_vid),
            deferred: Some(Self::deferred),
        };

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirement.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };

        from_result(|| T::open(dev, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirement.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };

        T::stop(dev, &rtnl);
        0
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for. `skb` is valid and given away, unless
    /// `NETDEV_TX_BUSY` is returned; the transmit lock of its queue is held.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> c_int {
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
        // SAFETY: The buffer is valid.
        let features = unsafe { bindings::rust_ext_netdev_vlan_features_check(skb, features) };
        let Some(skb) = NonNull::new(skb) else {
            return features;
        };
        // SAFETY: The buffer is valid, and lent: it isn't dropped here, and is given out by shared
        // reference only.
        let skb = ManuallyDrop::new(unsafe { SkBuff::from_raw(skb) });

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
    /// `dev` is a registered device that the table was set for; RTNL is held.
    unsafe extern "C" fn set_features(dev: *mut bindings::net_device, features: u64) -> c_int {
        // SAFETY: By the safety requirement.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };

        from_result(|| T::set_features(dev, Features::from_raw(features), &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held. Both lists are
    /// valid and not changed during the call.
    unsafe extern "C" fn set_rx_mode(
        dev: *mut bindings::net_device,
        unicast: *mut bindings::netdev_hw_addr_list,
        multicast: *mut bindings::netdev_hw_addr_list,
    ) -> c_int {
        let mut flags = bindings::rust_ext_rx_mode::default();
        // SAFETY: The device is valid, `flags` can be written.
        unsafe { bindings::rust_ext_netdev_rx_mode(dev, &mut flags) };
        // SAFETY: By the safety requirement.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };
        // SAFETY: Both lists are snapshots made for this call.
        let (unicast, multicast) = unsafe { (&*unicast, &*multicast) };
        let mode = RxMode {
            flags,
            unicast,
            multicast,
        };

        from_result(|| T::set_rx_mode(dev, &mode, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held. `addr` is a
    /// `struct sockaddr`.
    unsafe extern "C" fn set_mac_address(
        dev: *mut bindings::net_device,
        addr: *mut c_void,
    ) -> c_int {
        from_result(|| {
            let mut mac = MacAddress([0; 6]);
            // SAFETY: The device is valid, `addr` is a `struct sockaddr`, there is room for six
            // bytes.
            to_result(unsafe {
                bindings::rust_ext_netdev_prepare_mac(dev, addr, mac.0.as_mut_ptr())
            })?;
            // SAFETY: By the safety requirement.
            let (device, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };
            T::set_mac_address(device, &mac, &rtnl)?;
            // SAFETY: As above.
            unsafe { bindings::rust_ext_netdev_commit_mac(dev, addr) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held.
    unsafe extern "C" fn change_mtu(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            // SAFETY: By the safety requirement.
            let (device, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };
            T::change_mtu(device, mtu, &rtnl)?;
            // SAFETY: The device is valid, RTNL is held.
            unsafe { bindings::rust_ext_netdev_commit_mtu(dev, mtu) };
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
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rust_ext_stats64,
    ) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: The counters are valid and, during the call, ours; the helper has zeroed them.
        let stats = unsafe { &mut *stats };

        T::get_stats64(dev, &mut Stats64(stats));
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique.
    unsafe extern "C" fn rx_queue_stats(
        dev: *mut bindings::net_device,
        queue: u16,
        stats: *mut bindings::rust_ext_rx_queue_stats,
    ) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };
        let RxQueueStats {
            packets,
            bytes,
            alloc_fail,
        } = T::rx_queue_stats(dev, queue);
        // SAFETY: By the safety requirement.
        unsafe {
            *stats = bindings::rust_ext_rx_queue_stats {
                packets,
                bytes,
                alloc_fail,
            }
        };
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique.
    unsafe extern "C" fn tx_queue_stats(
        dev: *mut bindings::net_device,
        queue: u16,
        stats: *mut bindings::rust_ext_tx_queue_stats,
    ) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };
        let TxQueueStats {
            packets,
            bytes,
            stop,
        } = T::tx_queue_stats(dev, queue);
        // SAFETY: By the safety requirement.
        unsafe {
            *stats = bindings::rust_ext_tx_queue_stats {
                packets,
                bytes,
                stop,
            }
        };
    }

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for; RTNL is held.
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

    /// # Safety
    ///
    /// `dev` is a registered device that the table was set for.
    unsafe extern "C" fn deferred(dev: *mut bindings::net_device, events: u32) {
        // SAFETY: By the safety requirement; the work is stopped before the device is unregistered.
        let dev = unsafe { NetDevice::from_raw(dev) };

        T::deferred(dev, events);
    }
}
