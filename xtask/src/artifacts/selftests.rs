// SPDX-License-Identifier: GPL-2.0
//! The kernel's own driver selftests, in a userland that has what they need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ehea_harness::Sandbox;

use crate::artifacts::root::BuildRoot;
use crate::artifacts::userland::{self, Userland};
use crate::artifacts::{jobs, source};
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

const PACKAGES: &str = include_str!("../../../guest/selftests.packages");

/// Collections of selftests, by the names in the kernel's makefiles. The last one is a library.
const TARGETS: &[&str] = &["drivers/net", "drivers/net/hw", "net/lib"];

/// Directories of the source that are needed neither for the tests nor for the kernel's headers.
const EXCLUDED: &[&str] = &[
    "Documentation/devicetree",
    "block",
    "crypto",
    "drivers",
    "fs",
    "kernel",
    "mm",
    "net",
    "security",
    "sound",
];

/// Directory of the tests in the guest.
const INSTALLED: &str = "usr/lib/kselftest";

/// Header of the kernel in which shell scripts look for the possible speeds.
const HEADER: &str = "usr/include/linux/ethtool.h";

/// Prefix of the cross compiler's programs.
const CROSS: &str = "powerpc64le-linux-gnu-";

/// Replacement for the Python module of that name when C code is generated from netlink
/// specifications. The specifications are the kernel's own and have been validated there.
const NO_VALIDATION: &str = "def validate(instance, schema):\n    pass\n";

/// The archive with the tests, with which guests start instead of the [`Userland`].
#[derive(Debug)]
pub(crate) struct Selftests<'a> {
    /// The build root, with the kernel's source package and the compilers.
    pub(crate) root: &'a Entry,
}

impl Selftests<'_> {
    /// Name of the archive in the entry.
    pub(crate) const ARCHIVE: &'static str = Userland::ARCHIVE;

    /// Name of the list of tests in the entry: `COLLECTION:FILE` in each line.
    pub(crate) const LIST: &'static str = "kselftest-list.txt";

    fn packages() -> Vec<&'static str> {
        let mut packages = userland::packages();
        packages.extend(userland::listed(PACKAGES));
        packages.sort_unstable();
        packages.dedup();
        packages
    }

    /// Builds the tests and their helpers with the kernel's own makefiles.
    fn compile(&self, build: &Build<'_>, tree: &Path) -> Result<()> {
        let sandbox = Sandbox::new(&self.root.path(BuildRoot::TREE));
        let [linux, python, bpf] = ["linux", "python", "bpf"].map(|d| build.directory.join(d));
        source::unpack(build, &sandbox, EXCLUDED, &linux)?;

        let make = |directory: &str, arguments: &[String]| -> Command {
            let mut command = sandbox.command("make");
            command
                .arg(format!("-C{}", linux.join(directory).display()))
                .args(["ARCH=powerpc", "V=1", &jobs()])
                .arg(format!("CROSS_COMPILE={CROSS}"))
                .args(arguments)
                .env("PYTHONPATH", &python)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        build
            .step
            .run("headers", &mut make("", &["headers".to_owned()]))?;
        // Programs for BPF only need the headers of libbpf. With this file in place of the library,
        // the library is not built, which would take libraries for ppc64el.
        std::fs::create_dir(&bpf)?;
        let library = bpf.join("not-built");
        let mut headers = make(
            "tools/lib/bpf",
            &[
                format!("OUTPUT={}/", bpf.display()),
                format!("DESTDIR={}", bpf.display()),
                "prefix=".to_owned(),
                "install_headers".to_owned(),
            ],
        );
        build.step.run("headers of libbpf", &mut headers)?;
        std::fs::write(&library, "")?;

        // The build root has no YAML for its own python, which has the same version as the guest's.
        std::fs::create_dir(&python)?;
        let yaml = tree.join("usr/lib/python3/dist-packages/yaml");
        std::os::unix::fs::symlink(&yaml, python.join("yaml"))
            .with_context(|| format!("cannot link to {}", yaml.display()))?;
        std::fs::write(python.join("jsonschema.py"), NO_VALIDATION)?;
        let mut install = make(
            "tools/testing/selftests",
            &[
                format!("TARGETS={}", TARGETS.join(" ")),
                "FORCE_TARGETS=1".to_owned(),
                format!("CC={CROSS}gcc"),
                format!("AR={CROSS}ar"),
                format!("CLANG=clang-19 -I{}/include", bpf.display()),
                format!("BPFOBJ={}", library.display()),
                "USERLDFLAGS=-static".to_owned(),
                format!("INSTALL_PATH={}", tree.join(INSTALLED).display()),
                "install".to_owned(),
            ],
        );
        build.step.run("compiling", &mut install)?;
        let header = tree.join(HEADER);
        if let Some(directory) = header.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::copy(linux.join(HEADER), &header).with_context(|| format!("no {HEADER}"))?;
        for directory in [linux, python, bpf] {
            userland::remove(&directory)?;
        }
        Ok(())
    }
}

impl Artifact for Selftests<'_> {
    fn kind(&self) -> &'static str {
        "selftests"
    }

    fn title(&self) -> String {
        "the kernel's driver selftests".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        key.text("targets", TARGETS.join(" "));
        key.text("excluded", EXCLUDED.join(" "));
        key.text("header", HEADER);
        Userland::key(key, &Self::packages());
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let tree = build.directory.join("tree");
        userland::unpack(build, &Self::packages(), &tree)?;
        self.compile(build, &tree)?;
        std::fs::copy(
            tree.join(INSTALLED).join(Self::LIST),
            build.directory.join(Self::LIST),
        )
        .context("the tests were installed without a list")?;
        let sandbox = Sandbox::new(&self.root.path(BuildRoot::TREE));
        userland::archive(build, &sandbox, &tree)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![Self::ARCHIVE.into(), Self::LIST.into()]
    }
}
