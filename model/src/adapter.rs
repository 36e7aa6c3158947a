// SPDX-License-Identifier: GPL-2.0

//! The adapter as the machine sees it.

use ehea_abi::eqe::{NeqEntry, NeqEvent};
use ehea_abi::hcall::{Opcode, Regs, ReturnCode};
use serde::Deserialize;

use crate::config::{Config, InvalidConfig};
use crate::fault::{ArmedFault, EventFault, Fault, Faults};
use crate::host::{Env, Host, TraceLevel};
use crate::memory::removed::Removed;
use crate::memory::tce::Mappings;
use crate::object::state::State;
use crate::stats::{Counters, Stats};

/// An adapter.
///
/// Every call is handled completely before it returns. Work for later is requested with
/// [`Host::timer_set`] and done in [`Adapter::run`]. The host must not call the adapter from inside
/// a [`Host`] function.
#[derive(Debug)]
pub struct Adapter {
    state: State,
    counters: Counters,
    faults: Faults,
    removed: Removed,
    /// Mappings of the adapter; `None` outside CMO partitions.
    mappings: Option<Mappings>,
}

/// The JSON text that [`Adapter::port_link`] takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortLink {
    port: u16,
    up: bool,
}

impl Adapter {
    /// Returns a new adapter without any objects and with all links up.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] if the configuration is not valid.
    pub fn new(config: Config) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self {
            mappings: config.cmo.then(Mappings::default),
            state: State::new(config),
            counters: Counters::default(),
            faults: Faults::default(),
            removed: Removed::default(),
        })
    }

    /// Returns the number of ports.
    pub fn num_ports(&self) -> usize {
        self.state.ports.len()
    }

    fn enter<R>(
        &mut self,
        host: &mut dyn Host,
        f: impl FnOnce(&mut State, &mut Env<'_>) -> R,
    ) -> R {
        self.state.now = host.now_ns();
        let mut env = Env {
            host,
            counters: &mut self.counters,
            faults: &mut self.faults,
            removed: &self.removed,
            mappings: self.mappings.as_ref(),
        };
        let result = f(&mut self.state, &mut env);
        self.state.schedule(&mut env);
        result
    }

    /// Handles a hypercall and returns its return code (register 3). `regs` holds registers 4 to
    /// 12, both arguments and results.
    pub fn hcall(&mut self, host: &mut dyn Host, opcode: Opcode, regs: &mut Regs) -> ReturnCode {
        self.enter(host, |state, env| state.hcall(env, opcode, regs))
    }

    /// Loads `size` bytes at the offset `offset` of the register window.
    pub fn mmio_read(&mut self, host: &mut dyn Host, offset: u64, size: u32) -> u64 {
        self.enter(host, |state, env| state.mmio_read(env, offset, size))
    }

    /// Stores `size` bytes at the offset `offset` of the register window.
    pub fn mmio_write(&mut self, host: &mut dyn Host, offset: u64, size: u32, value: u64) {
        self.enter(host, |state, env| {
            state.mmio_write(env, offset, size, value);
        });
    }

    /// Does what is due. The host calls this at the time that it was given in [`Host::timer_set`].
    /// Earlier calls are harmless.
    pub fn run(&mut self, host: &mut dyn Host) {
        self.enter(host, |state, env| state.run(env));
    }

    /// Checks whether port index `port` takes a frame now. If not, [`Host::rx_flush`] will follow.
    pub fn can_rx(&mut self, port: usize) -> bool {
        self.state.can_rx(port)
    }

    /// Receives a frame, without its CRC, from the wire. Returns false if the frame must be offered
    /// again after [`Host::rx_flush`].
    pub fn rx_frame(&mut self, host: &mut dyn Host, port: usize, frame: &[u8]) -> bool {
        self.enter(host, |state, env| state.rx_frame(env, port, frame))
    }

    /// Notes that the backend of port index `port` accepts frames again.
    pub fn tx_ready(&mut self, host: &mut dyn Host, port: usize) {
        self.enter(host, |state, _| {
            if let Some(port) = state.ports.get_mut(port) {
                port.tx_busy = false;
            }
        });
    }

    /// Sets the state of the external link of port index `port`.
    pub fn set_link(&mut self, host: &mut dyn Host, port: usize, up: bool) {
        self.enter(host, |state, env| state.set_link(env, port, up));
    }

    /// Sets the state of a link as [`Adapter::set_link`] does, from a text such as `{"port": 1,
    /// "up": false}` with a logical port number.
    ///
    /// # Errors
    ///
    /// A message if the text is not valid or there is no such port.
    pub fn port_link(&mut self, host: &mut dyn Host, json: &str) -> Result<(), String> {
        let link: PortLink = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let index = self
            .state
            .port_index(link.port)
            .map_err(|_| format!("there is no port {}", link.port))?;
        self.set_link(host, index, link.up);
        Ok(())
    }

    /// Checks whether the guest uses the adapter: there is any object, or any mapping in a CMO partition.
    pub fn is_in_use(&self) -> bool {
        let mapped = self.mappings.as_ref().map_or(0, Mappings::mapped);
        self.state.has_objects() || mapped != 0
    }

    /// Takes the port index `port` from the guest. Returns false, and takes nothing, if the guest uses it. From then on,
    /// firmware refuses all calls about the port.
    pub fn give_back_port(&mut self, host: &mut dyn Host, port: usize) -> bool {
        self.enter(host, |state, env| {
            let in_use = state.is_port_in_use(port);
            if let Some(item) = state.ports.get_mut(port) {
                item.owned = in_use;
                let what = if in_use {
                    "is in use"
                } else {
                    "was given back"
                };
                env.trace(
                    TraceLevel::Event,
                    format_args!("port {} {what}", item.number),
                );
            }
            !in_use
        })
    }

    /// Returns the port index `port` to the guest, as it is after a reset. It has no effect if the guest has the port.
    pub fn take_back_port(&mut self, host: &mut dyn Host, port: usize) {
        self.enter(host, |state, _| {
            if state.ports.get(port).is_some_and(|port| !port.owned) {
                state.renew_port(port);
            }
        });
    }

    /// Notes that a range of guest memory left the machine or was given back by the guest. The
    /// adapter does not touch it again before [`Adapter::ram_returned`], even if the machine still
    /// has it.
    pub fn ram_removed(&mut self, host: &mut dyn Host, gpa: u64, len: u64) {
        self.removed.insert(gpa, len);
        self.enter(host, |state, env| state.ram_removed(env, gpa, len));
    }

    /// Notes that the guest got a range of memory, perhaps one that it had given back. Old
    /// registrations of it remain without effect.
    pub fn ram_returned(&mut self, gpa: u64, len: u64) {
        self.removed.remove(gpa, len);
    }

    /// Notes that an entry of the adapter's TCE table changes from `from` to `to`.
    pub fn tce_put(&mut self, from: u64, to: u64) {
        if let Some(mappings) = &mut self.mappings {
            mappings.put(from, to);
        }
    }

    /// Notes that all entries of the adapter's TCE table were cleared.
    pub fn tce_clear(&mut self) {
        if let Some(mappings) = &mut self.mappings {
            mappings.clear();
        }
    }

    /// Notes that a hypercall is about to map memory for the adapter. If this returns anything but
    /// success, a fault is armed and the hypercall must return that code instead.
    pub fn tce_hcall(&mut self, host: &mut dyn Host, opcode: u64) -> ReturnCode {
        self.enter(host, |_, env| match env.faults.on_mapping(opcode) {
            Some(code) => {
                env.trace(
                    TraceLevel::Event,
                    format_args!("hypercall {opcode:#x} for a mapping answered by a fault: {code}"),
                );
                code
            }
            None => ReturnCode::SUCCESS,
        })
    }

    /// Resets the adapter with the machine: no objects, no registrations, default attributes, and
    /// all memory belongs to the guest. Links and armed faults stay.
    pub fn reset(&mut self, host: &mut dyn Host) {
        self.removed.clear();
        self.enter(host, |state, env| state.reset(env));
    }

    /// Returns a snapshot of the statistics.
    pub fn stats(&self) -> Stats {
        let mappings = self.mappings.as_ref();
        Stats {
            tce_mapped_pages: mappings.map_or(0, Mappings::mapped),
            tce_maps: mappings.map_or(0, Mappings::made),
            ..self.state.stats(&self.counters)
        }
    }

    /// Arms a fault, or makes it happen at once if it is an event.
    ///
    /// # Errors
    ///
    /// A message if the fault names a port that does not exist.
    pub fn fault_add(&mut self, host: &mut dyn Host, fault: Fault) -> Result<(), String> {
        let notification = match fault {
            Fault::Event(EventFault::PortMalfunction { port }) => {
                self.state
                    .port_index(port)
                    .map_err(|_| format!("there is no port {port}"))?;
                Some(NeqEntry {
                    event: NeqEvent::PORT_MALFUNCTION,
                    port,
                    ..NeqEntry::default()
                })
            }
            Fault::Event(EventFault::QueuePairError { port }) => {
                let index = self
                    .state
                    .port_index(port)
                    .map_err(|_| format!("there is no port {port}"))?;
                self.faults.add(fault, 1);
                self.enter(host, |state, env| state.fail_port(env, index));
                return Ok(());
            }
            Fault::Event(EventFault::AdapterMalfunction {}) => Some(NeqEntry {
                event: NeqEvent::ADAPTER_MALFUNCTION,
                // The driver needs a port number in every notification (§9.5).
                port: 1,
                ..NeqEntry::default()
            }),
            _ => None,
        };
        self.faults.add(fault, notification.is_some().into());
        if let Some(entry) = notification {
            self.enter(host, |state, env| state.post_notification(env, entry));
        }
        Ok(())
    }

    /// Returns the armed faults, with their counts of matches.
    pub fn faults(&self) -> Vec<ArmedFault> {
        self.faults.list()
    }

    /// Disarms all faults.
    pub fn fault_clear(&mut self) {
        self.faults.clear();
    }
}

/// Functions for tests.
#[cfg(any(test, feature = "testkit"))]
impl Adapter {
    /// Returns the time at which the adapter must be called again at the latest, according to the
    /// state of its objects. The deadline that the adapter asked for must not be later.
    pub fn owed(&self) -> Option<u64> {
        self.state.owed()
    }

    /// Checks whether a turn of work would do anything.
    pub fn is_work_possible(&self) -> bool {
        self.state.is_work_possible()
    }

    /// Does a turn of work out of turn. Returns the number of frames and work requests in it.
    pub fn work(&mut self, host: &mut dyn Host) -> usize {
        self.enter(host, |state, env| state.work(env).frames)
    }
}
