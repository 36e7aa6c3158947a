// SPDX-License-Identifier: GPL-2.0
//! State of the cache, for `doctor`.

use std::time::Duration;

use anyhow::Result;
use ehea_harness::Variant;

use crate::artifacts::callgrind::Callgrind;
use crate::artifacts::crates::Crates;
use crate::artifacts::firmware::Firmwares;
use crate::artifacts::kernel::Kernel;
use crate::artifacts::module::{KernelTree, Module};
use crate::artifacts::plugin::Plugin;
use crate::artifacts::qemu::{Qemu, QemuTree};
use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::KernelSource;
use crate::artifacts::tools::{GuestTools, Machine};
use crate::artifacts::userland::Userland;
use crate::cache::{Artifact, Entry, State};
use crate::context::Context;
use crate::times::in_one_go;

/// Returns the state of each artifact in the cache, or `None` for those whose state cannot be known
/// before something else is made.
pub(crate) fn states(context: &Context) -> Result<Vec<(String, Option<State>)>> {
    let (cache, checkout, target) = (&context.cache, &context.checkout, &context.target());
    let mut states = Vec::new();
    // Returns the entry if it exists, so that the state of what is made from it can be found.
    let mut look = |artifact: &dyn Artifact| -> Result<Option<Entry>> {
        let state = cache.state(artifact)?;
        let entry = if state.is_present() {
            Some(cache.ensure(artifact)?)
        } else {
            None
        };
        states.push((artifact.title(), Some(state)));
        Ok(entry)
    };
    let mut unknown = Vec::new();
    if let Some(root) = look(&BuildRoot)? {
        look(&Userland {
            root: root.path(BuildRoot::TREE),
        })?;
        look(&GuestTools {
            root: &root,
            checkout,
            machine: Machine::LittleEndian,
        })?;
        match look(&QemuTree {
            root: &root,
            checkout,
        })? {
            Some(tree) => {
                look(&Qemu {
                    root: &root,
                    tree: &tree,
                    checkout,
                    target,
                    cache,
                })?;
                look(&Plugin {
                    root: &root,
                    tree: &tree,
                    checkout,
                })?;
            }
            None => unknown.extend(["QEMU with the adapter", "instruction counter"]),
        }
        if let Some(source) = look(&KernelSource {
            root: &root,
            checkout,
            debug: false,
        })? {
            let variant = Variant::default();
            match look(&Kernel {
                root: &root,
                source: &source,
                checkout,
                variant,
            })? {
                Some(kernel) => {
                    let root = root.path(BuildRoot::TREE);
                    let kernel = KernelTree {
                        root,
                        identity: kernel.identity,
                        build: kernel.directory,
                    };
                    look(&Module {
                        checkout,
                        kernel: &kernel,
                    })?;
                }
                None => unknown.push("driver module"),
            }
        } else {
            unknown.extend(["kernel", "driver module"]);
        }
    } else {
        unknown.extend(["guest userland", "QEMU", "kernel", "driver module"]);
    }
    states.extend(unknown.into_iter().map(|name| (name.to_owned(), None)));
    Ok(states)
}

/// Returns the state of what no guest needs, but machines without a kernel, benchmarks and lints do.
pub(crate) fn other_states(context: &Context) -> Result<Vec<(String, Option<State>)>> {
    let (cache, checkout) = (&context.cache, &context.checkout);
    let state = |artifact: &dyn Artifact| -> Result<(String, Option<State>)> {
        Ok((artifact.title(), Some(cache.state(artifact)?)))
    };
    let firmwares = match cache.state(&BuildRoot)?.is_present() {
        true => {
            let root = &cache.ensure(&BuildRoot)?;
            state(&Firmwares { root, checkout })?
        }
        false => ("firmwares".to_owned(), None),
    };
    Ok(vec![
        firmwares,
        state(&Crates { checkout })?,
        state(&Callgrind)?,
    ])
}

/// Returns the time that it took to make everything that a guest needs, if it was made in one run.
pub(crate) fn cold_setup(states: &[(String, Option<State>)]) -> Option<Duration> {
    let makings = states.iter().map(|(_, state)| match state {
        Some(State::Present(making)) => making.clone(),
        _ => None,
    });
    in_one_go(&makings.collect::<Vec<_>>())
}
