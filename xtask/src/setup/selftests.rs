// SPDX-License-Identifier: GPL-2.0
//! What the kernel's selftests need.

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

/// As [`super::hand_over`], for guests that have the tests in their userland.
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

/// Lets `command` know which tests there are, and makes nothing else.
pub(crate) fn hand_over_selftests_list(context: &Context, command: &mut Command) -> Result<()> {
    command.env(LIST_VARIABLE, selftests(context)?.path(Selftests::LIST));
    Ok(())
}

/// State of what only these tests need, if that can be known.
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
