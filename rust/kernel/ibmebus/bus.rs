// SPDX-License-Identifier: GPL-2.0

//! The bus, in kernels that have none.
//!
//! C header: `include/linux/device/bus.h`

use crate::kernel_ext::{
    attribute::{
        attribute,
        group,
        readable,
        Constant,
        DEVSPEC, //
    },
    bindings,
    of::Node, //
};
use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicBool,
        Ordering::Relaxed, //
    }, //
};
use kernel::{
    container_of,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    prelude::*,
    str::{
        as_char_ptr_in_const_context,
        CString, //
    }, //
};

/// Nodes of which the bus makes devices.
const COMPATIBLE: &CStr = c"IBM,lhea";

/// True if the bus was registered since the module was loaded.
static USED: AtomicBool = AtomicBool::new(false);

kernel::sync::global_lock! {
    // SAFETY: Initialised in `Bus::new()`, before the bus has files.
    /// Device below which those of the bus are. The lock is held while one comes or goes by a user's wish.
    unsafe(uninit) static PARENT: Mutex<Option<Parent>> = None;
}

/// Device below which those of the bus are.
///
/// # Invariants
///
/// It is registered by `root_device_register()`, and unregistered on drop only.
struct Parent(NonNull<bindings::device>);

// SAFETY: Devices aren't bound to a thread.
unsafe impl Send for Parent {}

impl Drop for Parent {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::root_device_unregister(self.0.as_ptr()) };
    }
}

/// The registered bus. Without it, there are no devices; they are removed on drop.
///
/// # Invariants
///
/// The bus is registered, and there is no other such object.
pub(super) struct Bus(());

impl Bus {
    /// Returns the bus's structure.
    pub(super) fn raw() -> *const bindings::bus_type {
        &raw const TYPE.0
    }

    /// Registers the bus, with the devices that the device tree has. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if that was done before; `EEXIST` if somebody else has registered a bus of this name; `ENOMEM`.
    pub(super) fn new(module: &'static ThisModule) -> Result<Self> {
        if USED.swap(true, Relaxed) {
            return Err(EBUSY);
        }
        // SAFETY: Called once, as just checked.
        unsafe { PARENT.init() };
        // SAFETY: The structure is static, and suits the devices that `create()` makes.
        to_result(unsafe { bindings::bus_register(Self::raw()) })?;
        // INVARIANT: Just registered, for the first time.
        let this = Self(());
        // SAFETY: The name is a string; the module is this one.
        let parent = from_err_ptr(unsafe {
            bindings::__root_device_register(NAME.as_char_ptr(), module.as_ptr())
        })?;
        // INVARIANT: Just registered.
        let parent = Parent(NonNull::new(parent).ok_or(ENOMEM)?);
        let mut place = PARENT.lock();
        let parent = place.insert(parent);
        let root = Node::root().ok_or(ENODEV)?;
        for node in root.children().filter(is_adapter) {
            if let Err(error) = create(&node, parent) {
                pr_err!("ibmebus: no device for {}: {:?}\n", node, error);
            }
        }
        drop(place);
        for file in FILES {
            // SAFETY: The bus is registered. The description is static.
            to_result(unsafe { bindings::bus_create_file(Self::raw(), file().cast_mut()) })?;
        }
        Ok(this)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // Nobody makes devices any more when the files are gone.
        for file in FILES {
            // SAFETY: The bus is registered. A file that isn't there is ignored.
            unsafe { bindings::bus_remove_file(Self::raw(), file().cast_mut()) };
        }
        let parent = PARENT.lock().take();
        if let Some(Parent(raw)) = &parent {
            // SAFETY: The device is registered. All below it are devices of the bus.
            unsafe {
                bindings::device_for_each_child(
                    raw.as_ptr(),
                    core::ptr::null_mut(),
                    Some(unregister),
                )
            };
        }
        drop(parent);
        // SAFETY: By the type invariant. It has no devices any more; drivers refer to it only as long as there is `self`.
        unsafe { bindings::bus_unregister(Self::raw()) };
    }
}

/// # Safety
///
/// `dev` is a registered device of the bus.
unsafe extern "C" fn unregister(dev: *mut bindings::device, _data: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement.
    unsafe { bindings::device_unregister(dev) };
    0
}

/// Checks whether a node is that of an adapter.
fn is_adapter(node: &Node) -> bool {
    node.is_compatible(COMPATIBLE)
}

/// Makes a device of a node. If there is a driver, it is bound to it.
///
/// # Errors
///
/// `ENOMEM`; `EEXIST` if there is a device of the same name.
fn create(node: &Node, parent: &Parent) -> Result {
    // SAFETY: Node and parent are valid; the name is made from the node.
    let raw =
        unsafe { bindings::of_device_alloc(node.as_ptr(), core::ptr::null(), parent.0.as_ptr()) };
    let raw = NonNull::new(raw).ok_or(ENOMEM)?.as_ptr();
    // SAFETY: The device is valid, ours, and not registered yet. The bus is static.
    to_result(unsafe {
        (*raw).id = bindings::PLATFORM_DEVID_NONE;
        (*raw).dev.bus = Bus::raw();
        bindings::device_add(&raw mut (*raw).dev)
    })
    .inspect_err(|_| {
        // SAFETY: The only reference is given away.
        unsafe { bindings::platform_device_put(raw) }
    })
}

/// Returns a reference to the device of `node`, or NULL.
fn find(node: &Node) -> *mut bindings::device {
    // SAFETY: The bus is registered, as there are its files. The function takes a node.
    unsafe {
        bindings::bus_find_device(
            Bus::raw(),
            core::ptr::null_mut(),
            node.as_ptr().cast_const().cast(),
            Some(bindings::device_match_of_node),
        )
    }
}

/// Returns the adapter's node whose path a user has written.
///
/// # Errors
///
/// `ENODEV` if there is none.
///
/// # Safety
///
/// `count` bytes can be read from `buf`.
unsafe fn adapter_at(buf: *const c_char, count: usize) -> Result<Node> {
    // SAFETY: By the safety requirement.
    let path = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), count) };
    let path = path.strip_suffix(b"\n").unwrap_or(path);
    let path = core::str::from_utf8(path).map_err(|_| EINVAL)?;
    let node = Node::at(&CString::try_from_fmt(fmt!("{path}"))?);
    node.filter(is_adapter).ok_or_else(|| {
        pr_warn!("ibmebus: {}: no node of an adapter\n", path);
        ENODEV
    })
}

/// Makes a device of the node whose path is written.
///
/// # Safety
///
/// As for `bus_attribute::store`.
unsafe extern "C" fn store_probe(
    _bus: *const bindings::bus_type,
    buf: *const c_char,
    count: usize,
) -> isize {
    from_result(|| {
        // SAFETY: By the safety requirement.
        let node = unsafe { adapter_at(buf, count) }?;
        let parent = PARENT.lock();
        let dev = find(&node);
        if !dev.is_null() {
            // SAFETY: The reference is ours.
            unsafe { bindings::put_device(dev) };
            pr_warn!("ibmebus: {} has a device already\n", node);
            return Err(EEXIST);
        }
        create(&node, parent.as_ref().ok_or(ENODEV)?)?;
        // CAST: At most a page.
        Ok(count as isize)
    })
}

/// Removes the device of the node whose path is written.
///
/// # Safety
///
/// As for `bus_attribute::store`.
unsafe extern "C" fn store_remove(
    _bus: *const bindings::bus_type,
    buf: *const c_char,
    count: usize,
) -> isize {
    from_result(|| {
        // SAFETY: By the safety requirement.
        let node = unsafe { adapter_at(buf, count) }?;
        let parent = PARENT.lock();
        let dev = find(&node);
        if dev.is_null() {
            pr_warn!("ibmebus: {} has no device\n", node);
            return Err(ENODEV);
        }
        // SAFETY: The device is registered: it goes under the lock only, or when the bus has no files any more. The
        // reference is ours.
        unsafe {
            bindings::device_unregister(dev);
            bindings::put_device(dev);
        }
        drop(parent);
        // CAST: At most a page.
        Ok(count as isize)
    })
}

const fn writable(
    name: &'static CStr,
    store: unsafe extern "C" fn(*const bindings::bus_type, *const c_char, usize) -> isize,
) -> bindings::bus_attribute {
    bindings::bus_attribute {
        attr: attribute(name, 0o200),
        store: Some(store),
        ..pin_init::zeroed()
    }
}

static PROBE: Constant<bindings::bus_attribute> = Constant(writable(c"probe", store_probe));
static REMOVE: Constant<bindings::bus_attribute> = Constant(writable(c"remove", store_remove));

/// Files of the bus. They are made last and removed first.
const FILES: [fn() -> *const bindings::bus_attribute; 2] =
    [|| &raw const PROBE.0, || &raw const REMOVE.0];

static NAME_OF_NODE: Constant<bindings::device_attribute> = Constant(readable(c"name", show_name));
static MODALIAS: Constant<bindings::device_attribute> =
    Constant(readable(c"modalias", show_modalias));

/// # Safety
///
/// As for `show_devspec()`.
unsafe extern "C" fn show_name(
    dev: *mut bindings::device,
    _attribute: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: By the safety requirement. The format takes a pointer to a node.
    let len = unsafe { bindings::sysfs_emit(buf, c"%pOFn\n".as_char_ptr(), (*dev).of_node) };
    // CAST: At most a page.
    len as isize
}

/// # Safety
///
/// As for `show_devspec()`.
unsafe extern "C" fn show_modalias(
    dev: *mut bindings::device,
    _attribute: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: By the safety requirement. `buf` has room for a page.
    unsafe { bindings::of_device_modalias(dev, buf, bindings::PAGE_SIZE as isize) }
}

static ATTRIBUTES: Constant<[*const bindings::attribute; 4]> = Constant([
    &raw const DEVSPEC.0.attr,
    &raw const NAME_OF_NODE.0.attr,
    &raw const MODALIAS.0.attr,
    core::ptr::null(),
]);

static GROUP: Constant<bindings::attribute_group> = Constant(group(&ATTRIBUTES.0));

static GROUPS: Constant<[*const bindings::attribute_group; 2]> =
    Constant([&raw const GROUP.0, core::ptr::null()]);

const NAME: &CStr = c"ibmebus";

static TYPE: Constant<bindings::bus_type> = Constant(bindings::bus_type {
    name: as_char_ptr_in_const_context(NAME),
    dev_groups: GROUPS.0.as_ptr().cast_mut(),
    match_: Some(match_callback),
    uevent: Some(uevent_callback),
    probe: Some(probe_callback),
    remove: Some(remove_callback),
    shutdown: Some(remove_callback),
    ..pin_init::zeroed()
});

/// # Safety
///
/// `dev` is a device of the bus, `driver` one of its drivers.
unsafe extern "C" fn match_callback(
    dev: *mut bindings::device,
    driver: *const bindings::device_driver,
) -> c_int {
    // SAFETY: By the safety requirement. A driver has a table.
    let found = unsafe { bindings::of_match_device((*driver).of_match_table, dev) };
    (!found.is_null()).into()
}

/// # Safety
///
/// `dev` is a device of the bus; `env` can be written.
unsafe extern "C" fn uevent_callback(
    dev: *const bindings::device,
    env: *mut bindings::kobj_uevent_env,
) -> c_int {
    // SAFETY: By the safety requirement.
    unsafe { bindings::of_device_uevent_modalias(dev, env) }
}

/// Returns the structures of a device and its driver.
///
/// # Safety
///
/// `dev` is a device of the bus, which has a driver.
unsafe fn both(
    dev: *mut bindings::device,
) -> (
    *mut bindings::platform_device,
    *mut bindings::platform_driver,
) {
    // SAFETY: By the safety requirement. All devices of the bus are made by `create()`, and all of its drivers are platform
    // drivers.
    unsafe {
        (
            container_of!(dev, bindings::platform_device, dev),
            container_of!((*dev).driver, bindings::platform_driver, driver),
        )
    }
}

/// # Safety
///
/// `dev` is a device of the bus, which is being bound.
unsafe extern "C" fn probe_callback(dev: *mut bindings::device) -> c_int {
    // SAFETY: By the safety requirement.
    let (device, driver) = unsafe { both(dev) };
    // SAFETY: The driver is registered, so it has this function, which is made for such a device.
    match unsafe { (*driver).probe } {
        // SAFETY: As above.
        Some(probe) => unsafe { probe(device) },
        None => ENODEV.to_errno(),
    }
}

/// Unbinds a device. At the end, that is done before the machine or another kernel starts anew: firmware is left as it
/// was found.
///
/// # Safety
///
/// `dev` is a device of the bus.
unsafe extern "C" fn remove_callback(dev: *mut bindings::device) {
    // SAFETY: By the safety requirement.
    if unsafe { (*dev).driver }.is_null() {
        return;
    }
    // SAFETY: By the safety requirement, and as just checked.
    let (device, driver) = unsafe { both(dev) };
    // SAFETY: The driver is registered. The core holds the device's lock.
    if let Some(remove) = unsafe { (*driver).remove } {
        // SAFETY: As above. The function is made for such a device.
        unsafe { remove(device) };
    }
}
