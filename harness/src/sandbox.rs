// SPDX-License-Identifier: GPL-2.0
//! Commands that run in the build root's userland.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command line that sees this machine's files, but with `/usr` and `/etc` of the build root, in
/// its own process namespace. All paths mean the same inside and outside. No process is left behind
/// when the caller ends.
#[derive(Clone, Debug)]
pub struct Sandbox {
    root: PathBuf,
    network: bool,
}

impl Sandbox {
    /// Returns a sandbox over the build root in `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            network: true,
        }
    }

    /// Returns the same sandbox without any network, not even this machine's own.
    pub fn without_network(self) -> Self {
        Self {
            network: false,
            ..self
        }
    }

    /// Returns a command that runs `program` inside. Its arguments, directory and environment are
    /// set as usual.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.bubblewrap();
        command.arg("--").arg(program);
        command
    }

    /// Returns a command as [`Sandbox::command`] does, with `actual` mounted where the program sees
    /// `seen`. Both paths exist.
    pub fn command_with_mount(
        &self,
        actual: &Path,
        seen: &Path,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let mut command = self.bubblewrap();
        command
            .arg("--bind")
            .arg(actual)
            .arg(seen)
            .arg("--")
            .arg(program);
        command
    }

    fn bubblewrap(&self) -> Command {
        let mut command = Command::new("bwrap");
        command.args(["--dev-bind", "/", "/"]);
        command
            .arg("--ro-bind")
            .arg(self.root.join("usr"))
            .arg("/usr");
        command
            .arg("--ro-bind")
            .arg(self.root.join("etc"))
            .arg("/etc");
        command.args(["--proc", "/proc", "--unshare-pid", "--die-with-parent"]);
        if !self.network {
            command.arg("--unshare-net");
        }
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}
