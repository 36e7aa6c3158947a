// SPDX-License-Identifier: GPL-2.0

//! Operations for ethtool.
//!
//! C header: `include/linux/ethtool.h`

use super::{
    callback::optional,
    net::{
        self,
        lock::InstanceLock,
        NetDevice, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*, //
};

/// A mode of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LinkMode {
    /// 10 Mb/s, half duplex.
    Base10Half = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_10baseT_Half_BIT,
    /// 10 Mb/s, full duplex.
    Base10Full = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_10baseT_Full_BIT,
    /// 100 Mb/s, half duplex.
    Base100Half = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_100baseT_Half_BIT,
    /// 100 Mb/s, full duplex.
    Base100Full = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_100baseT_Full_BIT,
    /// 1 Gb/s, full duplex.
    Base1000Full = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_1000baseT_Full_BIT,
    /// 10 Gb/s, full duplex.
    Base10000Full = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_10000baseT_Full_BIT,
    /// Negotiates.
    Autoneg = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_Autoneg_BIT,
    /// Twisted pair.
    TwistedPair = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_TP_BIT,
    /// Fibre.
    Fibre = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_FIBRE_BIT,
}

/// The type of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Port {
    /// Twisted pair.
    TwistedPair = bindings::PORT_TP as u8,
    /// Fibre.
    Fibre = bindings::PORT_FIBRE as u8,
}

/// Settings of a link.
#[derive(Default)]
#[repr(transparent)]
pub struct LinkSettings(bindings::ethtool_link_ksettings);

impl LinkSettings {
    const BITS: u32 = usize::BITS;

    fn set(map: &mut [usize], mode: LinkMode) {
        if let Some(word) = map.get_mut((mode as u32 / Self::BITS) as usize) {
            *word |= 1 << (mode as u32 % Self::BITS);
        }
    }

    fn is_set(map: &[usize], mode: LinkMode) -> bool {
        let word = map.get((mode as u32 / Self::BITS) as usize);

        word.is_some_and(|word| word >> (mode as u32 % Self::BITS) & 1 != 0)
    }

    /// Speed in Mb/s; `None` if it isn't known.
    pub fn speed(&self) -> Option<u32> {
        (self.0.base.speed != bindings::SPEED_UNKNOWN as u32).then_some(self.0.base.speed)
    }

    /// Sets the speed in Mb/s.
    pub fn set_speed(&mut self, speed: Option<u32>) -> &mut Self {
        self.0.base.speed = speed.unwrap_or(bindings::SPEED_UNKNOWN as u32);
        self
    }

    /// Returns whether the link is full duplex, or `None` if that isn't known.
    pub fn full_duplex(&self) -> Option<bool> {
        match u32::from(self.0.base.duplex) {
            bindings::DUPLEX_FULL => Some(true),
            bindings::DUPLEX_HALF => Some(false),
            _ => None,
        }
    }

    /// Sets whether the link is full duplex.
    pub fn set_full_duplex(&mut self, full: Option<bool>) -> &mut Self {
        // CAST: One byte in C, too.
        self.0.base.duplex = match full {
            Some(true) => bindings::DUPLEX_FULL as u8,
            Some(false) => bindings::DUPLEX_HALF as u8,
            None => bindings::DUPLEX_UNKNOWN as u8,
        };
        self
    }

    /// Checks whether the mode is negotiated.
    pub fn autoneg(&self) -> bool {
        u32::from(self.0.base.autoneg) == bindings::AUTONEG_ENABLE
    }

    /// Sets whether the mode is negotiated.
    pub fn set_autoneg(&mut self, autoneg: bool) -> &mut Self {
        self.0.base.autoneg = autoneg.into();
        self
    }

    /// Sets the type of connector.
    pub fn set_port(&mut self, port: Port) -> &mut Self {
        self.0.base.port = port as u8;
        self
    }

    /// Checks whether what belongs to the connector and its cable is as in `other`: its type, the address of
    /// the PHY, and how wires are crossed.
    pub fn has_same_medium(&self, other: &Self) -> bool {
        let medium = |settings: &Self| {
            (
                settings.0.base.port,
                settings.0.base.phy_address,
                settings.0.base.eth_tp_mdix_ctrl,
            )
        };

        medium(self) == medium(other)
    }

    /// Checks whether a mode is advertised.
    pub fn is_advertised(&self, mode: LinkMode) -> bool {
        Self::is_set(&self.0.link_modes.advertising, mode)
    }

    /// Returns the number of modes that are advertised, including those that [`LinkMode`] lacks.
    pub fn advertised_count(&self) -> usize {
        let words = self.0.link_modes.advertising.iter();

        // CAST: At most the bits of the map.
        words.map(|word| word.count_ones() as usize).sum()
    }

    /// Adds a mode that the port is capable of.
    pub fn add_supported(&mut self, mode: LinkMode) -> &mut Self {
        Self::set(&mut self.0.link_modes.supported, mode);
        self
    }

    /// Adds a mode that the port advertises.
    pub fn add_advertised(&mut self, mode: LinkMode) -> &mut Self {
        Self::set(&mut self.0.link_modes.advertising, mode);
        self
    }
}

/// Description of the driver for ethtool, besides what the kernel knows.
#[repr(transparent)]
pub struct DriverInfo(bindings::ethtool_drvinfo);

impl DriverInfo {
    fn set(field: &mut [c_char], value: &CStr) {
        let bytes = value.to_bytes();
        let len = bytes.len().min(field.len().saturating_sub(1));

        field.fill(0);
        for (to, from) in field.iter_mut().zip(bytes).take(len) {
            *to = *from;
        }
    }

    /// Sets the name of the driver.
    pub fn set_driver(&mut self, name: &CStr) -> &mut Self {
        Self::set(&mut self.0.driver, name);
        self
    }

    /// Sets the address on the bus.
    pub fn set_bus_info(&mut self, address: &CStr) -> &mut Self {
        Self::set(&mut self.0.bus_info, address);
        self
    }
}

/// Sizes of rings, in entries: present and largest possible ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingSizes {
    /// Receive ring.
    pub rx: u32,
    /// Receive ring for small frames.
    pub rx_mini: u32,
    /// Receive ring for jumbo frames.
    pub rx_jumbo: u32,
    /// Transmit ring.
    pub tx: u32,
    /// Largest receive ring.
    pub rx_max: u32,
    /// Largest receive ring for small frames.
    pub rx_mini_max: u32,
    /// Largest receive ring for jumbo frames.
    pub rx_jumbo_max: u32,
    /// Largest transmit ring.
    pub tx_max: u32,
}

/// Numbers of queue pairs, each of which receives and transmits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channels {
    /// In use.
    pub combined: u32,
    /// Possible.
    pub combined_max: u32,
}

/// Operations for ethtool; process context, instance lock held.
#[vtable]
pub trait Operations: 'static {
    /// The operations of the device.
    type Net: net::Operations;

    /// The names of the driver's own statistics, shorter than 32 bytes. The standard ones aren't
    /// among them.
    const STATISTICS: &'static [&'static CStr] = &[];

    /// Fills in the values of [`STATISTICS`](Self::STATISTICS), in this order; as many.
    fn statistics(dev: &NetDevice<Self::Net>, values: &mut [u64]) {
        let _ = (dev, values);
    }

    /// Tells about the driver.
    fn driver_info(dev: &NetDevice<Self::Net>, info: &mut DriverInfo) {
        let _ = (dev, info);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the settings of the link.
    ///
    /// # Errors
    ///
    /// Any.
    fn link_settings(dev: &NetDevice<Self::Net>, settings: &mut LinkSettings) -> Result {
        let _ = (dev, settings);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the settings of the link.
    ///
    /// # Errors
    ///
    /// Any; `EINVAL` for what isn't possible.
    fn set_link_settings(
        dev: &NetDevice<Self::Net>,
        settings: &LinkSettings,
        lock: &InstanceLock<'_>,
    ) -> Result {
        let _ = (dev, settings, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Restarts negotiation.
    ///
    /// # Errors
    ///
    /// Any; `EINVAL` if the link isn't negotiated.
    fn restart_autoneg(dev: &NetDevice<Self::Net>) -> Result {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the sizes of the rings.
    fn ring_sizes(dev: &NetDevice<Self::Net>) -> RingSizes {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the numbers of queue pairs.
    fn channels(dev: &NetDevice<Self::Net>) -> Channels {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The callbacks for the operations `E`.
pub(super) struct Table<E>(PhantomData<E>);

// The table is set by `UnregisteredNetDevice::<E::Net>::set_ethtool()`, and used while the device is
// registered: the devices that it was set for satisfy the type invariants of `NetDevice<E::Net>`.
impl<E: Operations> Table<E> {
    pub(super) const OPS: bindings::ethtool_ops = bindings::ethtool_ops {
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_drvinfo: optional!(E::HAS_DRIVER_INFO, Self::get_drvinfo),
        get_link_ksettings: optional!(E::HAS_LINK_SETTINGS, Self::get_link_ksettings),
        set_link_ksettings: optional!(E::HAS_SET_LINK_SETTINGS, Self::set_link_ksettings),
        nway_reset: optional!(E::HAS_RESTART_AUTONEG, Self::nway_reset),
        get_sset_count: optional!(E::HAS_STATISTICS, Self::get_sset_count),
        get_strings: optional!(E::HAS_STATISTICS, Self::get_strings),
        get_ethtool_stats: optional!(E::HAS_STATISTICS, Self::get_ethtool_stats),
        get_ringparam: optional!(E::HAS_RING_SIZES, Self::get_ringparam),
        get_channels: optional!(E::HAS_CHANNELS, Self::get_channels),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `dev` is a device that the table was set for.
    unsafe fn device<'a>(dev: *mut bindings::net_device) -> &'a NetDevice<E::Net> {
        // SAFETY: By the safety requirement.
        unsafe { NetDevice::from_raw(dev.cast()) }
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for; `info` is valid and unique.
    unsafe extern "C" fn get_drvinfo(
        dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: By the safety requirement; `info` is valid and ours during the call.
        let (dev, info) = unsafe { (Self::device(dev), &mut *info.cast::<DriverInfo>()) };

        E::driver_info(dev, info);
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for; `settings` is valid and unique.
    unsafe extern "C" fn get_link_ksettings(
        dev: *mut bindings::net_device,
        settings: *mut bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the safety requirement; `settings` are valid and ours during the call.
        let (dev, settings) = unsafe { (Self::device(dev), &mut *settings.cast::<LinkSettings>()) };

        from_result(|| E::link_settings(dev, settings).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for, `settings` is valid; the
    /// instance lock is held.
    unsafe extern "C" fn set_link_ksettings(
        dev: *mut bindings::net_device,
        settings: *const bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the safety requirement; `settings` are valid and don't change during the call.
        let (dev, settings) = unsafe { (Self::device(dev), &*settings.cast::<LinkSettings>()) };
        // SAFETY: Called under the instance lock, which the device has asked for. RTNL isn't held.
        let lock = unsafe { InstanceLock::held(dev) };

        from_result(|| E::set_link_settings(dev, settings, &lock).map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for.
    unsafe extern "C" fn nway_reset(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirement.
        let dev = unsafe { Self::device(dev) };

        from_result(|| E::restart_autoneg(dev).map(|()| 0))
    }

    /// # Safety
    ///
    /// None; it is the type of the callback.
    unsafe extern "C" fn get_sset_count(_dev: *mut bindings::net_device, set: c_int) -> c_int {
        if set != STRINGS_STATISTICS {
            return EOPNOTSUPP.to_errno();
        }
        c_int::try_from(E::STATISTICS.len()).unwrap_or(0)
    }

    /// # Safety
    ///
    /// `data` has room for all strings of the set.
    unsafe extern "C" fn get_strings(_dev: *mut bindings::net_device, set: u32, data: *mut u8) {
        // CAST: A small number.
        if set != STRINGS_STATISTICS as u32 {
            return;
        }
        let len = E::STATISTICS.len() * STRING_LEN;
        // SAFETY: `data` has room for as many strings as `get_sset_count()` has told.
        let data = unsafe { core::slice::from_raw_parts_mut(data, len) };

        for (field, name) in data.chunks_exact_mut(STRING_LEN).zip(E::STATISTICS) {
            DriverInfo::set(field, name);
        }
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for; `data` has room for all statistics and is unique.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: By the safety requirement.
        let dev = unsafe { Self::device(dev) };
        // SAFETY: `data` has room for as many values as `get_sset_count()` has told, which are
        // zeroed and ours during the call.
        let data = unsafe { core::slice::from_raw_parts_mut(data, E::STATISTICS.len()) };

        E::statistics(dev, data);
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for; `ring` is valid and unique.
    unsafe extern "C" fn get_ringparam(
        dev: *mut bindings::net_device,
        ring: *mut bindings::ethtool_ringparam,
        _kernel_ring: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: By the safety requirement; `ring` is valid and ours during the call.
        let (dev, ring) = unsafe { (Self::device(dev), &mut *ring) };
        let sizes = E::ring_sizes(dev);

        ring.rx_pending = sizes.rx;
        ring.rx_mini_pending = sizes.rx_mini;
        ring.rx_jumbo_pending = sizes.rx_jumbo;
        ring.tx_pending = sizes.tx;
        ring.rx_max_pending = sizes.rx_max;
        ring.rx_mini_max_pending = sizes.rx_mini_max;
        ring.rx_jumbo_max_pending = sizes.rx_jumbo_max;
        ring.tx_max_pending = sizes.tx_max;
    }

    /// # Safety
    ///
    /// `dev` is a device that the table was set for; `channels` is valid and unique.
    unsafe extern "C" fn get_channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: By the safety requirement; `channels` is valid and ours during the call.
        let (dev, channels) = unsafe { (Self::device(dev), &mut *channels) };
        let numbers = E::channels(dev);

        channels.combined_count = numbers.combined;
        channels.max_combined = numbers.combined_max;
    }
}

/// The set of strings that are names of statistics.
const STRINGS_STATISTICS: c_int = bindings::ethtool_stringset_ETH_SS_STATS as c_int;

/// Bytes in the field for a string.
const STRING_LEN: usize = bindings::ETH_GSTRING_LEN as usize;
