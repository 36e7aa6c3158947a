// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask guest`: runs a script in a guest.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use ehea_harness::{
    parse_size, Builder, Debug, Guest, GuestError, Memory, Netdev, PageSize, Stream, Variant,
};

use crate::commands::Task;
use crate::context::Context;
use crate::setup;

/// Options of every command that boots one guest.
#[derive(Args, Clone, Debug)]
pub(crate) struct GuestOptions {
    /// Memory at boot, and the limit for memory that is plugged in later: 2G or 2G,max=16G.
    #[arg(long, default_value = "2G", value_name = "SIZE[,max=SIZE]")]
    mem: Memory,
    /// Number of processors.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Number of ports of the adapter; by default the number of netdevs, but at least one.
    #[arg(long)]
    ports: Option<usize>,
    /// Page size of the kernel, 4k or 64k.
    #[arg(long, default_value = "64k")]
    page_size: PageSize,
    /// Boots a debug kernel: kasan (memory and objects) or lockdep (locks, RCU, contexts). It is
    /// built the first time, which takes half an hour. Memory for its checkers is added.
    #[arg(long, value_name = "KIND")]
    debug: Option<Debug>,
    /// Makes a CMO partition with this I/O entitlement in bytes (64M, …).
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    cmo: Option<u64>,
    /// Adds to the kernel's command line.
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    kernel_append: Vec<String>,
    /// Adds one argument to QEMU's command line.
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    qemu_arg: Vec<String>,
    /// Connects the next port to a QEMU network backend (without id): user, none, hubport,hubid=0 …
    #[arg(long, value_name = "SPEC")]
    netdev: Vec<String>,
    /// Offers QEMU's monitor on a Unix socket at this path.
    #[arg(long, value_name = "SOCKET")]
    qmp: Option<PathBuf>,
    /// Leaves the adapter out.
    #[arg(long)]
    no_adapter: bool,
}

impl GuestOptions {
    /// Makes the artifacts of which the guest consists, and describes the guest.
    pub(crate) fn builder(&self, context: &Context) -> Result<Builder> {
        let variant = Variant {
            page_size: self.page_size,
            debug: self.debug,
        };
        let artifacts = setup::guest(context, &[variant])?;
        let mut builder = Guest::builder()
            .artifacts(artifacts)
            .memory(self.mem)
            .smp(self.smp)
            .page_size(self.page_size)
            .debug(self.debug);
        if let Some(ports) = self.ports {
            builder = builder.ports(ports);
        }
        if let Some(bytes) = self.cmo {
            builder = builder.cmo(bytes);
        }
        for text in &self.kernel_append {
            builder = builder.kernel_append(text);
        }
        for argument in &self.qemu_arg {
            builder = builder.qemu_arg(argument);
        }
        for spec in &self.netdev {
            builder = builder.netdev(Netdev::from(spec.as_str()));
        }
        if let Some(path) = &self.qmp {
            builder = builder.qmp_socket(path);
        }
        if self.no_adapter {
            builder = builder.no_adapter();
        }
        Ok(builder)
    }
}

/// Boots a guest, runs a script in it as root and exits with the script's exit status.
///
/// The script and the files are copied to the directory in which the script runs; a script without
/// `#!` is run by sh. The built module is installed for modprobe. The output of the script is
/// streamed.
///
/// Failures of the guest itself have exit codes of their own: 111 if the kernel panicked, 112 if
/// the kernel reported an Oops, a WARN, a stall or the like, 113 if the guest hangs, 114 if QEMU
/// ended or could not be started.
#[derive(Args, Debug)]
pub(crate) struct GuestCommand {
    #[command(flatten)]
    options: GuestOptions,
    /// Seconds without any output after which the guest is taken to hang.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Script of this machine, and files that it needs.
    #[arg(last = true, required = true, value_name = "SCRIPT [FILE]…")]
    files: Vec<PathBuf>,
}

impl Task for GuestCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let script = self.files.first().context("no script")?;
        let name = script
            .file_name()
            .context("the script has no name")?
            .to_string_lossy()
            .into_owned();
        // The files are checked before anything slow is made for them.
        for file in &self.files {
            File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        }
        let mut builder = self
            .options
            .builder(context)?
            .name(&name)
            .silence(Duration::from_secs(self.timeout));
        for file in &self.files {
            builder = builder.file(file)?;
        }
        match run(builder, &name) {
            Ok(status) => Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))),
            Err(error) => match error.downcast_ref::<GuestError>() {
                Some(failure) => {
                    eprintln!("error: {failure}");
                    Ok(ExitCode::from(match failure {
                        GuestError::Panic { .. } => 111,
                        GuestError::Kernel { .. } => 112,
                        GuestError::Hang { .. } => 113,
                        GuestError::Gone { .. } => 114,
                    }))
                }
                None => Err(error),
            },
        }
    }
}

/// Runs the copied script. Returns its exit status, or the guest's failure.
fn run(builder: Builder, name: &str) -> Result<i32> {
    let guest = builder.boot()?;
    let quoted = format!("'./{}'", name.replace('\'', r"'\''"));
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    // As in the kernel, `#!` names the interpreter; a shell runs everything else.
    let command = format!("if [ \"$(head -c 2 {quoted})\" = '#!' ]; then chmod +x {quoted}; {quoted}; else sh {quoted}; fi");
    let status = guest.run_streaming(&command, |stream, bytes| {
        // The reader may be gone, but the script's status still counts.
        let _ = match stream {
            Stream::Stdout => out.write_all(bytes).and_then(|()| out.flush()),
            Stream::Stderr => err.write_all(bytes),
        };
    })?;
    guest.shutdown()?;
    Ok(status)
}
