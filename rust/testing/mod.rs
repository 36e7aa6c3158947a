// SPDX-License-Identifier: GPL-2.0

//! Means for tests of the abstractions: frames that are counted when they are freed, a stack
//! that sends and receives them, and another view of memory.
//!
//! Not part of the driver. The C side is `rust/testing/testing.c`.

use crate::kernel_ext::{
    bindings,
    crash,
    dma::{
        Access,
        Unrestricted, //
    },
    net::{
        queue::Queue,
        skbuff::{
            RxBuffer,
            SkBuff, //
        },
        Device,
        Operations,
        UnregisteredNetDevice, //
    },
    page::ContiguousBuffer,
    workqueue::{
        Handler,
        Work, //
    }, //
};
use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        AtomicUsize,
        Ordering, //
    }, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Makes a frame of `len` bytes, the last `frag_len` of which (at most a page) are not linear. Each byte
/// behind the Ethernet header is its own offset, modulo 256. [`freed`] counts it.
pub fn frame(dev: &Device, len: u32, frag_len: u32) -> Result<SkBuff> {
    // SAFETY: The device is valid.
    let raw = unsafe { bindings::rust_ext_test_skb(dev.as_raw(), len, frag_len) };
    // SAFETY: A new buffer that is given away.
    Ok(unsafe { SkBuff::from_raw(NonNull::new(raw).ok_or(ENOMEM)?) })
}

/// Makes a frame of `len` bytes with a TCP segment in IPv4, whose VLAN tag (0x2064), checksum and segmentation
/// (with 1448 bytes each) are left to the device. [`freed`] counts it.
pub fn segmented_frame(dev: &Device, len: u32) -> Result<SkBuff> {
    // SAFETY: The device is valid.
    let raw = unsafe { bindings::rust_ext_test_segmented_skb(dev.as_raw(), len) };
    // SAFETY: A new buffer that is given away.
    Ok(unsafe { SkBuff::from_raw(NonNull::new(raw).ok_or(ENOMEM)?) })
}

/// Returns the real address of a frame's data, by C's reckoning.
pub fn real_address(skb: &SkBuff) -> u64 {
    // SAFETY: The buffer is valid.
    unsafe { bindings::rust_ext_test_real_address(skb.as_raw()) }
}

/// Access to memory as of a device that isn't charged. There is no device: nobody is told addresses.
pub fn access() -> Access {
    // SAFETY: There is no device.
    Access::Unrestricted(unsafe { Unrestricted::new() })
}

/// Returns how many frames of [`frame`] were freed since the last call.
pub fn freed() -> u32 {
    // SAFETY: No precondition.
    unsafe { bindings::rust_ext_test_freed() }
}

/// Sends a frame through queue `queue` of a device that is up, as the stack does; returns whether
/// the driver took it. If not, the stack frees it.
pub fn xmit(dev: &Device, skb: SkBuff, queue: u16) -> bool {
    // SAFETY: The device is valid, the frame is given away. An unknown queue is the stack's to
    // refuse.
    unsafe { bindings::rust_ext_test_xmit(dev.as_raw(), skb.into_raw(), queue) == 0 }
}

/// Brings the device up.
pub fn open(dev: &Device) -> Result {
    // SAFETY: The device is valid.
    to_result(unsafe { bindings::rust_ext_test_open(dev.as_raw()) })
}

/// Brings the device down.
pub fn close(dev: &Device) {
    // SAFETY: The device is valid.
    unsafe { bindings::rust_ext_test_close(dev.as_raw()) };
}

/// Changes the MTU, as the stack does.
pub fn set_mtu(dev: &Device, mtu: u32) -> Result {
    // SAFETY: The device is valid.
    to_result(unsafe { bindings::rust_ext_test_set_mtu(dev.as_raw(), mtu) })
}

/// Sets the name of a device that is not registered, or a template like `eth%d`.
///
/// # Errors
///
/// `ENAMETOOLONG`.
pub fn set_name<T: Operations>(dev: &mut UnregisteredNetDevice<T>, name: &CStr) -> Result {
    let bytes = name.to_bytes();
    // SAFETY: The device is valid and, during the call, ours.
    let field = unsafe { &mut (*dev.as_raw()).name };
    let (field, rest) = field
        .split_at_mut_checked(bytes.len())
        .ok_or(ENAMETOOLONG)?;

    // There must be room for the end.
    *rest.first_mut().ok_or(ENAMETOOLONG)? = 0;
    field.copy_from_slice(bytes);
    Ok(())
}

/// Keeps the stack from sending frames of its own through a device that is not registered.
pub fn keep_quiet<T: Operations>(dev: &mut UnregisteredNetDevice<T>) {
    // SAFETY: The device is valid and, during the call, ours.
    unsafe { bindings::rust_ext_test_quiet(dev.as_raw()) };
}

/// Returns whether the stack is told not to send.
pub fn is_stopped(queue: &Queue<'_>) -> bool {
    // SAFETY: The queue is valid. The field is accessed atomically, as C does.
    let state = unsafe { AtomicUsize::from_ptr(&raw mut (*queue.as_raw()).state) };
    let stopped = 1 << bindings::netdev_queue_state_t___QUEUE_STATE_DRV_XOFF;
    state.load(Ordering::Relaxed) & stopped != 0
}

/// Runs work now if it is scheduled, and waits until it has run. Not from its handler.
pub fn flush<H: Handler>(work: &Work<H>) {
    // SAFETY: The work is initialised.
    unsafe { bindings::flush_delayed_work(work.as_raw()) };
}

/// Frames that the stack has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number of frames.
    pub frames: u32,
    /// Length of the last one without its Ethernet header.
    pub len: u32,
    /// Its VLAN tag.
    pub vlan: Option<u16>,
    /// True if its checksum needn't be checked any more.
    pub checksum_unnecessary: bool,
    /// Its first byte behind the header.
    pub first: u8,
    /// Its last byte.
    pub last: u8,
}

/// Counts the frames with the tests' Ethertype that a device receives, until dropped. One at a
/// time.
pub struct Listener<'a>(&'a Device);

static LISTENERS: AtomicU32 = AtomicU32::new(0);

impl<'a> Listener<'a> {
    /// Starts to count.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is another one.
    pub fn new(dev: &'a Device) -> Result<Self> {
        LISTENERS
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| EBUSY)?;
        // SAFETY: The device is valid as long as the listener.
        unsafe { bindings::rust_ext_test_listen(dev.as_raw(), true) };
        Ok(Self(dev))
    }

    /// Returns what was received so far.
    pub fn received(&self) -> Received {
        let mut raw = bindings::rust_ext_test_received::default();
        // SAFETY: `raw` can be written.
        unsafe { bindings::rust_ext_test_received(&mut raw) };

        Received {
            frames: raw.frames,
            len: raw.len,
            vlan: (raw.vlan_present != 0).then_some(raw.vlan_tci),
            checksum_unnecessary: u32::from(raw.checksum) == bindings::CHECKSUM_UNNECESSARY,
            first: raw.first,
            last: raw.last,
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        // SAFETY: Started in `new()`; waits for receptions that are being handled.
        unsafe { bindings::rust_ext_test_listen(self.0.as_raw(), false) };
        LISTENERS.store(0, Ordering::Release);
    }
}

/// Returns the bytes of memory that are present and online, according to the nodes.
pub fn present_bytes() -> u64 {
    // SAFETY: No precondition.
    unsafe { bindings::rust_ext_test_present_bytes() }
}

/// Returns the end of the memory of all nodes.
pub fn memory_end() -> u64 {
    // SAFETY: No precondition.
    unsafe { bindings::rust_ext_test_memory_end() }
}

/// Checks whether the page at a real address is online.
pub fn is_online(address: u64) -> bool {
    // SAFETY: No precondition.
    unsafe { bindings::rust_ext_test_online(address) }
}

/// Reads the eight bytes at `offset` of a buffer through its real address.
///
/// # Errors
///
/// `EINVAL` if they aren't inside.
pub fn read_real(buffer: &ContiguousBuffer, offset: usize) -> Result<u64> {
    buffer.window().part(offset, 8)?;
    // SAFETY: In the buffer, whose real address this is.
    Ok(unsafe { bindings::rust_ext_test_read(buffer.real_address() + offset as u64) })
}

/// Writes to the start of a receive buffer through its real address, as the adapter does.
///
/// # Errors
///
/// `EINVAL` if the buffer is smaller.
pub fn deliver(buffer: &mut RxBuffer, frame: &[u8]) -> Result {
    if frame.len() > buffer.capacity() as usize {
        return Err(EINVAL);
    }
    // SAFETY: The buffer has room for the frame at this address.
    unsafe { bindings::rust_ext_test_write(buffer.address(), frame.as_ptr().cast(), frame.len()) };
    Ok(())
}

/// Calls the crash handlers of this module, as a crash does.
pub fn crash() {
    // SAFETY: Tests run one at a time: nobody registers or unregisters a handler meanwhile.
    unsafe { crash::crashed() };
}

/// Counts the drops of its owner.
pub struct DropCounter(&'static AtomicU32);

impl DropCounter {
    /// Counts in `count`.
    pub fn new(count: &'static AtomicU32) -> Self {
        Self(count)
    }
}

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
