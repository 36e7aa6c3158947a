// SPDX-License-Identifier: GPL-2.0
//! QEMU with the adapter: Debian's source, this project's patches and device, and the model as a
//! library.
//!
//! There are two artifacts. [`QemuTree`] is the patched and configured source, which keeps its
//! build directory and is changed in place under a lock. [`Qemu`] is a binary linked in it. A
//! changed model therefore costs a link, and a changed device file a compilation.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use ehea_harness::Sandbox;

use crate::artifacts::model::LIBRARY;
use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::patches;
use crate::artifacts::{jobs, model};
use crate::cache::{Artifact, Build, Cache, Entry};
use crate::key::Key;

/// Directory of the device in the checkout, and that of the patches.
const DEVICE: &str = "qemu";

const PATCHES: &str = "qemu/patches";

/// List of the devices of the emulator in the checkout, and its place in QEMU's source.
const DEVICES: &str = "qemu/pseries.mak";
const DEVICES_IN_SOURCE: &str = "configs/devices/ppc64-softmmu/ehea.mak";

/// Options of configure, for a small QEMU with what this project's guests use. Debug information
/// would only be stripped.
const OPTIONS: &[&str] = &[
    "--target-list=ppc64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-ppc64=ehea",
    "--enable-tcg",
    "--enable-slirp",
    "--enable-fdt=system",
    "--enable-plugins",
    "--disable-debug-info",
    "--disable-docs",
    "--disable-werror",
    "--disable-install-blobs",
];

const BINARY: &str = "qemu-system-ppc64";

/// The patched and configured source.
#[derive(Debug)]
pub(crate) struct QemuTree<'a> {
    /// The build root, which holds the source package.
    pub(crate) root: &'a Entry,
    /// The checkout, with the patches.
    pub(crate) checkout: &'a Path,
}

impl QemuTree<'_> {
    const SOURCE: &'static str = "source";
    const BUILD: &'static str = "build";

    /// Directory with the header for plugins, in the entry.
    pub(crate) const HEADERS: &'static str = "source/include/qemu";
}

impl Artifact for QemuTree<'_> {
    fn kind(&self) -> &'static str {
        "qemu-tree"
    }

    fn title(&self) -> String {
        "QEMU source".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        key.text("options", OPTIONS.join(" "));
        key.files(self.checkout, DEVICES)?;
        key.files(self.checkout, PATCHES)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let tree = self.root.path(BuildRoot::TREE);
        let sandbox = Sandbox::new(&tree);
        let package = std::fs::read_dir(tree.join("usr/src"))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .find(|name| name.starts_with("qemu_") && name.ends_with(".dsc"))
            .context("the build root has no source package of QEMU")?;
        let (here, there) = (
            build.directory.join(Self::SOURCE),
            build.place.join(Self::SOURCE),
        );
        // The signature was verified when apt fetched the package.
        let mut command = sandbox.command("dpkg-source");
        command
            .args(["--no-check", "-x"])
            .arg(Path::new("/usr/src").join(package))
            .arg(&here);
        build.step.run("unpacking", &mut command)?;
        for patch in patches(&self.checkout.join(PATCHES))? {
            let mut command = sandbox.command("patch");
            command
                .args(["-p1", "--forward", "-i"])
                .arg(&patch)
                .current_dir(&here);
            build.step.run("patching", &mut command)?;
        }
        copy_device(self.checkout, &here)?;
        copy_if_different(&self.checkout.join(DEVICES), &here.join(DEVICES_IN_SOURCE))?;
        std::fs::create_dir(build.directory.join(Self::BUILD))?;
        // The library is put there before the first link; configure only checks whether it exists.
        std::fs::write(build.directory.join(LIBRARY), "")?;
        let mut command = sandbox.command_with_mount(build.directory, build.place, "sh");
        command
            .args(["-ec", "cd \"$0\" && exec \"$@\""])
            .arg(build.place.join(Self::BUILD));
        command.arg(there.join("configure")).args(OPTIONS);
        command.arg(format!(
            "-Dehea_model={}",
            build.place.join(LIBRARY).display()
        ));
        build.step.run("configuring", &mut command)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![
            Path::new(Self::SOURCE).join("configure"),
            Path::new(Self::SOURCE).join("VERSION"),
        ]
    }

    fn is_workspace(&self) -> bool {
        true
    }
}

/// Returns the number of commands that ninja runs to build QEMU in an empty directory.
pub(crate) fn commands(root: &Entry, tree: &Entry) -> Result<usize> {
    let mut command = Sandbox::new(&root.path(BuildRoot::TREE)).command("ninja");
    command.arg("-C").arg(tree.path(QemuTree::BUILD));
    let output = command
        .args(["-t", "commands", BINARY])
        .output()
        .context("cannot run ninja")?;
    ensure!(
        output.status.success(),
        "ninja does not tell what it builds QEMU with: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

/// Returns the device's files, in a fixed order.
fn device_files(checkout: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(checkout.join(DEVICE))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "c" || e == "h") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Copies the files of the device and of the machine into the source. Only files that differ are
/// touched.
fn copy_device(checkout: &Path, source: &Path) -> Result<()> {
    for path in device_files(checkout)? {
        let name = path.file_name().context("a file without a name")?;
        let directory = match name.to_string_lossy().starts_with("spapr_cmo") {
            true => "hw/ppc",
            false => "hw/net",
        };
        copy_if_different(&path, &source.join(directory).join(name))?;
    }
    Ok(())
}

fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if std::fs::read(to).ok().as_ref() != Some(&content) {
        std::fs::write(to, content).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The emulator.
#[derive(Debug)]
pub(crate) struct Qemu<'a> {
    /// The build root.
    pub(crate) root: &'a Entry,
    /// The configured source.
    pub(crate) tree: &'a Entry,
    /// The checkout, with device and model.
    pub(crate) checkout: &'a Path,
    /// Cargo's output directory.
    pub(crate) target: &'a Path,
    /// Cache, which holds the lock of the tree.
    pub(crate) cache: &'a Cache,
}

impl Qemu<'_> {
    /// Name of the binary in the entry.
    pub(crate) const BINARY: &'static str = BINARY;
}

impl Artifact for Qemu<'_> {
    fn kind(&self) -> &'static str {
        "qemu"
    }

    fn title(&self) -> String {
        "QEMU with the adapter".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("tree", &self.tree.identity);
        for path in device_files(self.checkout)? {
            key.files(
                self.checkout,
                &path.strip_prefix(self.checkout)?.to_string_lossy(),
            )?;
        }
        model::inputs(self.checkout, key)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let library = model::compile(self.checkout, self.target, build.step)?;
        let name = self
            .tree
            .directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let _lock = self.cache.lock(&format!("qemu-build-{name}"), "QEMU")?;
        copy_if_different(&library, &self.tree.path(LIBRARY))?;
        copy_device(self.checkout, &self.tree.path(QemuTree::SOURCE))?;
        let directory = self.tree.path(QemuTree::BUILD);
        let mut command = Sandbox::new(&self.root.path(BuildRoot::TREE)).command("ninja");
        command.arg("-C").arg(&directory).args([&jobs(), BINARY]);
        build.step.run("compiling", &mut command).with_context(|| {
            let tree = self.tree.directory.display();
            format!("QEMU does not build in {tree} (remove that to build all of it again)")
        })?;
        let to = build.directory.join(BINARY);
        std::fs::copy(directory.join(BINARY), &to).context("the build did not make QEMU")?;
        let mut command = Sandbox::new(&self.root.path(BuildRoot::TREE)).command("strip");
        command.arg("--strip-debug").arg(&to);
        build.step.run("stripping", &mut command)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![BINARY.into()]
    }
}
