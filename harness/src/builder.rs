// SPDX-License-Identifier: GPL-2.0
//! Description of a guest, and the QEMU command line that follows from it.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use command_fds::{CommandFdExt, FdMapping};

use crate::artifacts::Artifacts;
use crate::guest::{Guest, Parts};
use crate::initrd::{Content, Files};
use crate::memory::Memory;
use crate::netdev::Netdev;
use crate::process;
use crate::sandbox::Sandbox;
use crate::variant::{Debug, PageSize, Variant};

const INIT: &str = include_str!("../../guest/init");

/// Directory in the guest with the files of [`Builder::file`]. Commands run in this directory.
const FILES: &str = "/root/files";

/// First number under which QEMU inherits a socket.
pub(crate) const FIRST_FD: i32 = 10;

/// QEMU's machine, without the features that QEMU cannot emulate.
pub(crate) const MACHINE: &str =
    "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off";

/// Unit address of the kernel console. It is below the addresses that QEMU assigns.
const FIRST_CONSOLE: usize = 0x3000_0000;

/// Distance between the unit addresses of consoles. QEMU derives the interrupt number from the
/// address.
const CONSOLE_STEP: usize = 0x1000;

/// Maximum number of ports of an adapter.
pub const MAX_PORTS: usize = 16;

/// Description of a guest. [`Builder::boot`] starts the guest.
#[derive(Debug)]
pub struct Builder {
    name: String,
    artifacts: Option<Artifacts>,
    memory: Memory,
    smp: u32,
    variant: Variant,
    crash_kernel: bool,
    adapter: bool,
    ports: Option<usize>,
    netdevs: Vec<Netdev>,
    adapter_properties: Vec<String>,
    entitlement: Option<u64>,
    append: String,
    qemu_args: Vec<String>,
    sockets: Vec<(String, OwnedFd)>,
    files: Files,
    qmp_socket: Option<PathBuf>,
    silence: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: "guest".to_owned(),
            artifacts: None,
            memory: Memory {
                size: 2 << 30,
                max: 2 << 30,
            },
            smp: 2,
            variant: Variant::default(),
            crash_kernel: false,
            adapter: true,
            ports: None,
            netdevs: Vec::new(),
            adapter_properties: Vec::new(),
            entitlement: None,
            append: String::new(),
            qemu_args: Vec::new(),
            sockets: Vec::new(),
            files: Files::default(),
            qmp_socket: None,
            silence: Duration::from_secs(600),
        }
    }
}

impl Guest {
    /// Describes a guest to boot.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Sets the name of the directory with the guest's logs. A number is added to the name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.replace(
            |c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c),
            "_",
        );
        self
    }

    /// Sets the files of which the guest is made; by default those of [`Artifacts::from_env`].
    pub fn artifacts(mut self, artifacts: Artifacts) -> Self {
        self.artifacts = Some(artifacts);
        self
    }

    /// Sets the memory from a text such as `2G` or `2G,max=16G`; by default 2 GiB without hotplug.
    pub fn mem(self, memory: &str) -> Result<Self> {
        Ok(self.memory(memory.parse()?))
    }

    /// Sets the memory.
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Sets the number of processors; 2 by default.
    pub fn smp(mut self, processors: u32) -> Self {
        self.smp = processors;
        self
    }

    /// Sets the page size of the kernel; 64 KiB by default.
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.variant.page_size = page_size;
        self
    }

    /// Selects a debug kernel, or the plain one, which is the default. A debug kernel gets memory
    /// for its checkers in addition to that of the guest.
    pub fn debug(mut self, debug: Option<Debug>) -> Self {
        self.variant.debug = debug;
        self
    }

    /// Reserves memory for a kernel that runs after a crash, in the syntax of the kernel's
    /// parameter `crashkernel`. That kernel is the guest's own, because no other kernel's modules
    /// fit. It is `vmlinux` in the directory in which commands run.
    pub fn crash_kernel(mut self, memory: &str) -> Self {
        self.crash_kernel = true;
        self.kernel_append(&format!("crashkernel={memory}"))
    }

    /// Sets the number of ports; by default the number of netdevs, but at least one. `ports(0)`
    /// makes an adapter without ports.
    pub fn ports(mut self, ports: usize) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Connects the next port. If this is never called, the first port has QEMU's user-mode
    /// network.
    pub fn netdev(mut self, netdev: impl Into<Netdev>) -> Self {
        self.netdevs.push(netdev.into());
        self
    }

    /// Leaves the adapter out.
    pub fn no_adapter(mut self) -> Self {
        self.adapter = false;
        self
    }

    /// Adds a property of the adapter device, such as `flow-control=off` or `mac0=52:54:00:00:00:01`.
    pub fn adapter_property(mut self, property: &str) -> Self {
        self.adapter_properties.push(property.to_owned());
        self
    }

    /// Makes a CMO partition with an I/O entitlement of `bytes` bytes. The stock kernel prints one
    /// warning at boot in such partitions, which is then allowed once.
    pub fn cmo(mut self, bytes: u64) -> Self {
        self.entitlement = Some(bytes);
        self
    }

    /// Adds to the kernel's command line.
    pub fn kernel_append(mut self, text: &str) -> Self {
        self.append.push(' ');
        self.append.push_str(text);
        self
    }

    /// Adds one argument to QEMU's command line.
    pub fn qemu_arg(mut self, argument: &str) -> Self {
        self.qemu_args.push(argument.to_owned());
        self
    }

    /// Adds a netdev with the id `id` that is not connected to the adapter, for another network
    /// device that [`Builder::qemu_arg`] adds.
    pub fn other_netdev(mut self, id: &str, netdev: impl Into<Netdev>) -> Self {
        match netdev.into() {
            Netdev::Socket(socket) => self.sockets.push((id.to_owned(), socket)),
            netdev => {
                if let Some(argument) = netdev.argument(id, 0) {
                    self.qemu_args.extend(["-netdev".to_owned(), argument]);
                }
            }
        }
        self
    }

    /// Copies a file of the host into the directory in which commands run, with its permissions.
    pub fn file(mut self, path: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let cannot = || format!("cannot read {}", path.display());
        let mode = std::fs::metadata(path)
            .with_context(cannot)?
            .permissions()
            .mode()
            & 0o777;
        let name = path
            .file_name()
            .with_context(cannot)?
            .to_string_lossy()
            .into_owned();
        self.files.add(
            format!("{FILES}/{name}"),
            mode,
            Content::File(path.to_owned()),
        );
        Ok(self)
    }

    /// Makes an executable file with the content `content` in the directory in which commands run.
    pub fn script(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.add(
            format!("{FILES}/{name}"),
            0o755,
            Content::Bytes(content.into()),
        );
        self
    }

    /// Offers a second monitor connection on a Unix socket at `path`.
    pub fn qmp_socket(mut self, path: &Path) -> Self {
        self.qmp_socket = Some(path.to_owned());
        self
    }

    /// Sets the time after which a guest counts as hanging if it neither prints anything nor ends a
    /// command; 10 minutes by default.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Starts the guest and waits until it accepts commands.
    pub fn boot(mut self) -> Result<Guest> {
        let artifacts = self.take_artifacts()?;
        let directory = new_directory(&artifacts.logs, &self.name)?;
        let mut sockets = Vec::new();
        let mut own = || -> Result<(UnixStream, i32)> {
            let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
            let fd = FIRST_FD + i32::try_from(sockets.len())?;
            sockets.push(FdMapping {
                parent_fd: theirs.into(),
                child_fd: fd,
            });
            Ok((ours, fd))
        };
        let mut arguments = Vec::new();
        let mut consoles = Vec::new();
        for (index, role) in ["kernel", "control", "stdout", "stderr"].iter().enumerate() {
            let (socket, fd) = own()?;
            consoles.push(socket);
            arguments.extend(["-chardev".to_owned(), format!("socket,id={role},fd={fd}")]);
            let reg = FIRST_CONSOLE + index * CONSOLE_STEP;
            arguments.extend([
                "-device".to_owned(),
                format!("spapr-vty,chardev={role},reg={reg:#x}"),
            ]);
        }
        let (monitor, fd) = own()?;
        arguments.extend(["-chardev".to_owned(), format!("socket,id=monitor,fd={fd}")]);
        arguments.extend(["-mon".to_owned(), "chardev=monitor,mode=control".to_owned()]);

        let mut command = self.command(&artifacts, &directory, "agent", &mut sockets)?;
        command.args(arguments);
        let log = std::fs::File::create(directory.join("qemu.log"))
            .context("cannot create QEMU's log")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        std::fs::write(directory.join("command"), format!("{command:?}\n"))?;
        command.fd_mappings(sockets)?;
        let child =
            process::spawn(command).context("cannot start bwrap: run `cargo xtask doctor`")?;

        let [kernel, control, stdout, stderr] = <[UnixStream; 4]>::try_from(consoles)
            .map_err(|_| anyhow::anyhow!("a guest has four consoles"))?;
        let allowed = self
            .entitlement
            .map(|_| "Firmware features changed after feature patching!");
        let memory = self.all_memory();
        Guest::start(Parts {
            name: self.name,
            directory,
            child,
            kernel,
            control,
            stdout,
            stderr,
            monitor,
            silence: self.silence,
            debug: self.variant.debug,
            memory,
            allowed: allowed.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Starts the guest with a shell on this process's terminal and waits for its end.
    pub fn interactive(mut self) -> Result<ExitStatus> {
        let artifacts = self.take_artifacts()?;
        let directory = new_directory(&artifacts.logs, &self.name)?;
        let mut sockets = Vec::new();
        let mut command = self.command(&artifacts, &directory, "shell", &mut sockets)?;
        command.args(["-chardev", "stdio,id=kernel,mux=on,signal=off"]);
        command.args([
            "-device",
            "spapr-vty,chardev=kernel,reg=0x30000000",
            "-mon",
            "chardev=kernel",
        ]);
        let log = directory.join("qemu.log");
        eprintln!("what the adapter does is traced in {}", log.display());
        command.arg("-D").arg(log).fd_mappings(sockets)?;
        let mut child =
            process::spawn(command).context("cannot start bwrap: run `cargo xtask doctor`")?;
        let status = child.wait()?;
        // Nobody needs the initial RAM disk any more.
        let _ = std::fs::remove_file(directory.join("initrd"));
        Ok(status)
    }

    /// Returns the guest's memory, including that for the checkers of a debug kernel.
    fn all_memory(&self) -> Memory {
        let more = self.variant.debug.map_or(0, Debug::memory);
        Memory {
            size: self.memory.size + more,
            max: self.memory.max + more,
        }
    }

    fn take_artifacts(&mut self) -> Result<Artifacts> {
        match self.artifacts.take() {
            Some(artifacts) => Ok(artifacts),
            None => Artifacts::from_env(),
        }
    }

    /// Returns the part of QEMU's command line that both kinds of guests share.
    fn command(
        &mut self,
        artifacts: &Artifacts,
        directory: &Path,
        mode: &str,
        sockets: &mut Vec<FdMapping>,
    ) -> Result<Command> {
        let kernel = artifacts.kernel(self.variant)?;
        self.files.add("/init", 0o755, Content::Bytes(INIT.into()));
        let sandbox = Sandbox::new(&artifacts.root);
        self.files
            .add_modules(kernel, &sandbox, &directory.join("modules"))?;
        if self.crash_kernel {
            let content = Content::File(kernel.vmlinux.clone());
            self.files.add(format!("{FILES}/vmlinux"), 0o644, content);
        }
        if let Some(tools) = &artifacts.tools {
            let content = Content::File(tools.clone());
            self.files.add("/usr/bin/ehea-net", 0o755, content);
        }
        let initrd = directory.join("initrd");
        self.files.write(&artifacts.userland, &initrd)?;

        let mut machine = MACHINE.to_owned();
        if let Some(bytes) = self.entitlement {
            write!(machine, ",cmo-entitlement={bytes}")?;
        }
        let append = format!(
            "console=hvc0 panic=-1 oops=panic EHEA_MODE={mode}{}{}",
            self.variant.debug.map_or("", Debug::append),
            self.append
        );
        let mut command = sandbox.command(&artifacts.qemu);
        command.args([
            "-M",
            &machine,
            "-cpu",
            "power9",
            "-smp",
            &self.smp.to_string(),
        ]);
        command.args([
            "-m",
            &self.all_memory().to_string(),
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(["-L", "/usr/share/qemu", "-append", &append]);
        command
            .arg("-kernel")
            .arg(&kernel.vmlinux)
            .arg("-initrd")
            .arg(&initrd);
        if self.adapter {
            self.adapter(&mut command, sockets)?;
        } else if !self.netdevs.is_empty() || self.ports.is_some() {
            bail!("ports and netdevs need the adapter");
        }
        for (id, socket) in self.sockets.drain(..) {
            connect(&mut command, &id, Netdev::Socket(socket), sockets)?;
        }
        if let Some(path) = &self.qmp_socket {
            let path = std::path::absolute(path)?;
            command
                .arg("-qmp")
                .arg(format!("unix:{},server=on,wait=off", path.display()));
        }
        command.args(&self.qemu_args);
        Ok(command)
    }

    fn adapter(&mut self, command: &mut Command, sockets: &mut Vec<FdMapping>) -> Result<()> {
        if self.netdevs.is_empty() && self.ports != Some(0) {
            self.netdevs.push(Netdev::User);
        }
        let ports = self.ports.unwrap_or(self.netdevs.len());
        if self.netdevs.len() > ports || ports > MAX_PORTS {
            bail!(
                "{} netdevs for {ports} ports; an adapter has at most {MAX_PORTS} ports",
                self.netdevs.len()
            );
        }
        let mut device = format!("spapr-ehea,id=ehea0,ports={ports}");
        for (index, netdev) in self.netdevs.drain(..).enumerate() {
            let id = format!("n{index}");
            if connect(command, &id, netdev, sockets)? {
                write!(device, ",netdev{index}={id}")?;
            }
        }
        for property in &self.adapter_properties {
            write!(device, ",{property}")?;
        }
        if self.variant.debug.is_some() {
            let patience = format!("spapr-ehea.reraise-ms={}", Debug::RERAISE_MS);
            command.args(["-global", &patience]);
        }
        command.args(["-device", &device]);
        // Each refusal becomes a line with its reason in QEMU's log.
        command.args(["-trace", "ehea_trace_refused", "-trace", "ehea_trace_event"]);
        Ok(())
    }
}

/// Adds a `-netdev` option. Returns false if there is none to add.
fn connect(
    command: &mut Command,
    id: &str,
    netdev: Netdev,
    sockets: &mut Vec<FdMapping>,
) -> Result<bool> {
    let child_fd = FIRST_FD + i32::try_from(sockets.len())?;
    let Some(argument) = netdev.argument(id, child_fd) else {
        return Ok(false);
    };
    command.args(["-netdev", &argument]);
    if let Netdev::Socket(parent_fd) = netdev {
        sockets.push(FdMapping {
            parent_fd,
            child_fd,
        });
    }
    Ok(true)
}

/// Makes a directory `name-N`, with the first number for which none exists.
pub(crate) fn new_directory(logs: &Path, name: &str) -> Result<PathBuf> {
    let cannot = || format!("cannot create a directory in {}", logs.display());
    std::fs::create_dir_all(logs).with_context(cannot)?;
    for number in 1.. {
        let path = logs.join(format!("{name}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(cannot),
        }
    }
    bail!("{}: no number is free for {name}", logs.display())
}
