// SPDX-License-Identifier: GPL-2.0

//! Declarations of the C functions in `rust/helpers`.
//!
//! The counterpart of `rust/helpers/helpers.h`, function by function: change both.

// `allow`, since it depends on the configuration whether C structures without fields (lockdep) are
// part of what is pointed to.
#![allow(improper_ctypes)]

use super::net::stats::{
    RxQueueStats,
    TxQueueStats, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// Declares C structures that are used through pointers only.
macro_rules! opaque {
    ($($name:ident),* $(,)?) => {
        $(
            /// A C structure whose layout is not known here.
            #[repr(C)]
            pub(crate) struct $name {
                _data: [u8; 0],
                _marker: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
            }
        )*
    };
}

opaque!(
    crash_handler,
    debugfs_file,
    device_node,
    memory_notifier,
    napi_handle,
    napi_struct,
    net_device,
    netdev_hw_addr,
    netdev_hw_addr_list,
    vio_dev,
    vio_driver_handle,
    work_handle,
);

/// `struct vio_device_id`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct vio_device_id {
    pub(crate) type_: [u8; 32],
    pub(crate) compat: [u8; 32],
}

#[repr(C)]
pub(crate) struct vio_callbacks {
    pub(crate) probe: Option<unsafe extern "C" fn(*mut vio_dev, *const vio_device_id) -> c_int>,
    pub(crate) remove: Option<unsafe extern "C" fn(*mut vio_dev)>,
    pub(crate) shutdown: Option<unsafe extern "C" fn(*mut vio_dev)>,
    pub(crate) get_desired_dma: Option<unsafe extern "C" fn(*mut vio_dev) -> c_ulong>,
}

/// `struct rust_ext_stats64`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct stats64 {
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_errors: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_dropped: u64,
    pub(crate) multicast: u64,
    pub(crate) rx_length_errors: u64,
    pub(crate) rx_crc_errors: u64,
    pub(crate) rx_frame_errors: u64,
    pub(crate) rx_fifo_errors: u64,
    pub(crate) rx_missed_errors: u64,
    pub(crate) rx_over_errors: u64,
}

/// `struct rust_ext_netdev_callbacks`.
#[repr(C)]
pub(crate) struct netdev_callbacks {
    pub(crate) open: Option<unsafe extern "C" fn(*mut net_device) -> c_int>,
    pub(crate) stop: Option<unsafe extern "C" fn(*mut net_device) -> c_int>,
    pub(crate) start_xmit:
        Option<unsafe extern "C" fn(*mut bindings::sk_buff, *mut net_device) -> c_int>,
    pub(crate) features_check:
        Option<unsafe extern "C" fn(*mut bindings::sk_buff, *mut net_device, u64) -> u64>,
    pub(crate) fix_features: Option<unsafe extern "C" fn(*mut net_device, u64) -> u64>,
    pub(crate) set_features: Option<unsafe extern "C" fn(*mut net_device, u64) -> c_int>,
    pub(crate) set_rx_mode: Option<
        unsafe extern "C" fn(
            *mut net_device,
            *mut netdev_hw_addr_list,
            *mut netdev_hw_addr_list,
        ) -> c_int,
    >,
    pub(crate) set_mac_address: Option<unsafe extern "C" fn(*mut net_device, *mut c_void) -> c_int>,
    pub(crate) change_mtu: Option<unsafe extern "C" fn(*mut net_device, c_int) -> c_int>,
    pub(crate) tx_timeout: Option<unsafe extern "C" fn(*mut net_device, c_uint)>,
    pub(crate) get_stats64: Option<unsafe extern "C" fn(*mut net_device, *mut stats64)>,
    pub(crate) rx_queue_stats:
        Option<unsafe extern "C" fn(*mut net_device, u16, *mut RxQueueStats)>,
    pub(crate) tx_queue_stats:
        Option<unsafe extern "C" fn(*mut net_device, u16, *mut TxQueueStats)>,
    pub(crate) vlan_rx_add_vid: Option<unsafe extern "C" fn(*mut net_device, u16, u16) -> c_int>,
    pub(crate) vlan_rx_kill_vid: Option<unsafe extern "C" fn(*mut net_device, u16, u16) -> c_int>,
    pub(crate) deferred: Option<unsafe extern "C" fn(*mut net_device, u32)>,
}

/// `enum rust_ext_memory_event`.
pub(crate) const MEMORY_GOING_ONLINE: u32 = 0;
/// `enum rust_ext_memory_event`.
pub(crate) const MEMORY_CANCEL_ONLINE: u32 = 1;
/// `enum rust_ext_memory_event`.
pub(crate) const MEMORY_ONLINE: u32 = 2;
/// `enum rust_ext_memory_event`.
pub(crate) const MEMORY_GOING_OFFLINE: u32 = 3;
/// `enum rust_ext_memory_event`.
pub(crate) const MEMORY_CANCEL_OFFLINE: u32 = 4;
/// `enum rust_ext_memory_event`.
pub(crate) const MEMORY_OFFLINE: u32 = 5;

/// `enum dma_data_direction`.
pub(crate) const DMA_BIDIRECTIONAL: u32 = 0;
/// `enum dma_data_direction`.
pub(crate) const DMA_TO_DEVICE: u32 = 1;
/// `enum dma_data_direction`.
pub(crate) const DMA_FROM_DEVICE: u32 = 2;
/// `RUST_EXT_DMA_ERROR`.
pub(crate) const DMA_ERROR: u64 = !0;

/// `struct rust_ext_rx_mode`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct rx_mode {
    pub(crate) promiscuous: u8,
    pub(crate) all_multicast: u8,
}

/// `IFNAMSIZ`.
pub(crate) const NAME_SIZE: usize = 16;

/// `RUST_EXT_MAX_SEGMENTS`.
pub(crate) const MAX_SEGMENTS: usize = 18;

/// `RUST_EXT_GSO_TCPV4`.
pub(crate) const GSO_TCPV4: u8 = 1;
/// `RUST_EXT_GSO_TCPV6`.
pub(crate) const GSO_TCPV6: u8 = 2;
/// `RUST_EXT_GSO_OTHER`.
pub(crate) const GSO_OTHER: u8 = 4;

/// `struct rust_ext_segment`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct segment {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) reserved: u32,
}

/// `struct rust_ext_gso`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct gso {
    pub(crate) header_len: u32,
    pub(crate) size: u16,
    pub(crate) segments: u16,
    pub(crate) kind: u8,
}

/// `struct rust_ext_ip`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct ip {
    pub(crate) ethertype: u16,
    pub(crate) network_offset: u16,
    pub(crate) protocol: u8,
    pub(crate) is_fragment: u8,
}

/// `enum rust_ext_rx_checksum`.
pub(crate) const CHECKSUM_NONE: u8 = 0;
/// `enum rust_ext_rx_checksum`.
pub(crate) const CHECKSUM_UNNECESSARY: u8 = 1;
/// `enum rust_ext_rx_checksum`.
pub(crate) const CHECKSUM_COMPLETE: u8 = 2;

/// `struct rust_ext_rx_meta`.
#[repr(C)]
pub(crate) struct rx_meta {
    pub(crate) len: u32,
    pub(crate) checksum: u16,
    pub(crate) vlan_tci: u16,
    pub(crate) queue: u16,
    pub(crate) checksum_kind: u8,
    pub(crate) vlan_present: u8,
}

extern "C" {
    // Offsets, `const` in C.
    #[link_name = "rust_ext_netdev_data_offset"]
    pub(crate) static NETDEV_DATA_OFFSET: usize;
    #[link_name = "rust_ext_napi_context_offset"]
    pub(crate) static NAPI_CONTEXT_OFFSET: usize;

    pub(crate) fn rust_ext_vio_register(
        name: *const c_char,
        ids: *const vio_device_id,
        callbacks: *const vio_callbacks,
        owner: *mut bindings::module,
    ) -> *mut vio_driver_handle;
    pub(crate) fn rust_ext_vio_unregister(driver: *mut vio_driver_handle);
    pub(crate) fn rust_ext_vio_device(vdev: *mut vio_dev) -> *mut bindings::device;
    pub(crate) fn rust_ext_vio_unit_address(vdev: *const vio_dev) -> u32;
    pub(crate) fn rust_ext_vio_irq(vdev: *const vio_dev) -> u32;
    pub(crate) fn rust_ext_vio_cmo_charged(vdev: *const vio_dev) -> bool;
    pub(crate) fn rust_ext_vio_cmo_entitled(vdev: *const vio_dev) -> usize;
    pub(crate) fn rust_ext_vio_cmo_allocated(vdev: *const vio_dev) -> usize;
    pub(crate) fn rust_ext_vio_cmo_desired(vdev: *const vio_dev) -> usize;
    pub(crate) fn rust_ext_vio_cmo_set_desired(vdev: *mut vio_dev, desired: usize);
    pub(crate) fn rust_ext_dma_map(
        dev: *mut bindings::device,
        address: u64,
        len: usize,
        direction: u32,
    ) -> u64;
    pub(crate) fn rust_ext_dma_unmap(
        dev: *mut bindings::device,
        handle: u64,
        len: usize,
        direction: u32,
    );
    pub(crate) fn rust_ext_of_node_get(node: *mut device_node) -> *mut device_node;
    pub(crate) fn rust_ext_of_node_put(node: *mut device_node);
    pub(crate) fn rust_ext_vio_of_node(vdev: *mut vio_dev) -> *mut device_node;
    pub(crate) fn rust_ext_of_name(node: *const device_node) -> *const c_char;
    pub(crate) fn rust_ext_of_is_type(node: *const device_node, type_: *const c_char) -> bool;
    pub(crate) fn rust_ext_hcall9(opcode: c_ulong, args: *const u64, rets: *mut u64) -> c_long;
    pub(crate) fn rust_ext_long_busy_msecs(status: c_long) -> u32;
    pub(crate) fn rust_ext_ioremap(base: u64, len: usize) -> *mut c_void;
    pub(crate) fn rust_ext_iounmap(addr: *mut c_void);
    pub(crate) fn rust_ext_out_be64(addr: *mut c_void, be_value: u64);
    pub(crate) fn rust_ext_in_be64(addr: *const c_void) -> u64;
    pub(crate) fn rust_ext_walk_online_sections(
        callback: unsafe extern "C" fn(*mut c_void, u64, u64) -> c_int,
        context: *mut c_void,
    ) -> c_int;
    pub(crate) fn rust_ext_memory_notifier_register(
        callback: unsafe extern "C" fn(*mut c_void, u32, u64, u64) -> c_int,
        context: *mut c_void,
    ) -> *mut memory_notifier;
    pub(crate) fn rust_ext_memory_notifier_unregister(mn: *mut memory_notifier);
    pub(crate) fn rust_ext_alloc_pages_exact(len: usize, real_address: *mut u64) -> *mut c_void;
    pub(crate) fn rust_ext_free_pages_exact(addr: *mut c_void, len: usize);
    pub(crate) fn rust_ext_is_dump_kernel() -> bool;
    pub(crate) fn rust_ext_crash_register(
        callback: unsafe extern "C" fn(*const c_void),
        context: *const c_void,
    ) -> *mut crash_handler;
    pub(crate) fn rust_ext_crash_unregister(handler: *mut crash_handler);
    pub(crate) fn rust_ext_debugfs_create(
        dir: *const c_char,
        name: *const c_char,
        show: unsafe extern "C" fn(*mut bindings::seq_file, *const c_void),
        context: *const c_void,
    ) -> *mut debugfs_file;
    pub(crate) fn rust_ext_debugfs_remove(file: *mut debugfs_file);
    pub(crate) fn rust_ext_work_alloc(
        callback: unsafe extern "C" fn(*mut c_void),
        context: *mut c_void,
    ) -> *mut work_handle;
    pub(crate) fn rust_ext_work_free(work: *mut work_handle);
    pub(crate) fn rust_ext_work_schedule(work: *mut work_handle);
    pub(crate) fn rust_ext_work_schedule_after(work: *mut work_handle, msecs: u64);
    pub(crate) fn rust_ext_work_flush(work: *mut work_handle);
    pub(crate) fn rust_ext_work_cancel(work: *mut work_handle);
    pub(crate) fn rust_ext_netdev_alloc(
        data_len: usize,
        data_align: usize,
        txqs: u16,
        rxqs: u16,
        parent: *mut bindings::device,
        callbacks: *const netdev_callbacks,
    ) -> *mut net_device;
    pub(crate) fn rust_ext_netdev_unused(dev: *const net_device) -> bool;
    pub(crate) fn rust_ext_netdev_free(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_register(dev: *mut net_device) -> c_int;
    pub(crate) fn rust_ext_netdev_unregister(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_stop_deferred(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_defer(dev: *mut net_device, events: u32);
    pub(crate) fn rust_ext_netdev_defer_after(dev: *mut net_device, events: u32, msecs: u64);
    pub(crate) fn rust_ext_netdev_hold(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_put(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_set_name(dev: *mut net_device, name: *const c_char) -> c_int;
    pub(crate) fn rust_ext_netdev_name(dev: *const net_device, name: *mut c_char);
    pub(crate) fn rust_ext_netdev_set_mac(dev: *mut net_device, addr: *const u8);
    pub(crate) fn rust_ext_netdev_random_mac(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_mac(dev: *const net_device, addr: *mut u8);
    pub(crate) fn rust_ext_netdev_prepare_mac(
        dev: *mut net_device,
        addr: *mut c_void,
        mac: *mut u8,
    ) -> c_int;
    pub(crate) fn rust_ext_netdev_commit_mac(dev: *mut net_device, addr: *mut c_void);
    pub(crate) fn rust_ext_netdev_set_mtu_range(dev: *mut net_device, mtu: u32, min: u32, max: u32);
    pub(crate) fn rust_ext_netdev_mtu(dev: *const net_device) -> u32;
    pub(crate) fn rust_ext_netdev_commit_mtu(dev: *mut net_device, mtu: u32);
    pub(crate) fn rust_ext_netdev_set_features(dev: *mut net_device, features: u64);
    pub(crate) fn rust_ext_netdev_set_hw_features(dev: *mut net_device, features: u64);
    pub(crate) fn rust_ext_netdev_set_vlan_features(dev: *mut net_device, features: u64);
    pub(crate) fn rust_ext_netdev_get_features(dev: *const net_device) -> u64;
    pub(crate) fn rust_ext_netdev_vlan_features_check(
        skb: *mut bindings::sk_buff,
        features: u64,
    ) -> u64;
    pub(crate) fn rust_ext_netdev_update_features(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_set_tso_max(dev: *mut net_device, size: u32, segs: u16);
    pub(crate) fn rust_ext_netdev_set_watchdog(dev: *mut net_device, msecs: u64);
    pub(crate) fn rust_ext_netdev_set_dev_port(dev: *mut net_device, port: u16);
    pub(crate) fn rust_ext_netdev_set_ethtool_ops(
        dev: *mut net_device,
        ops: *const bindings::ethtool_ops,
    );
    pub(crate) fn rust_ext_netdev_set_real_queues(
        dev: *mut net_device,
        txqs: u16,
        rxqs: u16,
    ) -> c_int;
    pub(crate) fn rust_ext_netdev_real_tx_queues(dev: *const net_device) -> u16;
    pub(crate) fn rust_ext_netdev_running(dev: *const net_device) -> bool;
    pub(crate) fn rust_ext_netdev_carrier(dev: *mut net_device, on: bool);
    pub(crate) fn rust_ext_netdev_carrier_ok(dev: *const net_device) -> bool;
    pub(crate) fn rust_ext_netdev_notify_peers(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_detach(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_attach(dev: *mut net_device);
    pub(crate) fn rust_ext_netdev_rx_mode(dev: *const net_device, mode: *mut rx_mode);
    pub(crate) fn rust_ext_hw_addr_next(
        list: *const netdev_hw_addr_list,
        cursor: *mut *const netdev_hw_addr,
    ) -> *const u8;
    pub(crate) fn rust_ext_hw_addr_count(list: *const netdev_hw_addr_list) -> c_int;
    pub(crate) fn rust_ext_tx_start_all(dev: *mut net_device);
    pub(crate) fn rust_ext_tx_stop_all(dev: *mut net_device);
    pub(crate) fn rust_ext_tx_wake_all(dev: *mut net_device);
    pub(crate) fn rust_ext_tx_disable(dev: *mut net_device);
    pub(crate) fn rust_ext_tx_stop(dev: *mut net_device, queue: u16);
    pub(crate) fn rust_ext_tx_start(dev: *mut net_device, queue: u16);
    pub(crate) fn rust_ext_tx_wake(dev: *mut net_device, queue: u16);
    pub(crate) fn rust_ext_tx_stopped(dev: *mut net_device, queue: u16) -> bool;
    pub(crate) fn rust_ext_tx_reset(dev: *mut net_device, queue: u16);
    pub(crate) fn rust_ext_tx_lock(dev: *mut net_device, queue: u16) -> bool;
    pub(crate) fn rust_ext_tx_unlock(dev: *mut net_device, queue: u16);
    pub(crate) fn rust_ext_tx_sent(
        dev: *mut net_device,
        queue: u16,
        skb: *mut bindings::sk_buff,
    ) -> bool;
    pub(crate) fn rust_ext_tx_copied(
        dev: *mut net_device,
        queue: u16,
        skb: *mut bindings::sk_buff,
    ) -> bool;
    pub(crate) fn rust_ext_tx_more() -> bool;
    pub(crate) fn rust_ext_tx_completed(
        dev: *mut net_device,
        queue: u16,
        packets: u32,
        bytes: u32,
        may_wake: bool,
    );
    pub(crate) fn rust_ext_rtnl_lock();
    pub(crate) fn rust_ext_rtnl_unlock();
    pub(crate) fn rust_ext_napi_add(
        dev: *mut net_device,
        index: u16,
        poll: unsafe extern "C" fn(*mut napi_struct, c_int) -> c_int,
        context: *mut c_void,
    ) -> *mut napi_handle;
    pub(crate) fn rust_ext_napi_del(napi: *mut napi_handle);
    pub(crate) fn rust_ext_napi_link(napi: *mut napi_handle, queue: u16, irq: u32) -> bool;
    pub(crate) fn rust_ext_napi_unlink(napi: *mut napi_handle, queue: u16);
    pub(crate) fn rust_ext_napi_enable(napi: *mut napi_handle);
    pub(crate) fn rust_ext_napi_disable(napi: *mut napi_handle);
    pub(crate) fn rust_ext_napi_schedule(napi: *mut napi_handle);
    pub(crate) fn rust_ext_napi_complete(napi: *mut napi_struct, done: c_int) -> bool;
    pub(crate) fn rust_ext_skb_ip(skb: *const bindings::sk_buff, ip: *mut ip);
    pub(crate) fn rust_ext_skb_gso(skb: *const bindings::sk_buff, gso: *mut gso);
    pub(crate) fn rust_ext_skb_segments(
        skb: *const bindings::sk_buff,
        segments: *mut segment,
    ) -> u32;
    pub(crate) fn rust_ext_skb_copy_bits(
        skb: *const bindings::sk_buff,
        offset: u32,
        to: *mut c_void,
        len: u32,
    ) -> c_int;
    pub(crate) fn rust_ext_skb_linearize(skb: *mut bindings::sk_buff) -> c_int;
    pub(crate) fn rust_ext_skb_pad(skb: *mut bindings::sk_buff, len: u32) -> c_int;
    pub(crate) fn rust_ext_skb_checksum_help(skb: *mut bindings::sk_buff) -> c_int;
    pub(crate) fn rust_ext_skb_free(skb: *mut bindings::sk_buff);
    pub(crate) fn rust_ext_skb_consume(skb: *mut bindings::sk_buff);
    pub(crate) fn rust_ext_skb_napi_consume(skb: *mut bindings::sk_buff, budget: c_int);
    pub(crate) fn rust_ext_skb_alloc(dev: *mut net_device, len: u32) -> *mut bindings::sk_buff;
    pub(crate) fn rust_ext_skb_receive(
        napi: *mut napi_struct,
        skb: *mut bindings::sk_buff,
        meta: *const rx_meta,
    ) -> c_int;
    pub(crate) fn rust_ext_skb_receive_copy(
        napi: *mut napi_struct,
        data: *const c_void,
        meta: *const rx_meta,
    ) -> c_int;
}
