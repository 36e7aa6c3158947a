// SPDX-License-Identifier: GPL-2.0

//! What a driver does for its network devices.

use super::{
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
    Device,
    Features,
    MacAddress, //
};
use crate::kernel_ext::{
    bindings,
    workqueue::{
        self,
        Work,
        WorkRef, //
    }, //
};
use core::{
    convert::Infallible,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    container_of,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
    sync::aref::AlwaysRefCounted,
    time::Delta, //
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

    /// Brings the device up. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; the device stays down, and `stop` isn't called.
    fn open(dev: &NetDevice<Self>, lock: &ConfigLock<'_>) -> Result;

    /// Brings the device down: nothing of it may be active afterwards. Process context, both locks held.
    fn stop(dev: &NetDevice<Self>, lock: &ConfigLock<'_>);

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
    /// context, both locks held; must not change anything.
    fn fix_features(dev: &NetDevice<Self>, features: Features) -> Features {
        let _ = (dev, features);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Turns features on and off, so that `features` are on. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; nothing has changed then.
    fn set_features(dev: &NetDevice<Self>, features: Features, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, features, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets what the device receives. Process context, both locks held; called after `open`, too.
    ///
    /// # Errors
    ///
    /// Any; the stack tries again later.
    fn set_rx_mode(dev: &NetDevice<Self>, mode: &RxMode<'_>, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, mode, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the address, also while the device is up; it is valid. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; the address isn't changed.
    fn set_mac_address(dev: &NetDevice<Self>, mac: &MacAddress, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, mac, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the MTU, also while the device is up; it is within the limits. The old one is still
    /// set. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; the MTU isn't changed.
    fn change_mtu(dev: &NetDevice<Self>, mtu: u32, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, mtu, lock);
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
    /// instance lock held. A driver has this and [`Operations::tx_queue_stats`], or neither.
    fn rx_queue_stats(dev: &NetDevice<Self>, queue: u16, lock: &InstanceLock<'_>) -> RxQueueStats {
        let _ = (dev, queue, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what transmit queue `queue` has counted, likewise.
    fn tx_queue_stats(dev: &NetDevice<Self>, queue: u16, lock: &InstanceLock<'_>) -> TxQueueStats {
        let _ = (dev, queue, lock);
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

/// A registered network device of a driver with the operations `T`.
///
/// # Invariants
///
/// The device's private area has a `Private<T>`, which is initialised and pinned.
#[repr(transparent)]
pub struct NetDevice<T: Operations> {
    device: Device,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: As for `Device`: the data too are dropped only after unregistration has waited for all
// references.
unsafe impl<T: Operations> AlwaysRefCounted for NetDevice<T> {
    fn inc_ref(&self) {
        self.device.inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the safety requirement a reference is given away.
        unsafe { Device::dec_ref(obj.cast()) };
    }
}

impl<T: Operations> Deref for NetDevice<T> {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

/// What a device has in its private area.
#[pin_data]
pub(super) struct Private<T: Operations> {
    /// What was deferred.
    #[pin]
    deferred: Work<Deferred<T>>,
    /// What is to be deferred after a delay.
    #[pin]
    later: Work<Later<T>>,
    #[pin]
    data: T::Data,
}

impl<T: Operations> Private<T> {
    /// Initialises the private area of `dev`.
    ///
    /// # Safety
    ///
    /// `dev` was allocated for devices of `T`, and isn't freed before the private area is dropped.
    pub(super) unsafe fn new<E>(
        dev: *mut bindings::net_device,
        data: impl PinInit<T::Data, E>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let (now, later) = (Events::<T>::new(dev), Events::<T>::new(dev));

        try_pin_init!(Self {
            data <- data,
            deferred <- Work::new::<Infallible>(Deferred(now)),
            later <- Work::new::<Infallible>(Later(later)),
        }? Error)
    }

    /// Has nothing deferred run any more: it is waited for what runs, and nothing can be deferred again.
    pub(super) fn stop(&self) {
        self.later.disable();
        self.deferred.disable();
    }
}

/// Reasons for deferred work that have come together.
struct Events<T> {
    dev: *mut bindings::net_device,
    events: AtomicU32,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: Network devices aren't bound to a thread.
unsafe impl<T> Send for Events<T> {}

// SAFETY: As for `Send`; the events are atomic.
unsafe impl<T> Sync for Events<T> {}

impl<T: Operations> Events<T> {
    fn new(dev: *mut bindings::net_device) -> Self {
        Self {
            dev,
            events: AtomicU32::new(0),
            _operations: PhantomData,
        }
    }

    fn add(&self, events: u32) {
        // Pairs with `take()`: what was done before is seen by who handles the events.
        self.events.fetch_or(events, Ordering::Release);
    }

    fn take(&self) -> u32 {
        self.events.swap(0, Ordering::Acquire)
    }

    fn device(&self) -> &NetDevice<T> {
        // SAFETY: The work is stopped before the device is unregistered, and is not scheduled before it
        // is registered. It is part of a device of this kind.
        unsafe { NetDevice::from_raw(self.dev) }
    }
}

struct Deferred<T>(Events<T>);

impl<T: Operations> workqueue::Handler for Deferred<T> {
    fn run(&self, _work: &WorkRef<'_>) {
        T::deferred(self.0.device(), self.0.take());
    }
}

struct Later<T>(Events<T>);

impl<T: Operations> workqueue::Handler for Later<T> {
    fn run(&self, _work: &WorkRef<'_>) {
        self.0.device().defer(self.0.take());
    }
}

/// The private area of a device.
///
/// # Safety
///
/// `dev` was allocated for devices of `T` and isn't freed.
pub(super) unsafe fn private<T: Operations>(dev: *mut bindings::net_device) -> *mut Private<T> {
    // SAFETY: The device is valid.
    unsafe { (&raw mut (*dev).priv_).cast() }
}

impl<T: Operations> NetDevice<T> {
    /// The device that C passes to a callback.
    ///
    /// # Safety
    ///
    /// `dev` satisfies the type invariants, and does so for `'a`.
    pub(crate) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the safety requirement; `Self` is a transparent wrapper.
        unsafe { &*dev.cast() }
    }

    fn private(&self) -> Pin<&Private<T>> {
        // SAFETY: By the type invariant the private area is initialised and pinned; it is shared only.
        unsafe { Pin::new_unchecked(&*private::<T>(self.as_raw())) }
    }

    /// The driver's data.
    #[inline]
    pub fn data(&self) -> Pin<&T::Data> {
        // SAFETY: The field is pinned with the structure.
        unsafe { self.private().map_unchecked(|private| &private.data) }
    }

    /// Has [`Operations::deferred`] called with `events`, and with what else was deferred until it
    /// runs. Any context.
    ///
    /// No effect once the device is being unregistered.
    pub fn defer(&self, events: u32) {
        let private = self.private().get_ref();
        private.deferred.0.add(events);
        private.deferred.schedule();
    }

    /// Does [`defer`](Self::defer) after `delay`, or earlier if there is a delay already. Any
    /// context.
    pub fn defer_after(&self, events: u32, delay: Delta) {
        let private = self.private().get_ref();
        private.later.0.add(events);
        private.later.schedule_after(delay);
    }
}

/// Iterator over a list of addresses.
///
/// # Invariants
///
/// `next` is the head of `list`, or part of an element of it.
pub struct Addresses<'a> {
    list: &'a bindings::netdev_hw_addr_list,
    next: *const bindings::list_head,
}

impl Iterator for Addresses<'_> {
    type Item = MacAddress;

    fn next(&mut self) -> Option<MacAddress> {
        if core::ptr::eq(self.next, &self.list.list) {
            return None;
        }
        // SAFETY: By the type invariant it is part of an element. The list is not changed as long as it
        // is borrowed.
        let element = unsafe { &*container_of!(self.next, bindings::netdev_hw_addr, list) };
        // INVARIANT: What follows an element.
        self.next = element.list.next;
        element.addr.first_chunk().copied().map(MacAddress)
    }
}

/// What a device is to receive.
pub struct RxMode<'a> {
    flags: u32,
    unicast: &'a bindings::netdev_hw_addr_list,
    multicast: &'a bindings::netdev_hw_addr_list,
}

impl RxMode<'_> {
    /// All frames.
    pub fn promiscuous(&self) -> bool {
        self.flags & bindings::net_device_flags_IFF_PROMISC != 0
    }

    /// All multicast frames.
    pub fn all_multicast(&self) -> bool {
        self.flags & bindings::net_device_flags_IFF_ALLMULTI != 0
    }

    /// Returns the number of unicast addresses besides the device's own.
    pub fn unicast_count(&self) -> usize {
        usize::try_from(self.unicast.count).unwrap_or(0)
    }

    /// Multicast addresses.
    pub fn multicast(&self) -> Addresses<'_> {
        Self::addresses(self.multicast)
    }

    /// Number of addresses in [`multicast`](Self::multicast).
    pub fn multicast_count(&self) -> usize {
        usize::try_from(self.multicast.count).unwrap_or(0)
    }

    fn addresses(list: &bindings::netdev_hw_addr_list) -> Addresses<'_> {
        // INVARIANT: What follows the head.
        Addresses {
            list,
            next: list.list.next,
        }
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

    /// Whether the driver counts by queue.
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
    /// `dev` is a registered device that the table was set for; `stats` is valid and unique.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { NetDevice::from_raw(dev) };
        // SAFETY: The counters are valid and, during the call, ours; the stack has zeroed them.
        let stats = unsafe { &mut *stats };

        T::get_stats64(dev, &mut Stats64(stats));
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

    /// What queues have counted that are not in use now.
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
