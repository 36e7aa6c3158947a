// SPDX-License-Identifier: GPL-2.0

use super::*;

/// QEMU checks its own pointers; the model does not rely on it.
#[test]
fn null_pointers() {
    let null = ptr::null_mut();
    // SAFETY: null is legal for every pointer.
    unsafe {
        assert!(ehea_model_create(ptr::null(), ptr::null(), null).is_null());
        let none = ptr::null_mut();
        ehea_model_destroy(none);
        ehea_model_reset(none);
        assert!(ehea_model_hcall(none, 0x278, ptr::null_mut()) < 0);
        assert_eq!(ehea_model_mmio_read(none, 0, 8), 0);
        ehea_model_mmio_write(none, 0, 8, 0);
        ehea_model_run(none, 0);
        assert!(!ehea_model_can_rx(none, 0));
        assert!(ehea_model_rx_frame(none, 0, ptr::null(), 60));
        ehea_model_tce_put(none, 0, 1);
        ehea_model_tce_clear(none);
        assert_eq!(ehea_model_tce_hcall(none, 0x20), 0);
        assert!(ehea_model_stats_json(none).is_null());
        assert!(ehea_model_fault_add(none, ptr::null()).is_null());
        assert!(ehea_model_port_link(none, c"{}".as_ptr()).is_null());
    }
}
