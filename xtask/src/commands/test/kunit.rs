// SPDX-License-Identifier: GPL-2.0
//! The KUnit tier: suites that run when their module is loaded into a guest.

use anyhow::{ensure, Result};
use ehea_harness::{Guest, Variant};

use super::runner::Runner;
use crate::context::Context;
use crate::{ktap, setup};

pub(super) fn run(context: &Context, runner: &mut Runner, variants: &[Variant]) {
    for &variant in variants {
        if !may_have(variant, runner.only()) {
            continue;
        }
        let prefix = format!("kunit-{variant}::");
        match report(context, variant) {
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

/// Checks whether tests with this kernel may be among those whose name contains `only`. They are
/// not if `only` begins with the name of another kernel. The names of suites are known only after
/// they have run.
fn may_have(variant: Variant, only: Option<&str>) -> bool {
    let kernel = only.and_then(|only| only.split("::").next());
    let kernel = kernel.map(|kernel| kernel.trim_start_matches("kunit-").parse::<Variant>());
    kernel
        .and_then(Result::ok)
        .is_none_or(|only| only == variant)
}

/// Loads the suites. Returns their report, and how the guest ended.
fn report(context: &Context, variant: Variant) -> Result<(ktap::Report, Result<()>)> {
    let artifacts = setup::guest(context, &[variant])?;
    let builder = Guest::builder()
        .artifacts(artifacts)
        .name("kunit")
        .page_size(variant.page_size)
        .debug(variant.debug);
    // The memory has room for the suites that plug memory in. They need no adapter.
    let guest = builder.mem("2G,max=4G")?.no_adapter().boot()?;
    let position = guest.console().position();
    guest.sh("modprobe ehea_kunit")?;
    // The console is another way out of the guest than the command's output. This line comes last
    // on it.
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
    // An assertion that fails does not unwind, so what its test has registered outlives the test.
    if report.failed.is_empty() {
        guest.sh("rmmod ehea_kunit")?;
    }
    let checked = guest.check_debug();
    Ok((report, checked.and(guest.shutdown())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kernel_is_made_for_another_ones_tests() {
        let kernels = |only| -> Vec<_> {
            let all = ["64k", "4k", "64k-kasan"].map(|name| name.parse().unwrap());
            let wanted = all.into_iter().filter(|&variant| may_have(variant, only));
            wanted.map(|variant| variant.to_string()).collect()
        };
        assert_eq!(kernels(None), ["64k", "4k", "64k-kasan"]);
        assert_eq!(kernels(Some("ehea_memory")), ["64k", "4k", "64k-kasan"]);
        assert_eq!(kernels(Some("kunit-64k::ehea_memory")), ["64k"]);
        assert_eq!(kernels(Some("64k-kasan::")), ["64k-kasan"]);
    }
}
