// SPDX-License-Identifier: GPL-2.0
//! Set-up of what the kernel's selftests need.

use std::process::Command;

use anyhow::Result;
use ehea_harness::{Artifacts, Variant, ARTIFACTS_VARIABLE};

use super::guest;
use super::hand_over::describe;
use crate::artifacts::root::BuildRoot;
use crate::artifacts::selftests::Selftests;
use crate::cache::{Artifact, Entry, State};
use crate::context::Context;

/// Environment variable with the path of the list of the tests.
const LIST_VARIABLE: &str = "EHEA_SELFTESTS";

fn selftests(context: &Context) -> Result<Entry> {
    let root = context.cache.ensure(&BuildRoot)?;
    context.cache.ensure(&Selftests { root: &root })
}

/// Makes what guests with the tests in their userland need and passes it to `command`, as
/// [`super::hand_over`] does.
pub(crate) fn hand_over_selftests(context: &Context, command: &mut Command) -> Result<()> {
    let selftests = selftests(context)?;
    let artifacts = Artifacts {
        userland: selftests.path(Selftests::ARCHIVE),
        ..guest(context, &[Variant::default()])?
    };
    command.env(ARTIFACTS_VARIABLE, describe(context, &artifacts)?);
    command.env(LIST_VARIABLE, selftests.path(Selftests::LIST));
    Ok(())
}

/// Passes the list of tests to `command`, and makes nothing else.
pub(crate) fn hand_over_selftests_list(context: &Context, command: &mut Command) -> Result<()> {
    command.env(LIST_VARIABLE, selftests(context)?.path(Selftests::LIST));
    Ok(())
}

/// Returns the state of what only these tests need, as far as it can be known.
pub(crate) fn selftests_states(context: &Context) -> Result<Vec<(String, Option<State>)>> {
    let cache = &context.cache;
    let title = "the kernel's driver selftests".to_owned();
    if !cache.state(&BuildRoot)?.is_present() {
        return Ok(vec![(title, None)]);
    }
    let root = cache.ensure(&BuildRoot)?;
    let selftests = Selftests { root: &root };
    Ok(vec![(selftests.title(), Some(cache.state(&selftests)?))])
}
