// SPDX-License-Identifier: GPL-2.0
//! A running guest.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{mpsc, Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Value};

use crate::agent::{request, Frame, Output, Stream, READY};
use crate::console::{Console, Finding};
use crate::memory::Memory;
use crate::qmp::Qmp;
use crate::variant::Debug;

/// Reason why a guest failed, apart from what a command in it returned.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The kernel panicked.
    #[error("the guest's kernel panicked (log: {log})\n{}", list(.findings))]
    Panic {
        /// Reports of the kernel.
        findings: Vec<Finding>,
        /// Directory with the logs.
        log: String,
    },
    /// The kernel reported a WARN, an Oops, a stall or the like.
    #[error("the guest's kernel reported a problem (log: {log})\n{}", list(.findings))]
    Kernel {
        /// Reports of the kernel.
        findings: Vec<Finding>,
        /// Directory with the logs.
        log: String,
    },
    /// Nothing was output anywhere for too long.
    #[error("the guest hangs: no output for {seconds} s during {during:?} (log: {log})")]
    Hang {
        /// Length of the silence in seconds.
        seconds: u64,
        /// Command that was running.
        during: String,
        /// Directory with the logs.
        log: String,
    },
    /// QEMU ended before it was asked to.
    #[error("QEMU ended during {during:?} (log: {log}){}{qemu}", if .qemu.is_empty() { "" } else { ": " })]
    Gone {
        /// Command that was running.
        during: String,
        /// Last lines of QEMU's own output.
        qemu: String,
        /// Directory with the logs.
        log: String,
    },
}

fn list(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(Finding::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Parts of a guest that has just been booted.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) child: Child,
    pub(crate) kernel: UnixStream,
    pub(crate) control: UnixStream,
    pub(crate) stdout: UnixStream,
    pub(crate) stderr: UnixStream,
    pub(crate) monitor: UnixStream,
    pub(crate) silence: Duration,
    pub(crate) debug: Option<Debug>,
    pub(crate) memory: Memory,
    pub(crate) allowed: Vec<String>,
}

#[derive(Debug)]
struct Agent {
    control: UnixStream,
    output: mpsc::Receiver<(Stream, Vec<u8>)>,
    log: File,
}

/// A booted guest.
///
/// Commands may come from several threads; they run one after the other. [`Guest::shutdown`] ends
/// the guest properly and fails if the kernel reported anything. Dropping the guest kills it.
#[derive(Debug)]
pub struct Guest {
    name: String,
    directory: PathBuf,
    child: Mutex<Child>,
    agent: Mutex<Agent>,
    console: Arc<Console>,
    readers: Vec<JoinHandle<()>>,
    pub(crate) qmp: Qmp,
    pub(crate) silence: Duration,
    debug: Option<Debug>,
    memory: Memory,
}

/// Interval at which a waiting command checks the guest.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// Maximum time until QEMU ends after the guest is off or has panicked.
const EXIT_TIMEOUT: Duration = Duration::from_secs(60);

impl Guest {
    pub(crate) fn start(parts: Parts) -> Result<Self> {
        let Parts {
            name,
            directory,
            mut child,
            kernel,
            control,
            stdout,
            stderr,
            monitor,
            silence,
            debug,
            memory,
            allowed,
        } = parts;
        let console = Arc::new(Console::default());
        for text in allowed {
            console.allow_once(&text);
        }
        let mut readers = Vec::new();
        let log =
            File::create(directory.join("console.log")).context("cannot create the console log")?;
        let sink = Arc::clone(&console);
        readers.push(thread::spawn(move || read_console(kernel, log, &sink)));
        let (sender, output) = mpsc::channel();
        for (stream, socket) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            let sender = sender.clone();
            readers.push(thread::spawn(move || read_stream(socket, stream, &sender)));
        }
        let (ready, is_ready) = mpsc::channel();
        let hello = control.try_clone().context("cannot duplicate a socket")?;
        readers.push(thread::spawn(move || read_control(hello, &ready)));
        let qmp = match Qmp::connect(monitor) {
            Ok(qmp) => qmp,
            Err(_) => {
                let _ = child.wait();
                let log = directory.display().to_string();
                return Err(GuestError::Gone {
                    during: "start".to_owned(),
                    qemu: qemu_says(&directory),
                    log,
                }
                .into());
            }
        };
        let log = File::create(directory.join("commands.log"))
            .context("cannot create the command log")?;
        let agent = Mutex::new(Agent {
            control,
            output,
            log,
        });
        let guest = Self {
            name,
            directory,
            child: Mutex::new(child),
            agent,
            console,
            readers,
            qmp,
            silence,
            debug,
            memory,
        };
        let mut since = Instant::now();
        loop {
            match is_ready.recv_timeout(TICK) {
                Ok(()) => return Ok(guest),
                Err(mpsc::RecvTimeoutError::Timeout) => guest.check("boot", &mut since)?,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(guest.gone("boot")),
            }
        }
    }

    /// Returns the name given to the builder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the log directory. It holds `console.log` (kernel), `commands.log`, `qemu.log` and
    /// QEMU's command line. After [`Guest::record_failure`], it also holds `stats.json`,
    /// `interrupts.txt`, `registers.txt`, `guest.txt` and `later.json`.
    pub fn log_directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the kernel's console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Returns the memory at boot and the limit.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Returns the monitor connection.
    pub fn monitor(&self) -> &Qmp {
        &self.qmp
    }

    /// Runs a shell command and returns its status and output.
    ///
    /// The command runs as root in the directory with the copied files. Its standard input is
    /// empty. Background processes that keep writing must redirect their output.
    ///
    /// # Errors
    ///
    /// An error means that the guest itself failed: it panicked, hangs, or QEMU ended. The
    /// command's exit status is not an error.
    pub fn run(&self, command: &str) -> Result<Output> {
        let mut output = Output::default();
        let (stdout, stderr) = (&mut output.stdout, &mut output.stderr);
        let status = self.run_streaming(command, |stream, bytes| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        })?;
        output.status = status;
        Ok(output)
    }

    /// Runs a shell command that must succeed. Returns its standard output without trailing blanks.
    pub fn sh(&self, command: &str) -> Result<String> {
        let output = self.run(command)?;
        ensure!(output.success(), "in the guest: {command}\n{output}");
        Ok(output.out().trim_end().to_owned())
    }

    /// Runs a shell command as [`Guest::run`] does, and passes each piece of output to `sink` as it
    /// arrives. Returns the exit status.
    pub fn run_streaming(&self, command: &str, mut sink: impl FnMut(Stream, &[u8])) -> Result<i32> {
        let mut agent = self.agent();
        while agent.output.try_recv().is_ok() {}
        let nonce = format!("{:016x}", fastrand::u64(..));
        // The log is a convenience: a full disk must not fail the command.
        let _ = writeln!(agent.log, "[{}] $ {command}", self.console.position());
        if agent
            .control
            .write_all(request(&nonce, command).as_bytes())
            .is_err()
        {
            return Err(self.gone(command));
        }
        let mut frames = [Frame::new(&nonce), Frame::new(&nonce)];
        let mut since = Instant::now();
        loop {
            match agent.output.recv_timeout(TICK) {
                Ok((stream, bytes)) => {
                    since = Instant::now();
                    let frame = &mut frames[stream as usize];
                    let log = &mut agent.log;
                    frame.feed(&bytes, |piece| {
                        let _ = log.write_all(piece);
                        sink(stream, piece);
                    });
                    if let [Some(status), Some(_)] = frames.each_ref().map(Frame::status) {
                        let _ =
                            writeln!(agent.log, "[{}] status {status}", self.console.position());
                        return Ok(status);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => self.check(command, &mut since)?,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.gone(command)),
            }
        }
    }

    /// Writes an executable file in the guest.
    pub fn push(&self, path: &str, content: &[u8]) -> Result<()> {
        self.sh(&format!(
            "base64 -d >'{path}' <<'END'\n{}\nEND\nchmod 755 '{path}'",
            BASE64_STANDARD.encode(content)
        ))?;
        Ok(())
    }

    /// Runs a monitor command with JSON arguments.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.execute(command, arguments)
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub fn human_monitor(&self, command: &str) -> Result<String> {
        let answer = self.qmp("human-monitor-command", json!({ "command-line": command }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Reads a property of an object in QEMU.
    pub fn qom_get(&self, path: &str, property: &str) -> Result<Value> {
        self.qmp("qom-get", json!({ "path": path, "property": property }))
    }

    /// Sets a property of an object in QEMU.
    pub fn qom_set(&self, path: &str, property: &str, value: Value) -> Result<()> {
        self.qmp(
            "qom-set",
            json!({ "path": path, "property": property, "value": value }),
        )
        .map(drop)
    }

    /// Fails if the kernel has reported anything so far.
    pub fn check_console(&self) -> Result<()> {
        let findings = self.console.findings();
        let log = self.log();
        if findings.is_empty() {
            Ok(())
        } else if self.console.panicked() {
            Err(GuestError::Panic { findings, log }.into())
        } else {
            Err(GuestError::Kernel { findings, log }.into())
        }
    }

    /// Fails if a checker of a debug kernel has found something that is not on the console, or has
    /// turned itself off.
    pub fn check_debug(&self) -> Result<()> {
        let Some(debug) = self.debug else {
            return Ok(());
        };
        let output = self.run(debug.verdict())?;
        ensure!(
            output.success() && output.out().is_empty(),
            "the {debug} kernel's checkers are off, or have found:\n{output}"
        );
        Ok(())
    }

    /// Powers the guest off, waits for QEMU to end, and fails if the kernel has reported anything.
    pub fn shutdown(mut self) -> Result<()> {
        let sent = self
            .agent()
            .control
            .write_all(request("off", "poweroff -f").as_bytes());
        if sent.is_err() && self.console.findings().is_empty() {
            return Err(self.gone("poweroff"));
        }
        let ended = self.wait(EXIT_TIMEOUT.max(self.silence))?;
        for reader in self.readers.drain(..) {
            // A reader that panicked has printed the reason.
            let _ = reader.join();
        }
        self.check_console()?;
        if !ended {
            let seconds = self.silence.as_secs();
            return Err(GuestError::Hang {
                seconds,
                during: "poweroff".to_owned(),
                log: self.log(),
            }
            .into());
        }
        Ok(())
    }

    fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> String {
        self.directory.display().to_string()
    }

    /// Waits for the end of QEMU. Returns false if QEMU does not end in time.
    fn wait(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        while child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(TICK / 4);
        }
        Ok(true)
    }

    /// Fails if the kernel has panicked, or if the guest has been silent for too long. The silence
    /// is counted from `since` or from later output.
    pub(crate) fn check(&self, during: &str, since: &mut Instant) -> Result<()> {
        if self.console.panicked() {
            // The rest of the report is still to come.
            self.wait(EXIT_TIMEOUT / 6)?;
            return self.check_console();
        }
        if let Some(last) = self.console.last_activity() {
            *since = last.max(*since);
        }
        if since.elapsed() >= self.silence {
            self.record_hang();
            let seconds = self.silence.as_secs();
            return Err(GuestError::Hang {
                seconds,
                during: during.to_owned(),
                log: self.log(),
            }
            .into());
        }
        Ok(())
    }

    fn record_state(&self) {
        let keep = |name: &str, text: &str| {
            let _ = std::fs::write(self.directory.join(name), text);
        };
        if let Ok(stats) = self.stats::<Value>() {
            keep("stats.json", &format!("{stats:#}\n"));
        }
        if let Ok(state) = self.qmp("x-query-interrupt-controllers", json!({})) {
            keep(
                "interrupts.txt",
                state["human-readable-text"].as_str().unwrap_or_default(),
            );
        }
        let registers = json!({ "command-line": "info registers -a" });
        if let Ok(state) = self.qmp("human-monitor-command", registers) {
            keep("registers.txt", state.as_str().unwrap_or_default());
        }
    }

    /// Records the state of a guest in which something went wrong, for those who read its logs.
    /// `error` says what went wrong.
    ///
    /// The records hold the state of the adapter, the interrupt controller and the processors. If
    /// the guest still runs commands, they also hold the counters of its kernel and of the adapter,
    /// now and a while later, so that progress shows. The counters of the adapter's queue pairs and
    /// ports distinguish a lost doorbell (announced work requests stay the same), a busy backend
    /// (executed ones stay the same) and a lost interrupt (completions stay unconsumed). Each
    /// record may fail without affecting the others.
    pub fn record_failure(&self, error: &anyhow::Error) {
        const COUNTERS: &str = "for time in now later; do \
             cat /proc/uptime /proc/interrupts /proc/softirqs /proc/net/softnet_stat /proc/net/dev; \
             for interface in /sys/class/net/eth*; do ethtool -S ${interface##*/}; done; \
             sleep 2; done; echo l >/proc/sysrq-trigger";
        self.record_state();
        if error.downcast_ref::<GuestError>().is_some() {
            return;
        }
        let now = self.stats::<Value>();
        if let Ok(mut output) = self.run(COUNTERS) {
            let later = self.stats::<Value>();
            for (time, stats) in [("now", &now), ("later", &later)] {
                if let Ok(stats) = stats {
                    output.stdout.extend(queues(time, stats).into_bytes());
                }
            }
            let _ = std::fs::write(self.directory.join("guest.txt"), output.stdout);
        }
        if let Ok(stats) = self.stats::<Value>() {
            let _ = std::fs::write(self.directory.join("later.json"), format!("{stats:#}\n"));
        }
    }

    /// Records the state of a guest that hangs. Its kernel prints what its processors are doing.
    fn record_hang(&self) {
        self.record_state();
        if self.qmp("inject-nmi", json!({})).is_ok() {
            let _ = self.wait(EXIT_TIMEOUT / 6);
        }
    }

    fn gone(&self, during: &str) -> anyhow::Error {
        // The last output of QEMU and of the kernel may still be to come.
        let _ = self.wait(EXIT_TIMEOUT / 6);
        if let Err(error) = self.check_console() {
            return error;
        }
        GuestError::Gone {
            during: during.to_owned(),
            qemu: qemu_says(&self.directory),
            log: self.log(),
        }
        .into()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // QEMU may have ended of its own accord; there is nobody to report another error to.
        let _ = child.kill();
        let _ = child.wait();
        let _ = std::fs::remove_file(self.directory.join("initrd"));
    }
}

/// Returns the adapter's statistics of its queue pairs and ports, one line for each.
fn queues(time: &str, stats: &Value) -> String {
    let mut text = String::new();
    for kind in ["qps", "ports"] {
        for object in stats[kind].as_array().into_iter().flatten() {
            text += &format!("adapter {time}, {kind}: {object}\n");
        }
    }
    text
}

/// Returns the last lines of QEMU's own output.
pub(crate) fn qemu_says(directory: &Path) -> String {
    let text = std::fs::read(directory.join("qemu.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn read_console(mut socket: UnixStream, mut log: File, console: &Console) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        let bytes = &buffer[..length];
        // The log is a convenience: a full disk must not end the scan.
        let _ = log.write_all(bytes);
        console.feed(bytes);
    }
    console.close();
}

fn read_stream(mut socket: UnixStream, stream: Stream, output: &mpsc::Sender<(Stream, Vec<u8>)>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        if output.send((stream, buffer[..length].to_vec())).is_err() {
            break;
        }
    }
}

fn read_control(mut socket: UnixStream, ready: &mpsc::Sender<()>) {
    let mut seen = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
        if seen.windows(READY.len()).any(|w| w == READY) {
            seen.clear();
            if ready.send(()).is_err() {
                break;
            }
        }
    }
}
