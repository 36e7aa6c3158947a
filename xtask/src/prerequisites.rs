// SPDX-License-Identifier: GPL-2.0
//! Programs of the host that the set-up needs, installed on demand.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Context, Result};

use crate::progress::say;

/// A program, and the Debian package that contains it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
}

/// All programs that are needed and not part of every Debian.
pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        name: "mmdebstrap",
        package: "mmdebstrap",
        purpose: "makes the build root and the guest's userland",
    },
    Program {
        name: "bwrap",
        package: "bubblewrap",
        purpose: "runs commands in the build root",
    },
];

/// Checks whether this process may install packages.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the path of a program, or `None` if it is not installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Returns a command that sees all of this machine, and that ends, together with everything it
/// started, when this process does. Installs the prerequisites if they are missing.
pub(crate) fn contained(program: impl AsRef<OsStr>) -> Result<Command> {
    ensure()?;
    let mut command = Command::new("bwrap");
    command.args(["--dev-bind", "/", "/", "--proc", "/proc"]);
    command.args(["--unshare-pid", "--die-with-parent", "--"]);
    command.arg(program);
    Ok(command)
}

/// Returns a command for the cargo that runs this tool, contained in the same way.
pub(crate) fn cargo() -> Result<Command> {
    contained(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Refreshes the machine's package lists.
pub(crate) fn update_lists() -> Result<()> {
    say("updating this machine's package lists (apt-get update)");
    apt_get(&["update"])
}

/// Lock that is held while programs are installed, because work at the same time needs them, too.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Installs what is missing. Without the right to install, it fails and names what to install.
pub(crate) fn ensure() -> Result<()> {
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|p| find(p.name).is_none())
        .map(|p| p.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() {
        bail!("missing on this machine: {list}; run `apt-get install {list}` as root");
    }
    say(format_args!(
        "installing on this machine: {list} (apt-get install)"
    ));
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&missing);
    if apt_get(&install).is_err() {
        update_lists()?;
        apt_get(&install)?;
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args([
            "-q",
            "-o",
            "Acquire::Retries=3",
            "-o",
            "DPkg::Lock::Timeout=300",
        ])
        .args(arguments);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    let output = command
        .output()
        .context("cannot run apt-get: this is not a Debian machine")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let why = text
            .lines()
            .find(|line| line.starts_with("E:"))
            .unwrap_or("no reason given");
        bail!("apt-get {} failed: {why}", arguments.join(" "));
    }
    Ok(())
}
