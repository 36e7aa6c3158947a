// SPDX-License-Identifier: GPL-2.0
//! A machine without a kernel: QEMU, the adapter, and one of this project's firmwares.
//!
//! A firmware (`tests/machine/firmware`) does what no driver would do, or does in a second what
//! would take a kernel an hour. It keeps its results in the machine's memory.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use command_fds::{CommandFdExt, FdMapping};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::builder::{new_directory, FIRST_FD, MACHINE};
use crate::devices::ADAPTER;
use crate::guest::{qemu_says, GuestError};
use crate::memory::Memory;
use crate::netdev::Netdev;
use crate::process;
use crate::qmp::Qmp;
use crate::sandbox::Sandbox;

/// Environment variable with the path of a JSON file that holds [`MachineArtifacts`].
pub const MACHINE_ARTIFACTS_VARIABLE: &str = "EHEA_MACHINE_ARTIFACTS";

/// Address at which a firmware keeps its results: the number of finished passes, then words of its
/// own (`tests/machine/firmware/firmware.h`).
const RESULTS: u64 = 0x8000;

/// Id of the netdev of the adapter's port.
const NETDEV: &str = "n0";

/// Size of a result in bytes.
const WORD: usize = 8;

/// Time after which a firmware that has not finished a pass is taken to hang. It is no measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Interval between checks whether a pass is finished.
const TICK: Duration = Duration::from_millis(5);

/// All files of which a machine is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineArtifacts {
    /// Build root, with whose `/usr` QEMU runs.
    pub root: PathBuf,
    /// `qemu-system-ppc64` with the adapter.
    pub qemu: PathBuf,
    /// Directory with the firmwares.
    pub firmware: PathBuf,
    /// Directory that gets one directory of logs for each machine.
    pub logs: PathBuf,
}

impl MachineArtifacts {
    /// Reads the description that [`MACHINE_ARTIFACTS_VARIABLE`] names.
    pub fn from_env() -> Result<Self> {
        let path = std::env::var_os(MACHINE_ARTIFACTS_VARIABLE).with_context(|| {
            format!("{MACHINE_ARTIFACTS_VARIABLE} is not set: run this through `cargo xtask test --tier machine`")
        })?;
        let path = Path::new(&path);
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a list of artifacts", path.display()))
    }
}

/// Description of a machine. [`MachineBuilder::start`] starts the machine.
#[derive(Debug)]
pub struct MachineBuilder {
    firmware: String,
    memory: Memory,
    smp: u32,
    netdev: Netdev,
    arguments: Vec<String>,
}

impl MachineBuilder {
    /// Sets the memory from a text such as `1G,max=16G`; by default 1 GiB without hotplug.
    pub fn memory(mut self, memory: &str) -> Result<Self> {
        self.memory = memory.parse()?;
        Ok(self)
    }

    /// Sets the number of processors; 1 by default. The firmware runs on the first, and the others
    /// wait.
    pub fn smp(mut self, processors: u32) -> Self {
        self.smp = processors;
        self
    }

    /// Connects the adapter's port, which has no netdev by default.
    pub fn netdev(mut self, netdev: impl Into<Netdev>) -> Self {
        self.netdev = netdev.into();
        self
    }

    /// Adds arguments to QEMU's command line.
    pub fn qemu_args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Starts the machine, with an adapter that has one port and the handle 1.
    pub fn start(self) -> Result<Machine> {
        let artifacts = MachineArtifacts::from_env()?;
        let firmware = artifacts.firmware.join(format!("{}.bin", self.firmware));
        ensure!(firmware.exists(), "there is no firmware {}", self.firmware);
        let directory = new_directory(&artifacts.logs, &format!("machine-{}", self.firmware))?;
        let (monitor, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let mut command = Sandbox::new(&artifacts.root).command(&artifacts.qemu);
        command.args(["-M", MACHINE, "-cpu", "power9", "-nodefaults"]);
        command.args(["-smp", &self.smp.to_string()]);
        command.args(["-m", &self.memory.to_string(), "-display", "none"]);
        command
            .args(["-L", "/usr/share/qemu", "-bios"])
            .arg(firmware);
        let mut adapter = "spapr-ehea,id=ehea0,adapter-handle=1,ports=1".to_owned();
        if let Some(netdev) = self.netdev.argument(NETDEV, FIRST_FD + 1) {
            command.args(["-netdev", &netdev]);
            write!(adapter, ",netdev0={NETDEV}")?;
        }
        command.args(["-device", &adapter]);
        command.args(["-d", "guest_errors", "-trace", "ehea_trace_refused"]);
        command.args(["-chardev", &format!("socket,id=monitor,fd={FIRST_FD}")]);
        command.args(["-mon", "chardev=monitor,mode=control"]);
        command.args(&self.arguments);
        let log = File::create(directory.join("qemu.log")).context("cannot create QEMU's log")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::fs::write(directory.join("command"), format!("{command:?}\n"))?;
        let sockets = [Some(theirs.into()), self.netdev.into_socket()];
        let numbers = FIRST_FD..;
        let mappings = sockets.into_iter().flatten().zip(numbers);
        command.fd_mappings(
            mappings
                .map(|(parent_fd, child_fd)| FdMapping {
                    parent_fd,
                    child_fd,
                })
                .collect(),
        )?;
        let mut child =
            process::spawn(command).context("cannot start bwrap: run `cargo xtask doctor`")?;
        match Qmp::connect(monitor) {
            Ok(qmp) => Ok(Machine {
                directory,
                child: Mutex::new(child),
                qmp,
            }),
            Err(_) => {
                // QEMU's end is the only reason why this can fail.
                let _ = child.wait();
                Err(gone(&directory, "start"))
            }
        }
    }
}

/// A block of memory in QEMU.
struct RamBlock {
    /// Name of the block; empty if its owner is gone.
    name: String,
    place: String,
}

/// A running machine. Dropping it ends it. [`Machine::quit`] also tells whether QEMU worked until
/// then.
#[derive(Debug)]
pub struct Machine {
    directory: PathBuf,
    child: Mutex<Child>,
    qmp: Qmp,
}

fn gone(directory: &Path, during: &str) -> anyhow::Error {
    GuestError::Gone {
        during: during.to_owned(),
        qemu: qemu_says(directory),
        log: directory.display().to_string(),
    }
    .into()
}

impl Machine {
    /// Describes a machine with the firmware `firmware`, which is the name of its source without
    /// `.S`.
    pub fn builder(firmware: &str) -> MachineBuilder {
        MachineBuilder {
            firmware: firmware.to_owned(),
            memory: Memory {
                size: 1 << 30,
                max: 1 << 30,
            },
            smp: 1,
            netdev: Netdev::None,
            arguments: Vec::new(),
        }
    }

    /// Does `work` with the machine, then ends the machine as [`Machine::quit`] does. An error
    /// names the directory with QEMU's messages.
    pub fn run<T>(self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let log = self.directory.display().to_string();
        work(&self)
            .and_then(|result| self.quit().map(|()| result))
            .with_context(|| format!("logs: {log}"))
    }

    /// Runs a monitor command with JSON arguments.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.execute(command, arguments).map_err(|error| {
            let disconnected = matches!(error.downcast_ref(), Some(RecvTimeoutError::Disconnected));
            match disconnected || error.downcast_ref::<io::Error>().is_some() {
                true => self.gone(command),
                false => error,
            }
        })
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub fn monitor(&self, command: &str) -> Result<String> {
        let answer = self.qmp("human-monitor-command", json!({ "command-line": command }))?;
        let text = answer.as_str();
        Ok(text
            .with_context(|| format!("{command}: no text"))?
            .to_owned())
    }

    /// Sets the external link of the adapter's port, by means of the adapter's property.
    pub fn set_port_link(&self, up: bool) -> Result<()> {
        let link = json!({ "port": 1, "up": up }).to_string();
        let arguments = json!({ "path": ADAPTER, "property": "port-link", "value": link });
        self.qmp("qom-set", arguments).map(drop)
    }

    /// Sets the link of the netdev of the adapter's port.
    pub fn set_netdev_link(&self, up: bool) -> Result<()> {
        self.qmp("set_link", json!({ "name": NETDEV, "up": up }))
            .map(drop)
    }

    /// Waits until the adapter's netdev, a `stream`, is connected. It drops frames before that.
    pub fn wait_connected(&self) -> Result<()> {
        let is_it = |data: &Value| data["netdev-id"] == NETDEV;
        self.qmp
            .wait_event("NETDEV_STREAM_CONNECTED", PATIENCE, is_it)
            .map(drop)
    }

    /// Removes the netdev of the adapter's port.
    pub fn remove_netdev(&self) -> Result<()> {
        self.qmp("netdev_del", json!({ "id": NETDEV })).map(drop)
    }

    /// Stops the processors.
    pub fn pause(&self) -> Result<()> {
        self.qmp("stop", json!({})).map(drop)
    }

    /// Resumes the processors.
    pub fn resume(&self) -> Result<()> {
        self.qmp("cont", json!({})).map(drop)
    }

    /// Returns the adapter model's statistics.
    pub fn stats<T: DeserializeOwned>(&self) -> Result<T> {
        // This calls [`Machine::qmp`], which tells the end of QEMU from an answer.
        let arguments = json!({ "path": ADAPTER, "property": "stats" });
        let value = self.qmp("qom-get", arguments)?;
        let text = value.as_str().context("the statistics are not text")?;
        Ok(serde_json::from_str(text)?)
    }

    /// Plugs in a DIMM of `bytes` bytes, a multiple of 256 MiB.
    pub fn plug_memory(&self, id: &str, bytes: u64) -> Result<()> {
        let backend = format!("{id}-ram");
        let kind = "memory-backend-ram";
        self.qmp(
            "object-add",
            json!({ "qom-type": kind, "id": backend, "size": bytes }),
        )?;
        self.qmp(
            "device_add",
            json!({ "driver": "pc-dimm", "id": id, "memdev": backend }),
        )?;
        Ok(())
    }

    /// Requests that a DIMM be given back. A DIMM that was plugged in since the last reset is
    /// removed at once, because no firmware uses it yet. Any other is removed at a reset.
    pub fn request_unplug(&self, id: &str) -> Result<()> {
        self.qmp("device_del", json!({ "id": id })).map(drop)
    }

    /// Waits until a DIMM is removed, and frees its memory.
    pub fn wait_unplugged(&self, id: &str) -> Result<()> {
        self.qmp
            .wait_event("DEVICE_DELETED", PATIENCE, |data| data["device"] == id)?;
        self.qmp("object-del", json!({ "id": format!("{id}-ram") }))
            .map(drop)
    }

    /// Waits until the memory of all removed DIMMs is free. QEMU keeps such memory, without a name,
    /// as long as a processor may be using it. A processor that is stopped does not use it.
    pub fn wait_freed(&self) -> Result<()> {
        self.wait_until("the memory of DIMMs that are gone is free", || {
            self.qmp("stop", json!({}))?;
            self.qmp("cont", json!({}))?;
            Ok(self
                .ram_blocks()?
                .iter()
                .all(|block| !block.name.is_empty()))
        })
    }

    /// Returns the position of a DIMM's memory in QEMU's own numbering of all memory.
    pub fn place_of(&self, id: &str) -> Result<String> {
        let name = format!("{id}-ram");
        let blocks = self.ram_blocks()?;
        let block = blocks.into_iter().find(|block| block.name == name);
        Ok(block
            .with_context(|| format!("QEMU has no memory for {id}"))?
            .place)
    }

    /// Lists QEMU's blocks of memory.
    fn ram_blocks(&self) -> Result<Vec<RamBlock>> {
        let text = self.monitor("info ramblock")?;
        // The fields are the name, the page size as number and unit, and the position. The first
        // line is a heading.
        let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty());
        lines
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                let place = words.iter().position(|word| word.starts_with("0x"));
                let (name, place) = match place {
                    Some(at @ 2) => ("", words[at]),
                    Some(at @ 3) => (words[0], words[at]),
                    _ => bail!("not a block of memory: {line}"),
                };
                let (name, place) = (name.to_owned(), place.to_owned());
                Ok(RamBlock { name, place })
            })
            .collect()
    }

    /// Resets the machine, so that the firmware is entered again.
    pub fn reset(&self) -> Result<()> {
        self.qmp("system_reset", json!({})).map(drop)
    }

    /// Waits until the firmware has finished `passes` passes since the start.
    pub fn wait_passes(&self, passes: u64) -> Result<()> {
        self.wait_until(&format!("pass {passes} of the firmware ends"), || {
            Ok(self.words(1)?.first().is_some_and(|&done| done >= passes))
        })
    }

    /// Waits until a result of the firmware is greater than now, which shows that the firmware is
    /// running.
    pub fn wait_progress(&self, result: usize) -> Result<()> {
        let before = self.result(result)?;
        self.wait_until(&format!("result {result} of the firmware grows"), || {
            Ok(self.result(result)? > before)
        })
    }

    /// Returns the result that the firmware kept under the number `number`.
    pub fn result(&self, number: usize) -> Result<u64> {
        let words = self.words(number + 2)?;
        words.last().copied().context("no result")
    }

    /// Ends QEMU. Fails if QEMU had ended before, or ends with an error.
    pub fn quit(self) -> Result<()> {
        self.qmp("quit", json!({}))?;
        let mut ended = None;
        self.wait_until("QEMU quits", || {
            ended = self.child().try_wait()?;
            Ok(ended.is_some())
        })?;
        if !ended.is_some_and(|status| status.success()) {
            bail!(self.gone("quit"));
        }
        Ok(())
    }

    /// Reads the first words of the results.
    fn words(&self, count: usize) -> Result<Vec<u64>> {
        let path = self.directory.join("results");
        let arguments = json!({ "val": RESULTS, "size": count * WORD, "filename": path });
        self.qmp("pmemsave", arguments)?;
        let bytes = std::fs::read(&path).context("cannot read the firmware's results")?;
        ensure!(
            bytes.len() == count * WORD,
            "{} bytes of results",
            bytes.len()
        );
        let big_endian = |word: &[u8]| word.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Ok(bytes.chunks_exact(WORD).map(big_endian).collect())
    }

    /// Waits until `done` returns true. Fails with the description `what` if it does not within a
    /// minute.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !done()? {
            let log = self.directory.display();
            ensure!(
                start.elapsed() < PATIENCE,
                "never happened: {what} (log: {log})"
            );
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error for a QEMU whose monitor does not answer any more.
    fn gone(&self, during: &str) -> anyhow::Error {
        // The last output of QEMU is in the log when it has ended.
        let _ = self.child().wait();
        gone(&self.directory, during)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // QEMU may have ended of its own accord; there is nobody to report another error to.
        let _ = child.kill();
        let _ = child.wait();
    }
}
