// SPDX-License-Identifier: GPL-2.0
//! Set-up of what the witness's guest needs.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;
use ehea_harness::{Artifacts, Kernel, Variant, WITNESS_ARTIFACTS_VARIABLE};

use super::hand_over::{describe, hand_over};
use super::{both, guest};
use crate::artifacts::tools::{GuestTools, Machine};
use crate::artifacts::witness::{WitnessKernel, WitnessRoot, WitnessUserland};
use crate::cache::{Artifact, State};
use crate::context::Context;

/// Makes what guests with the default kernel and the witness's guest need and passes it to
/// `command`, as [`hand_over`] does. If [`WITNESS_ARTIFACTS_VARIABLE`] is set, the files that it
/// names are used as they are.
pub(crate) fn hand_over_witness(context: &Context, command: &mut Command) -> Result<()> {
    let variant = Variant::default();
    hand_over(context, &[variant], command)?;
    let witness = match std::env::var_os(WITNESS_ARTIFACTS_VARIABLE) {
        Some(_) => Artifacts::witness_from_env()?,
        None => witness(context, &guest(context, &[variant])?)?,
    };
    command.env(WITNESS_ARTIFACTS_VARIABLE, describe(context, &witness)?);
    Ok(())
}

/// Returns what the witness's guest needs. It runs on the same QEMU as the other guests.
fn witness(context: &Context, ours: &Artifacts) -> Result<Artifacts> {
    let (cache, checkout) = (&context.cache, &context.checkout);
    let root = &cache.ensure(&WitnessRoot)?;
    let (kernel, (userland, tools)) = both(
        || cache.ensure(&WitnessKernel { root, checkout }),
        || {
            let tools = cache.ensure(&GuestTools {
                root,
                checkout,
                machine: Machine::BigEndian,
            })?;
            Ok((cache.ensure(&WitnessUserland { root, checkout })?, tools))
        },
    )?;
    let kernel = Kernel {
        vmlinux: kernel.path(WitnessKernel::IMAGE),
        build: kernel.directory,
        // The C driver is one of the kernel's own modules.
        module: None,
        kunit_module: None,
    };
    Ok(Artifacts {
        userland: userland.path(WitnessUserland::ARCHIVE),
        tools: Some(tools.path(GuestTools::PROGRAM)),
        kernels: BTreeMap::from([(Variant::default(), kernel)]),
        ..ours.clone()
    })
}

/// Returns the state of each artifact of the witness in the cache, or `None` for those whose state
/// cannot be known before something else is made.
pub(crate) fn witness_states(context: &Context) -> Result<Vec<(String, Option<State>)>> {
    let (cache, checkout) = (&context.cache, &context.checkout);
    let state = cache.state(&WitnessRoot)?;
    let ready = state.is_present();
    let mut states = vec![(WitnessRoot.title(), Some(state))];
    if ready {
        let root = &cache.ensure(&WitnessRoot)?;
        let machine = Machine::BigEndian;
        let artifacts: [&dyn Artifact; 3] = [
            &WitnessUserland { root, checkout },
            &GuestTools {
                root,
                checkout,
                machine,
            },
            &WitnessKernel { root, checkout },
        ];
        for artifact in artifacts {
            states.push((artifact.title(), Some(cache.state(artifact)?)));
        }
    } else {
        states.push(("userland and kernel of the witness".to_owned(), None));
    }
    Ok(states)
}
