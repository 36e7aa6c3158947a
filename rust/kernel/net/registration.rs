// SPDX-License-Identifier: GPL-2.0

//! Allocation and registration of network devices.

use super::{
    device::{
        data_ptr,
        msecs, //
    },
    operations::{
        Operations,
        Table, //
    },
    Features,
    MacAddress,
    NetDevice, //
};
use crate::kernel_ext::{
    bindings, //
    ethtool,
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
    time::Delta, //
};

/// Owner of an allocated device and its data.
///
/// # Invariants
///
/// `raw` was allocated for a `T::Data`, which is initialised; it isn't registered.
struct Allocated<T: Operations> {
    raw: NonNull<bindings::net_device>,
    // Referenced until the device is freed.
    _parent: ARef<device::Device>,
    _operations: PhantomData<T>,
}

impl<T: Operations> Drop for Allocated<T> {
    fn drop(&mut self) {
        let dev = self.raw.as_ptr();

        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::rust_ext_netdev_stop_deferred(dev) };
        // A failed registration may leave references behind, if a callback has taken one and not
        // returned it: rather leak the device. After an unregistration there are none.
        // SAFETY: As above.
        if !unsafe { bindings::rust_ext_netdev_unused(dev) } {
            return;
        }
        // SAFETY: By the type invariant the data are initialised; nobody else can reach them, since
        // there is neither a registration nor a reference. They are dropped only here.
        unsafe { core::ptr::drop_in_place(data_ptr::<T>(dev)) };
        // SAFETY: As above; the device isn't used any more.
        unsafe { bindings::rust_ext_netdev_free(dev) };
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

        // SAFETY: The callbacks are made for devices of this kind, and are copied. `device::Device`
        // is a transparent wrapper of the C type; the parent stays referenced until the device is
        // freed.
        let raw = NonNull::new(unsafe {
            bindings::rust_ext_netdev_alloc(
                size_of::<T::Data>(),
                align_of::<T::Data>(),
                tx_queues,
                rx_queues,
                parent_raw,
                &Table::<T>::CALLBACKS,
            )
        })
        .ok_or(ENOMEM)?;

        // SAFETY: The place is allocated for a `T::Data` and isn't moved until it is freed; on
        // error it is left uninitialised, and only the device is freed.
        unsafe {
            if let Err(err) = pin_init::raw_try_init(data_ptr::<T>(raw.as_ptr()), data) {
                bindings::rust_ext_netdev_free(raw.as_ptr());
                return Err(err.into());
            }
        }
        // INVARIANT: Both were done just now.
        Ok(Self(Allocated {
            raw,
            _parent: parent,
            _operations: PhantomData,
        }))
    }

    fn as_raw(&self) -> *mut bindings::net_device {
        self.0.raw.as_ptr()
    }

    /// The driver's data.
    pub fn data(&self) -> Pin<&T::Data> {
        // SAFETY: By the type invariant the data are initialised and pinned; they are shared only.
        unsafe { Pin::new_unchecked(&*data_ptr::<T>(self.as_raw())) }
    }

    /// Sets the name, or a template like `eth%d`, which is the default.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG`.
    pub fn set_name(&mut self, name: &CStr) -> Result {
        // SAFETY: The device is valid and ours, the string is copied.
        to_result(unsafe { bindings::rust_ext_netdev_set_name(self.as_raw(), name.as_char_ptr()) })
    }

    /// Sets the address.
    pub fn set_mac_address(&mut self, mac: &MacAddress) {
        // SAFETY: The device is valid and ours, the address has six bytes.
        unsafe { bindings::rust_ext_netdev_set_mac(self.as_raw(), mac.0.as_ptr()) };
    }

    /// Sets an address by chance, marked as such.
    pub fn set_random_mac_address(&mut self) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_random_mac(self.as_raw()) };
    }

    /// Sets the MTU and its limits, in bytes. The stack keeps `change_mtu` within the limits.
    pub fn set_mtu(&mut self, mtu: u32, min: u32, max: u32) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_mtu_range(self.as_raw(), mtu, min, max) };
    }

    /// Sets the features that are in use at first.
    pub fn set_features(&mut self, features: Features) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_features(self.as_raw(), features.into_raw()) };
    }

    /// Sets the features that the user may turn on and off.
    pub fn set_hw_features(&mut self, features: Features) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_hw_features(self.as_raw(), features.into_raw()) };
    }

    /// Sets the features that work for frames with a VLAN tag, too.
    pub fn set_vlan_features(&mut self, features: Features) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_vlan_features(self.as_raw(), features.into_raw()) };
    }

    /// Limits what is given for segmentation: bytes and segments of a frame.
    pub fn set_tso_max(&mut self, bytes: u32, segments: u16) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_tso_max(self.as_raw(), bytes, segments) };
    }

    /// Sets the time after which `tx_timeout` is called for a stopped queue.
    pub fn set_watchdog(&mut self, timeout: Delta) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_watchdog(self.as_raw(), msecs(timeout)) };
    }

    /// Sets the number of the port, for adapters that have several; from 0.
    pub fn set_port(&mut self, port: u16) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_set_dev_port(self.as_raw(), port) };
    }

    /// Sets the numbers of queues in use at first.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are not as many queues, or none.
    pub fn set_real_queues(&mut self, tx: u16, rx: u16) -> Result {
        // SAFETY: The device is valid and ours; the lock isn't needed before registration.
        to_result(unsafe { bindings::rust_ext_netdev_set_real_queues(self.as_raw(), tx, rx) })
    }

    /// Sets the operations for ethtool.
    pub fn set_ethtool<E: ethtool::Operations<Net = T>>(&mut self) {
        // SAFETY: The device is valid and ours; the table is static and made for devices of `T`.
        unsafe {
            bindings::rust_ext_netdev_set_ethtool_ops(self.as_raw(), &ethtool::Table::<E>::OPS);
        }
    }

    /// Tells that there is no link at first; the default is that there is one.
    pub fn carrier_off(&mut self) {
        // SAFETY: The device is valid and ours.
        unsafe { bindings::rust_ext_netdev_carrier(self.as_raw(), false) };
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
        to_result(unsafe { bindings::rust_ext_netdev_register(self.as_raw()) })?;
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
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_stop_deferred(dev) };
        // SAFETY: By the type invariant the device is registered; it is unregistered only here.
        unsafe { bindings::rust_ext_netdev_unregister(dev) };
        // SAFETY: Dropped only here. The device isn't registered any more, as its type demands.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
