// SPDX-License-Identifier: GPL-2.0

//! Memory that a device may read and write, and the entitlement that is charged for it.
//!
//! In a partition with Cooperative Memory Overcommitment (CMO) the bus lets a device touch a page
//! only while it is mapped through the bus's DMA operations, which charge it to the device's
//! entitlement. [`Access`] says whether that is so for a device. Memory that a device may touch is
//! a [`Reachable`], and there are two ways to get one:
//!
//! - where nothing is charged, from the token [`Unrestricted`], at no cost;
//! - else from a mapping. A [`Mapping`] is a value: dropping it unmaps and uncharges. A [`DmaBuffer`]
//!   owns memory together with its mapping, a [`MappingRing`] has the mappings of frames in flight.
//!
//! A driver that takes the addresses it tells its device from [`Reachable`]s alone can't give a page
//! away that isn't mapped.
//!
//! No mapping outlives the binding of device and driver: each has a [`Mapper`], and the bus
//! abstraction waits in `remove`, after the driver's data are dropped, until there is none. That is
//! independent of who owns the mappings, so that they may be part of network devices, NAPI instances
//! and other objects which no lifetime of the binding can describe.
//!
//! Memory on the VIO bus is coherent: there is nothing to be synchronized as long as it is mapped.
//!
//! C headers: `include/linux/dma-mapping.h`, `arch/powerpc/include/asm/vio.h`

mod buffer;
mod queue;
mod ring;

pub use buffer::DmaBuffer;
pub use queue::{
    QueueMemory,
    QUEUE_PAGE_SIZE, //
};
pub use ring::{
    MappingConsumer,
    MappingProducer,
    MappingRing, //
};

use super::{
    bindings,
    of,
    page::RealMemory,
    vio, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicUsize,
    Ordering, //
};
use kernel::{
    device,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Bytes of a page of the bus's translation tables: what is charged is a multiple of it.
pub const IOMMU_PAGE_SIZE: usize = 4096;

/// A refusal isn't logged: the bus counts it, and callers have another way.
const ATTRIBUTES: usize = bindings::DMA_ATTR_NO_WARN as usize;

/// In which intervals is looked whether the last mapping is gone.
const CLOSE_INTERVAL: Delta = Delta::from_millis(1);
/// After how many of them the log says that it isn't.
const CLOSE_REPORT: u32 = 10_000;

/// Returns the bytes that a mapping of `len` bytes is charged with, wherever it starts in a page.
#[inline]
pub const fn charge(len: usize) -> usize {
    match len.checked_next_multiple_of(IOMMU_PAGE_SIZE) {
        Some(charge) => charge,
        None => usize::MAX,
    }
}

/// Direction in which data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads and writes.
    Bidirectional,
    /// The device reads.
    ToDevice,
}

impl Direction {
    #[inline]
    const fn to_raw(self) -> bindings::dma_data_direction {
        match self {
            Self::Bidirectional => bindings::dma_data_direction::DMA_BIDIRECTIONAL,
            Self::ToDevice => bindings::dma_data_direction::DMA_TO_DEVICE,
        }
    }
}

/// Memory that a device may touch as long as it exists.
pub trait Abandon: Send + Sync {
    /// Gives the memory up, because the device can't be kept from it: it isn't mapped any more, and is never free.
    fn abandon(&mut self);
}

/// Memory that the device may touch, by its real address. Good as long as what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reachable {
    address: u64,
    len: u64,
}

impl Reachable {
    /// No memory.
    pub(super) const NOTHING: Self = Self { address: 0, len: 0 };

    /// Real address of the first byte.
    #[inline]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "nothing maps no memory")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the first `len` bytes, or `None` if there are fewer.
    #[inline]
    pub const fn first(self, len: u64) -> Option<Self> {
        if len > self.len {
            return None;
        }
        Some(Self { len, ..self })
    }
}

/// Proof that the device may touch all memory without being charged. Takes no space.
#[derive(Clone, Copy, Debug)]
pub struct Unrestricted(());

impl Unrestricted {
    /// # Safety
    ///
    /// No device whose accesses are charged gets an address that is made reachable with the token.
    pub const unsafe fn new() -> Self {
        Self(())
    }

    /// Returns `memory` as such that the device may touch.
    #[inline]
    pub fn reach(self, memory: &impl RealMemory) -> Reachable {
        Reachable {
            address: memory.real_address(),
            len: memory.real_len(),
        }
    }
}

/// Way in which a device reaches memory. It is settled when the device is bound.
#[derive(Clone)]
pub enum Access {
    /// Freely.
    Unrestricted(Unrestricted),
    /// Through mappings.
    Charged(Mapper),
}

impl Access {
    /// For a device that is being bound; see [`Access::close`].
    pub(super) fn of(vdev: &vio::Device<device::CoreInternal<'_>>) -> Result<Self> {
        if !Self::is_charged(vdev) {
            // SAFETY: As just checked.
            return Ok(unsafe { Self::free() });
        }
        let vdev: &vio::Device = vdev;
        let inner = Inner {
            vdev: vdev.into(),
            users: AtomicUsize::new(1),
            closed: AtomicBool::new(false),
        };
        // INVARIANT: The only mapper, and counted; the device is being bound.
        Ok(Self::Charged(Mapper {
            inner: Arc::new(inner, GFP_KERNEL)?,
        }))
    }

    /// For a device whose accesses are not charged.
    ///
    /// # Safety
    ///
    /// They are not.
    pub(super) unsafe fn free() -> Self {
        // SAFETY: By the safety requirement. Nobody else gets the token but the device's driver.
        Self::Unrestricted(unsafe { Unrestricted::new() })
    }

    /// Returns whether the bus charges the device, as `vio_cmo_bus_probe()` decides.
    fn is_charged(vdev: &vio::Device<device::CoreInternal<'_>>) -> bool {
        // SAFETY: No precondition.
        let has_cmo = unsafe { bindings::rust_ext_firmware_has_cmo() };
        let window = |node: of::Node| node.property_len(c"ibm,my-dma-window").is_some();
        has_cmo && vdev.of_node().is_some_and(window)
    }

    /// Waits until there is no mapping any more, nor anybody who could make one. Process context.
    pub(super) fn close(self) {
        if let Self::Charged(mapper) = self {
            mapper.close();
        }
    }

    /// Returns the mapper, if accesses are charged.
    pub fn mapper(&self) -> Option<&Mapper> {
        match self {
            Self::Unrestricted(_) => None,
            Self::Charged(mapper) => Some(mapper),
        }
    }

    /// Returns the token, if accesses are not charged.
    pub fn unrestricted(&self) -> Option<Unrestricted> {
        match self {
            Self::Unrestricted(token) => Some(*token),
            Self::Charged(_) => None,
        }
    }
}

struct Inner {
    vdev: ARef<vio::Device>,
    /// Mappers that exist.
    users: AtomicUsize,
    /// Nothing is mapped any more: the driver is being removed.
    closed: AtomicBool,
}

/// The right to map memory for a device, and to ask for entitlement.
///
/// # Invariants
///
/// - Each is counted in `inner.users`.
/// - The device is bound as long as there is one: who unbinds it waits for the last, in
///   [`Access::close`].
pub struct Mapper {
    inner: Arc<Inner>,
}

impl Clone for Mapper {
    fn clone(&self) -> Self {
        self.inner.users.fetch_add(1, Ordering::Relaxed);
        // INVARIANT: Counted just now; the device is bound, as there is `self`.
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        // Pairs with `close()`: who sees the lower number sees what was done with the mapper.
        self.inner.users.fetch_sub(1, Ordering::Release);
    }
}

impl Mapper {
    fn raw_device(&self) -> *mut bindings::device {
        // SAFETY: The device is valid, as it is referenced.
        unsafe { &raw mut (*self.inner.vdev.as_raw()).dev }
    }

    fn close(self) {
        self.inner.closed.store(true, Ordering::Relaxed);
        let mut attempts = 0;
        while self.inner.users.load(Ordering::Acquire) != 1 {
            attempts += 1;
            if attempts % CLOSE_REPORT == 0 {
                let dev: &device::Device = (*self.inner.vdev).as_ref();
                dev_err!(dev, "waiting for mappings of removed driver\n");
            }
            fsleep(CLOSE_INTERVAL);
        }
    }

    /// Maps `len` bytes from real address `address`; returns the address on the bus. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the entitlement or the translation table is exhausted, `ENODEV` if the driver is
    /// being removed.
    #[inline]
    fn map(&self, address: u64, len: usize, direction: Direction) -> Result<u64> {
        if self.inner.closed.load(Ordering::Relaxed) {
            return Err(ENODEV);
        }
        // SAFETY: The device is valid and bound, by the type invariant. A mapping as such gives
        // nothing away: the device accesses what it is told to, and callers in this module map
        // memory that they own, or that a caller has a buffer of.
        let handle = unsafe {
            bindings::dma_map_phys(
                self.raw_device(),
                address,
                len,
                direction.to_raw(),
                ATTRIBUTES,
            )
        };
        // CAST: All bits are set.
        if handle == bindings::DMA_MAPPING_ERROR as u64 {
            return Err(ENOMEM);
        }
        Ok(handle)
    }

    /// Undoes [`Mapper::map`]. Any context.
    ///
    /// # Safety
    ///
    /// `handle` was returned for this length and direction, and isn't used any more.
    #[inline]
    unsafe fn unmap(&self, handle: u64, len: usize, direction: Direction) {
        // SAFETY: The device is valid and bound, by the type invariant; the rest by the safety
        // requirement.
        unsafe {
            bindings::dma_unmap_phys(
                self.raw_device(),
                handle,
                len,
                direction.to_raw(),
                ATTRIBUTES,
            )
        };
    }

    /// Returns the bytes that the device is entitled to have mapped. The bus may change the number at
    /// any time. It is 0 until the bus has looked at the device for the first time.
    pub fn entitled(&self) -> usize {
        // SAFETY: The device is valid.
        unsafe { (&raw const (*self.inner.vdev.as_raw()).cmo.entitled).read_volatile() }
    }

    /// Tells the bus how many bytes the device would like to have mapped. The bus shares out the
    /// entitlement anew, soon. Process context.
    pub fn set_desired(&self, bytes: usize) {
        // SAFETY: The device is valid, and bound by the type invariant.
        unsafe { bindings::vio_cmo_set_dev_desired(self.inner.vdev.as_raw(), bytes) };
    }
}

/// A mapping, undone on drop.
///
/// # Invariants
///
/// `handle` is mapped by `mapper` with that length and direction.
pub struct Mapping {
    mapper: Mapper,
    handle: u64,
    len: usize,
    direction: Direction,
}

impl Mapping {
    /// Maps `len` bytes from real address `address`.
    fn new(mapper: &Mapper, address: u64, len: usize, direction: Direction) -> Result<Self> {
        // INVARIANT: Mapped just now.
        Ok(Self {
            handle: mapper.map(address, len, direction)?,
            mapper: mapper.clone(),
            len,
            direction,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: Mapped so, by the type invariant; whoever told the device of it has seen to it
        // that it doesn't use it any more, as for the memory itself.
        unsafe { self.mapper.unmap(self.handle, self.len, self.direction) };
    }
}
