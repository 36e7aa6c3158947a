// SPDX-License-Identifier: GPL-2.0
//! Gathers what a command needs, in the order in which it depends on each other.

use anyhow::Result;
use ehea_harness::{Artifacts, PageSize, ARTIFACTS_VARIABLE};

use crate::artifacts::root::BuildRoot;
use crate::artifacts::userland::Userland;
use crate::context::Context;

/// What a guest needs, made if it isn't there. With [`ARTIFACTS_VARIABLE`] set, what that file names
/// is used as it is.
pub(crate) fn guest(context: &Context, _page_sizes: &[PageSize]) -> Result<Artifacts> {
    if std::env::var_os(ARTIFACTS_VARIABLE).is_some() {
        return Artifacts::from_env();
    }
    let root = context.cache.ensure(&BuildRoot)?;
    let tree = root.path(BuildRoot::TREE);
    let userland = context.cache.ensure(&Userland { root: tree.clone() })?;
    Ok(Artifacts {
        root: tree,
        qemu: Default::default(),
        userland: userland.path(Userland::ARCHIVE),
        kernels: Default::default(),
        logs: context.guest_logs(),
    })
}
