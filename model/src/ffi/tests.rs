// SPDX-License-Identifier: GPL-2.0

use std::cell::{Cell, RefCell};

use super::*;
use crate::stats::Stats;

/// QEMU checks its own pointers, but the model does not rely on that.
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
        assert!(ehea_model_tce_hcall(none, 0x20) < 0);
        assert!(ehea_model_in_use(none));
        assert!(!ehea_model_port_give_back(none, 0));
        ehea_model_port_take_back(none, 0);
        assert!(ehea_model_stats_json(none).is_null());
        assert_eq!(refusal(ehea_model_fault_add(none, ptr::null())), BUSY_TEXT);
        assert_eq!(
            refusal(ehea_model_port_link(none, c"{}".as_ptr())),
            BUSY_TEXT
        );
    }
}

/// A call of the model that returns its result as text.
type Call = fn(*mut CModel) -> String;

/// A device whose clock calls into the model once when it is asked for the time.
struct Device {
    model: Cell<*mut CModel>,
    reenter: Cell<Option<Call>>,
    answer: RefCell<String>,
    traces: RefCell<Vec<String>>,
}

/// # Safety
///
/// `ctx` points to the live [`Device`] that the model was created with.
unsafe fn device<'a>(ctx: *mut c_void) -> &'a Device {
    // SAFETY: this function's contract; nobody has an exclusive reference.
    unsafe { &*ctx.cast::<Device>() }
}

unsafe extern "C" fn now_ns(ctx: *mut c_void) -> u64 {
    // SAFETY: called by the model with its context.
    let device = unsafe { device(ctx) };
    if let Some(reenter) = device.reenter.take() {
        let answer = reenter(device.model.get());
        device.answer.replace(answer);
    }
    0
}

unsafe extern "C" fn trace(ctx: *mut c_void, _level: u32, text: *const c_char, len: usize) {
    // SAFETY: called by the model with its context and a text of that length.
    let (device, text) = unsafe {
        (
            device(ctx),
            std::slice::from_raw_parts(text.cast::<u8>(), len),
        )
    };
    let text = String::from_utf8_lossy(text).into_owned();
    device.traces.borrow_mut().push(text);
}

const HOST: CHost = {
    unsafe extern "C" fn mem_read(_: *mut c_void, _: u64, _: *mut c_void, _: u64) -> i32 {
        -1
    }
    unsafe extern "C" fn mem_write(_: *mut c_void, _: u64, _: *const c_void, _: u64) -> i32 {
        -1
    }
    unsafe extern "C" fn mem_write_u64_be(_: *mut c_void, _: u64, _: u64) -> i32 {
        -1
    }
    unsafe extern "C" fn mem_is_ram(_: *mut c_void, _: u64, _: u64) -> bool {
        false
    }
    unsafe extern "C" fn ram_size(_: *mut c_void) -> u64 {
        0
    }
    unsafe extern "C" fn irq_alloc(_: *mut c_void) -> i64 {
        -1
    }
    unsafe extern "C" fn irq(_: *mut c_void, _: u32) {}
    unsafe extern "C" fn timer_set(_: *mut c_void, _: u64) {}
    unsafe extern "C" fn tx_frame(_: *mut c_void, _: u32, _: *const c_void, _: usize) -> bool {
        true
    }
    unsafe extern "C" fn guest_is_idle(_: *mut c_void) -> bool {
        true
    }
    unsafe extern "C" fn trace_enabled(_: *mut c_void, _: u32) -> bool {
        true
    }
    CHost {
        mem_read: Some(mem_read),
        mem_write: Some(mem_write),
        mem_write_u64_be: Some(mem_write_u64_be),
        mem_is_ram: Some(mem_is_ram),
        ram_size: Some(ram_size),
        irq_alloc: Some(irq_alloc),
        irq_free: Some(irq),
        irq_pulse: Some(irq),
        guest_is_idle: Some(guest_is_idle),
        now_ns: Some(now_ns),
        timer_set: Some(timer_set),
        tx_frame: Some(tx_frame),
        rx_flush: Some(irq),
        trace_enabled: Some(trace_enabled),
        trace: Some(trace),
    }
};

fn config() -> CConfig {
    let mut mac = [[0; 8]; MAX_PORTS];
    mac[0] = [2, 0, 0, 0, 0, 1, 0, 0];
    CConfig {
        abi_version: ABI_VERSION,
        num_ports: 1,
        adapter_handle: 1,
        mmio_base: 0,
        mmio_slots: 8,
        max_eqs: 8,
        max_qps: 2,
        max_mrs: 1,
        mr_page_sizes: 0x8000_0000,
        num_default_qps: 1,
        flow_control: 1,
        cmo: 1,
        disabled_drops: 0,
        temper: 0,
        temper_seed: 0,
        reraise_ms: 20,
        reserved: 0,
        mac,
    }
}

/// Calls `outer`, and `inner` while `outer` runs. Returns the answer to `inner`, the statistics and
/// the traces.
fn nested(outer: fn(*mut CModel), inner: Call) -> (String, Stats, Vec<String>) {
    let device = Device {
        model: Cell::new(ptr::null_mut()),
        reenter: Cell::new(None),
        answer: RefCell::default(),
        traces: RefCell::default(),
    };
    // SAFETY: the functions of `HOST` take a `Device`, which outlives the model; the model is used
    // until it is destroyed.
    let stats = unsafe {
        let ctx = ptr::from_ref(&device).cast_mut().cast();
        let model = ehea_model_create(&config(), &HOST, ctx);
        assert!(!model.is_null());
        device.model.set(model);
        device.reenter.set(Some(inner));
        outer(model);
        assert!(device.reenter.take().is_none(), "nothing was called inside");
        let json = CStr::from_ptr(ehea_model_stats_json(model));
        let stats = serde_json::from_slice(json.to_bytes()).unwrap();
        ehea_model_destroy(model);
        stats
    };
    let traces = device.traces.take();
    (device.answer.take(), stats, traces)
}

/// Makes a closure that calls a function of the interface with the model of [`nested`].
macro_rules! call {
    ($model:ident => $call:expr) => {
        |$model| {
            // SAFETY: the model is live, and the other arguments are what the header asks for.
            unsafe { $call }
        }
    };
    ($model:ident => $call:expr, $text:expr) => {
        |$model| {
            // SAFETY: as above.
            $text(unsafe { $call })
        }
    };
}

/// A call while another one runs has no effect and is counted, traced and answered.
#[test]
fn reentry_is_answered() {
    let outer: [fn(*mut CModel); 4] = [
        call!(m => ehea_model_mmio_write(m, 0, 8, 0)),
        call!(m => ehea_model_run(m, 0)),
        call!(m => ehea_model_reset(m)),
        call!(m => ehea_model_ram_removed(m, 0, 4096)),
    ];
    let inner: [(Call, &str); 20] = [
        (call!(m => ehea_model_mmio_read(m, 0, 8), text_of), "0"),
        (call!(m => ehea_model_mmio_write(m, 0, 4, 0), text_of), "()"),
        (
            call!(m => ehea_model_hcall(m, 0x278, &mut [0; 9]), text_of),
            "-1",
        ),
        (call!(m => ehea_model_run(m, 0), text_of), "()"),
        (call!(m => ehea_model_reset(m), text_of), "()"),
        (call!(m => ehea_model_destroy(m), text_of), "()"),
        (call!(m => ehea_model_can_rx(m, 0), text_of), "false"),
        (
            call!(m => ehea_model_rx_frame(m, 0, [0; 60].as_ptr(), 60), text_of),
            "false",
        ),
        (call!(m => ehea_model_tx_ready(m, 0), text_of), "()"),
        (call!(m => ehea_model_set_link(m, 0, false), text_of), "()"),
        (
            call!(m => ehea_model_ram_removed(m, 0, 4096), text_of),
            "()",
        ),
        (
            call!(m => ehea_model_ram_returned(m, 0, 4096), text_of),
            "()",
        ),
        (call!(m => ehea_model_tce_put(m, 0, 3), text_of), "()"),
        (call!(m => ehea_model_tce_clear(m), text_of), "()"),
        (call!(m => ehea_model_tce_hcall(m, 0x20), text_of), "-1"),
        (
            call!(m => ehea_model_stats_json(m).is_null(), text_of),
            "true",
        ),
        (
            call!(m => ehea_model_faults_json(m).is_null(), text_of),
            "true",
        ),
        (call!(m => ehea_model_fault_clear(m), text_of), "()"),
        (
            call!(m => ehea_model_fault_add(m, c"{}".as_ptr()), refusal),
            BUSY_TEXT,
        ),
        (
            call!(m => ehea_model_port_link(m, c"{}".as_ptr()), refusal),
            BUSY_TEXT,
        ),
    ];
    for (n, outer) in outer.into_iter().enumerate() {
        for (i, &(inner, expected)) in inner.iter().enumerate() {
            let (answer, stats, traces) = nested(outer, inner);
            assert_eq!(answer, expected, "entry {i} in {n}");
            assert_eq!(stats.reentries, 1, "entry {i} in {n}");
            assert_eq!(stats.ignored_mmio, u64::from(n == 0), "entry {i} in {n}");
            assert!(stats.ports.iter().all(|port| port.link), "entry {i} in {n}");
            let found = traces.iter().filter(|text| text.contains("from inside"));
            assert_eq!(found.count(), 1, "entry {i} in {n}: {traces:?}");
        }
    }
}

const BUSY_TEXT: &str = "the adapter cannot be called now";

fn text_of(answer: impl std::fmt::Debug) -> String {
    format!("{answer:?}")
}

fn refusal(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the functions return null or a text that lives until the next call.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
