// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask build`: builds the driver as a kernel module.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{bail, ensure, Context as _, Result};
use clap::Args;
use ehea_harness::{Debug, PageSize, Sandbox, Variant};

use crate::artifacts::module::{copy_sources, KernelTree, Module};
use crate::artifacts::root::BuildRoot;
use crate::artifacts::{jobs, module};
use crate::commands::Task;
use crate::context::Context;
use crate::progress::Step;
use crate::setup;

/// Builds the driver and prints its path.
#[derive(Args, Debug)]
pub(crate) struct BuildCommand {
    /// Page size of the kernel that the tool builds, 4k or 64k.
    #[arg(long, default_value = "64k", conflicts_with = "kdir")]
    page_size: PageSize,
    /// Builds for a debug kernel: kasan or lockdep.
    #[arg(long, value_name = "KIND", conflicts_with = "kdir")]
    debug: Option<Debug>,
    /// Builds for this kernel instead: the output directory of a powerpc kernel built with
    /// CONFIG_RUST=y. This machine's compilers are used, or the build root's if the kernel was
    /// built with those. Variables that the kernel's make knows (LLVM, CROSS_COMPILE, …) are taken
    /// from the environment.
    #[arg(long, value_name = "DIR")]
    kdir: Option<PathBuf>,
}

impl Task for BuildCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let module = match &self.kdir {
            Some(kdir) => build_for(context, kdir)?,
            None => {
                let variant = Variant {
                    page_size: self.page_size,
                    debug: self.debug,
                };
                setup::kernels(context, &[variant])?
                    .get(&variant)
                    .and_then(|k| k.module.clone())
                    .context("no module was built")?
            }
        };
        println!("{}", module.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds for a kernel of the user, in cargo's output directory.
fn build_for(context: &Context, kdir: &Path) -> Result<PathBuf> {
    let kdir = kdir
        .canonicalize()
        .with_context(|| format!("there is no kernel in {}", kdir.display()))?;
    let file = kdir.join("include/config/auto.conf");
    let configuration = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "{} is not a built kernel (no include/config/auto.conf)",
            kdir.display()
        )
    })?;
    let has = |line: &str| configuration.lines().any(|l| l == line);
    ensure!(
        has("CONFIG_RUST=y"),
        "the kernel in {} was built without CONFIG_RUST=y",
        kdir.display()
    );
    ensure!(
        has("CONFIG_PPC64=y"),
        "the kernel in {} is not for 64-bit powerpc",
        kdir.display()
    );
    let wanted = configuration
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_RUSTC_VERSION_TEXT=\""));
    let wanted = wanted.unwrap_or_default().trim_end_matches('"');

    let directory = context.target().join("kdir");
    let step = Step::start(
        &format!("driver module for {}", kdir.display()),
        &context.target().join("kdir.log"),
    )?;
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    copy_sources(&context.checkout, &directory)?;
    let mut command = if rustc_version(Command::new("rustc")) == wanted {
        host_make(&kdir, &directory, has("CONFIG_CC_IS_CLANG=y"))
    } else {
        let root = context.cache.ensure(&BuildRoot)?.path(BuildRoot::TREE);
        let sandbox = Sandbox::new(&root);
        if rustc_version(sandbox.command("rustc")) != wanted {
            bail!(
                "the kernel in {} was built with {wanted}, which is not installed here",
                kdir.display()
            );
        }
        let kernel = KernelTree {
            root,
            build: kdir,
            identity: String::new(),
        };
        module::make(&kernel, sandbox.command("make"), &directory)?
    };
    step.run("compiling", &mut command)?;
    step.done();
    Ok(directory.join(Module::DRIVER))
}

fn host_make(kdir: &Path, directory: &Path, clang: bool) -> Command {
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(kdir)
        .arg(format!("M={}", directory.display()));
    command.args(["ARCH=powerpc", &jobs(), "modules"]);
    if clang && std::env::var_os("LLVM").is_none() {
        command.arg("LLVM=1");
    }
    // The toolchain that runs this tool may not be the default one.
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn rustc_version(mut rustc: Command) -> String {
    let output = rustc
        .arg("--version")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default()
}
