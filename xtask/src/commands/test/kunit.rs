// SPDX-License-Identifier: GPL-2.0
//! The KUnit tier: suites that run when their module is loaded into a guest.

use anyhow::{ensure, Result};
use ehea_harness::{Guest, PageSize};

use super::runner::Runner;
use crate::context::Context;
use crate::{ktap, setup};

pub(super) fn run(context: &Context, runner: &mut Runner, page_sizes: &[PageSize]) {
    for &page_size in page_sizes {
        let prefix = format!("kunit-{page_size}::");
        match report(context, page_size) {
            Ok((report, guest)) => {
                for name in &report.passed {
                    let name = format!("{prefix}{name}");
                    if runner.wants(&name) {
                        runner.passed(&name);
                    }
                }
                for name in &report.failed {
                    runner.failed(&format!("{prefix}{name}"), "see the guest's console log");
                }
                runner.check(&format!("{prefix}guest"), || guest);
            }
            Err(error) => runner.failed(&format!("{prefix}guest"), &format!("{error:#}")),
        }
    }
}

/// Loads the suites; returns what they report and how the guest ended.
fn report(context: &Context, page_size: PageSize) -> Result<(ktap::Report, Result<()>)> {
    let artifacts = setup::guest(context, &[page_size])?;
    let builder = Guest::builder()
        .artifacts(artifacts)
        .name("kunit")
        .page_size(page_size);
    // Room for the suites that plug memory in; they need no adapter.
    let guest = builder.mem("2G,max=4G")?.no_adapter().boot()?;
    let position = guest.console().position();
    guest.sh("modprobe ehea_kunit")?;
    guest.sh("rmmod ehea_kunit")?;
    // The console is another way out of the guest than the command's output: this comes last on it.
    guest.sh("echo ehea: end of the suites >/dev/kmsg")?;
    let end = guest.console().wait_for(
        position,
        "end of the suites",
        std::time::Duration::from_secs(60),
    );
    ensure!(end.is_some(), "the suites' report does not end");
    let lines = guest.console().since(position);
    let report = ktap::parse(lines.iter().map(String::as_str));
    ensure!(
        !report.passed.is_empty() || !report.failed.is_empty(),
        "the module reported no test"
    );
    Ok((report, guest.shutdown()))
}
