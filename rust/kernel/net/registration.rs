// SPDX-License-Identifier: GPL-2.0

//! Allocation and registration of network devices.

use super::{
    operations::{
        private,
        NetDevice,
        Operations,
        Private, //
    },
    table::Table,
    Features,
    MacAddress, //
};
use crate::kernel_ext::{
    bindings,
    ethtool, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    device,
    error::to_result,
    prelude::*,
    sync::aref::ARef,
    time::{
        msecs_to_jiffies,
        Delta,
        Msecs, //
    },
    warn_on, //
};

/// Owner of an allocated device and its data.
///
/// # Invariants
///
/// `raw` was allocated with a `Private<T>`, which is initialised; it isn't registered.
struct Allocated<T: Operations> {
    raw: NonNull<bindings::net_device>,
    // Referenced until the device is freed.
    _parent: ARef<device::Device>,
    _operations: PhantomData<T>,
}

impl<T: Operations> Allocated<T> {
    /// Returns the private area of the device.
    fn private(&self) -> Pin<&Private<T>> {
        // SAFETY: By the type invariant the private area is initialised and pinned; it is shared only.
        unsafe { Pin::new_unchecked(&*private::<T>(self.raw.as_ptr())) }
    }
}

impl<T: Operations> Drop for Allocated<T> {
    fn drop(&mut self) {
        let dev = self.raw.as_ptr();

        self.private().stop();
        // A failed registration may leave references behind, if a callback has taken one and not
        // returned it: rather leak the device. After an unregistration there are none.
        // SAFETY: By the type invariant the device is valid.
        let references = unsafe { bindings::netdev_refcnt_read(dev) };
        if warn_on!(references != 1) {
            return;
        }
        // SAFETY: By the type invariant the area is initialised; nobody else can reach it, since
        // there is neither a registration nor a reference. It is dropped only here.
        unsafe { core::ptr::drop_in_place(private::<T>(dev)) };
        // SAFETY: As above; the device isn't used any more.
        unsafe { bindings::free_netdev(dev) };
    }
}

/// A network device that is being prepared for registration. On drop its data are dropped and it is
/// freed.
pub struct UnregisteredNetDevice<T: Operations>(Allocated<T>);

// SAFETY: Network devices aren't bound to a thread, and the data are `Send`.
unsafe impl<T: Operations> Send for UnregisteredNetDevice<T> {}

// SAFETY: Shared access is to the data only, which are `Sync`.
unsafe impl<T: Operations> Sync for UnregisteredNetDevice<T> {}

impl<T: Operations> UnregisteredNetDevice<T> {
    /// Allocates an Ethernet device with room for `tx_queues` and `rx_queues`, which are also the
    /// numbers in use, and initialises its data in place. Process context.
    ///
    /// # Errors
    ///
    /// Those of the initialiser; `ENOMEM`.
    pub fn new<E>(
        parent: &device::Device,
        tx_queues: u16,
        rx_queues: u16,
        data: impl PinInit<T::Data, E>,
    ) -> Result<Self>
    where
        Error: From<E>,
    {
        let parent: ARef<device::Device> = parent.into();
        let parent_raw = core::ptr::from_ref::<device::Device>(&parent)
            .cast_mut()
            .cast::<bindings::device>();

        let size = c_int::try_from(size_of::<Private<T>>())?;
        const { assert!(align_of::<Private<T>>() <= bindings::NETDEV_ALIGN as usize) };

        // SAFETY: No precondition.
        let raw = NonNull::new(unsafe {
            bindings::alloc_etherdev_mqs(size, tx_queues.into(), rx_queues.into())
        })
        .ok_or(ENOMEM)?;
        let dev = raw.as_ptr();

        // SAFETY: The place is allocated for a `Private<T>` and isn't moved until it is freed; on
        // error it is left uninitialised, and only the device is freed.
        unsafe {
            if let Err(err) = pin_init::raw_try_init(private::<T>(dev), Private::new(dev, data)) {
                bindings::free_netdev(dev);
                return Err(err);
            }
        }
        // SAFETY: The device is valid and ours. `device::Device` is a transparent wrapper of the C type;
        // the parent stays referenced until the device is freed. The tables are static and made for
        // devices of this kind.
        unsafe {
            (*dev).dev.parent = parent_raw;
            (*dev).netdev_ops = &Table::<T>::OPS;
            (*dev).request_ops_lock = true;
            if Table::<T>::HAS_QUEUE_STATS {
                (*dev).stat_ops = &Table::<T>::STAT_OPS;
            }
        }
        // INVARIANT: Both were done just now.
        Ok(Self(Allocated {
            raw,
            _parent: parent,
            _operations: PhantomData,
        }))
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::net_device {
        self.0.raw.as_ptr()
    }

    /// Sets the address.
    pub fn set_mac_address(&mut self, mac: &MacAddress) {
        // SAFETY: The device is valid and ours, the address has six bytes.
        unsafe { bindings::rust_ext_eth_hw_addr_set(self.as_raw(), mac.0.as_ptr()) };
    }

    /// Sets the MTU and its limits, in bytes. The stack keeps `change_mtu` within the limits.
    pub fn set_mtu(&mut self, mtu: u32, min: u32, max: u32) {
        // SAFETY: The device is valid and ours.
        unsafe {
            (*self.as_raw()).mtu = mtu;
            (*self.as_raw()).min_mtu = min;
            (*self.as_raw()).max_mtu = max;
        }
    }

    /// Sets the features that are in use at first.
    pub fn set_features(&mut self, features: Features) {
        // SAFETY: The device is valid and ours.
        unsafe { (*self.as_raw()).features = features.into_raw() };
    }

    /// Sets the features that the user may turn on and off.
    pub fn set_hw_features(&mut self, features: Features) {
        // SAFETY: The device is valid and ours.
        unsafe { (*self.as_raw()).hw_features = features.into_raw() };
    }

    /// Sets the features that work for frames with a VLAN tag, too.
    pub fn set_vlan_features(&mut self, features: Features) {
        // SAFETY: The device is valid and ours.
        unsafe { (*self.as_raw()).vlan_features = features.into_raw() };
    }

    /// Limits what is given for segmentation: bytes and segments of a frame.
    pub fn set_tso_max(&mut self, bytes: u32, segments: u16) {
        // SAFETY: The device is valid and ours.
        unsafe {
            bindings::netif_set_tso_max_size(self.as_raw(), bytes);
            bindings::netif_set_tso_max_segs(self.as_raw(), segments.into());
        }
    }

    /// Sets the time after which `tx_timeout` is called for a stopped queue.
    pub fn set_watchdog(&mut self, timeout: Delta) {
        // CAST: Some seconds, and as many thousands of milliseconds.
        let jiffies = msecs_to_jiffies(timeout.as_millis() as Msecs);
        // SAFETY: The device is valid and ours.
        unsafe { (*self.as_raw()).watchdog_timeo = jiffies as c_int };
    }

    /// Sets a flag that the stack asks for.
    fn add_flag(&mut self, flag: bindings::netdev_priv_flags) {
        // CAST: The flags have 32 bits.
        // SAFETY: The device is valid and ours. Both views of the union are the same plain numbers.
        unsafe {
            let fields = &mut (*self.as_raw()).__bindgen_anon_1.priv_flags_fast;
            fields.set_priv_flags(fields.priv_flags() | flag as usize);
        }
    }

    /// Tells that the device filters unicast addresses; else the stack makes it promiscuous for any
    /// besides its own.
    pub fn filters_unicast(&mut self) {
        self.add_flag(bindings::netdev_priv_flags_IFF_UNICAST_FLT);
    }

    /// Tells that the address may be changed while the device is up.
    pub fn changes_address_while_up(&mut self) {
        self.add_flag(bindings::netdev_priv_flags_IFF_LIVE_ADDR_CHANGE);
    }

    /// Makes the stack keep the affinity of the interrupts of NAPI instances. Each has a processor of
    /// its own at first. What users set is set again when the device is opened again.
    pub fn keeps_interrupt_affinity(&mut self) {
        // SAFETY: The device is valid and ours; it has a NAPI configuration for each queue.
        unsafe { bindings::netif_set_affinity_auto(self.as_raw()) };
    }

    /// Sets the number of the port, for adapters that have several; from 0.
    pub fn set_port(&mut self, port: u16) {
        // SAFETY: The device is valid and ours.
        unsafe { (*self.as_raw()).dev_port = port };
    }

    /// Sets the operations for ethtool.
    pub fn set_ethtool<E: ethtool::Operations<Net = T>>(&mut self) {
        // SAFETY: The device is valid and ours; the table is static and made for devices of `T`.
        unsafe { (*self.as_raw()).ethtool_ops = &ethtool::Table::<E>::OPS };
    }

    /// Tells that there is no link at first; the default is that there is one.
    pub fn carrier_off(&mut self) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::netif_carrier_off(self.as_raw()) };
    }

    /// Registers the device. Callbacks may be made before this returns. Process context, takes
    /// RTNL.
    ///
    /// # Errors
    ///
    /// Those of `register_netdev()`; the data are dropped and the device is freed.
    pub fn register(self) -> Result<Registered<T>> {
        // SAFETY: The device is valid, its data are initialised: the type invariants of `NetDevice`
        // hold for callbacks.
        to_result(unsafe { bindings::register_netdev(self.as_raw()) })?;
        // INVARIANT: Just registered.
        Ok(Registered(ManuallyDrop::new(self.0)))
    }
}

/// A registered network device of its own driver.
///
/// On drop nothing deferred runs any more; the device is unregistered, which calls `stop` if it is
/// up and waits until nobody refers to it; then the data are dropped. Process context, takes RTNL.
///
/// # Invariants
///
/// The device is registered, contrary to what the type inside says.
pub struct Registered<T: Operations>(ManuallyDrop<Allocated<T>>);

// SAFETY: Network devices aren't bound to a thread, and the data are `Send`.
unsafe impl<T: Operations> Send for Registered<T> {}

// SAFETY: Shared access is to the device, which is `Sync`, and to the data, which are `Sync`.
unsafe impl<T: Operations> Sync for Registered<T> {}

impl<T: Operations> Deref for Registered<T> {
    type Target = NetDevice<T>;

    fn deref(&self) -> &NetDevice<T> {
        // SAFETY: By the type invariants the device is registered and its data are initialised, as
        // long as `self` exists.
        unsafe { NetDevice::from_raw(self.0.raw.as_ptr()) }
    }
}

impl<T: Operations> Drop for Registered<T> {
    fn drop(&mut self) {
        let dev = self.0.raw.as_ptr();

        // First, so that no callback is left that could take a reference after unregistration has
        // waited for them.
        self.0.private().stop();
        // SAFETY: By the type invariant the device is registered; it is unregistered only here.
        unsafe { bindings::unregister_netdev(dev) };
        // SAFETY: Dropped only here. The device isn't registered any more, as its type demands.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
