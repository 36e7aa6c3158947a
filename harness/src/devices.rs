// SPDX-License-Identifier: GPL-2.0
//! The adapter model and the memory of a guest, reached through the monitor.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{json, Value};

use crate::guest::{Guest, TICK};

/// Path of the adapter in QEMU's object tree.
pub(crate) const ADAPTER: &str = "/machine/peripheral/ehea0";

/// Path of the machine in QEMU's object tree.
const MACHINE: &str = "/machine";

/// Name of the machine's property for the I/O entitlement.
const ENTITLEMENT: &str = "cmo-entitlement";

impl Guest {
    /// Returns the adapter model's statistics.
    pub fn stats<T: DeserializeOwned>(&self) -> Result<T> {
        self.adapter_json("stats")
    }

    /// Returns the statistics of another adapter, by its name in QEMU.
    pub fn stats_of<T: DeserializeOwned>(&self, id: &str) -> Result<T> {
        self.json(&format!("/machine/peripheral/{id}"), "stats")
    }

    /// Arms a fault in the adapter model.
    pub fn inject_fault(&self, fault: &impl Serialize) -> Result<()> {
        self.qom_set(ADAPTER, "fault", serde_json::to_string(fault)?.into())
    }

    /// Arms a fault in another adapter, given its name in QEMU.
    pub fn inject_fault_of(&self, id: &str, fault: &impl Serialize) -> Result<()> {
        let path = format!("/machine/peripheral/{id}");
        self.qom_set(&path, "fault", serde_json::to_string(fault)?.into())
    }

    /// Returns the armed faults of another adapter, by its name in QEMU.
    pub fn faults_of<T: DeserializeOwned>(&self, id: &str) -> Result<T> {
        self.json(&format!("/machine/peripheral/{id}"), "fault")
    }

    /// Disarms all faults of another adapter, by its name in QEMU.
    pub fn clear_faults_of(&self, id: &str) -> Result<()> {
        let path = format!("/machine/peripheral/{id}");
        self.qom_set(&path, "fault-clear", true.into())
    }

    /// Returns the armed faults, with the number of times that each has happened.
    pub fn faults<T: DeserializeOwned>(&self) -> Result<T> {
        self.adapter_json("fault")
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) -> Result<()> {
        self.qom_set(ADAPTER, "fault-clear", true.into())
    }

    /// Sets the external link of a port, numbered from 1.
    pub fn set_port_link(&self, port: u32, up: bool) -> Result<()> {
        self.qom_set(
            ADAPTER,
            "port-link",
            json!({ "port": port, "up": up }).to_string().into(),
        )
    }

    /// Returns the I/O entitlement in bytes that the host grants to a CMO partition.
    pub fn entitlement(&self) -> Result<u64> {
        let bytes = self.qom_get(MACHINE, ENTITLEMENT)?;
        bytes.as_u64().context("the entitlement is not a number")
    }

    /// Grants another I/O entitlement, in bytes, to a CMO partition. The guest's kernel notices
    /// when somebody in the guest writes the value to `/proc/powerpc/lparcfg`.
    pub fn grant_entitlement(&self, bytes: u64) -> Result<()> {
        self.qom_set(MACHINE, ENTITLEMENT, bytes.into())
    }

    fn adapter_json<T: DeserializeOwned>(&self, property: &str) -> Result<T> {
        self.json(ADAPTER, property)
    }

    fn json<T: DeserializeOwned>(&self, path: &str, property: &str) -> Result<T> {
        let value = self.qom_get(path, property)?;
        let text = value
            .as_str()
            .with_context(|| format!("the adapter's {property} is not text"))?;
        serde_json::from_str(text)
            .with_context(|| format!("the adapter's {property} is not what was expected: {text}"))
    }

    /// Plugs in a DIMM of `bytes` bytes, a multiple of 256 MiB. The guest brings the memory online
    /// later.
    pub fn plug_memory(&self, id: &str, bytes: u64) -> Result<()> {
        let backend = format!("{id}-ram");
        self.qmp(
            "object-add",
            json!({ "qom-type": "memory-backend-ram", "id": backend, "size": bytes }),
        )?;
        let device = json!({ "driver": "pc-dimm", "id": id, "memdev": backend });
        if let Err(error) = self.qmp("device_add", device) {
            self.qmp("object-del", json!({ "id": backend }))?;
            return Err(error);
        }
        Ok(())
    }

    /// Asks the guest to give a DIMM back, and waits until it has done so or refused.
    pub fn unplug_memory(&self, id: &str) -> Result<()> {
        self.request_unplug(id)?;
        self.wait_unplugged(id)
    }

    /// Asks for a device. It goes when the guest has given it back.
    pub fn request_unplug(&self, id: &str) -> Result<()> {
        self.qmp("device_del", json!({ "id": id })).map(drop)
    }

    /// Waits until the guest has given back a DIMM that it was asked for, or has refused.
    pub fn wait_unplugged(&self, id: &str) -> Result<()> {
        self.wait_deleted(id)?;
        self.qmp("object-del", json!({ "id": format!("{id}-ram") }))
            .map(drop)
    }

    /// Waits until a device is gone that was asked for, or the guest has refused.
    pub fn wait_deleted(&self, id: &str) -> Result<()> {
        let deadline = Instant::now() + self.silence;
        loop {
            ensure!(Instant::now() < deadline, "{id} was not given back");
            let is_it = |data: &Value| data["device"] == id;
            if self.qmp.wait_event("DEVICE_DELETED", TICK, is_it).is_ok() {
                return Ok(());
            }
            for refusal in ["DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR"] {
                if self.qmp.wait_event(refusal, Duration::ZERO, is_it).is_ok() {
                    bail!("the guest refuses to give {id} back");
                }
            }
            self.check("unplug", &mut Instant::now())?;
        }
    }
}
