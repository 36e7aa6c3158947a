// SPDX-License-Identifier: GPL-2.0
//! Scenarios as tests. Scenarios of the same shape share a guest, but a guest in which one failed
//! is not used again. Some also run with other kernels. All run in each variation (`rough::…`) if that is asked for
//! (`--include-ignored`), and a few of these always do.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use ehea_harness::Variant;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::known::Known;
use crate::lab::{Bus, Lab, Shape, Temper};
use crate::system::System;
use crate::totals::Totals;

/// A test with a guest. It starts and ends without the driver.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Name, `module::function`.
    pub name: &'static str,
    /// Shape of its guest.
    pub shape: Shape,
    /// Function that does the work and checks it.
    pub run: fn(&Lab) -> Result<()>,
    /// Known fault because of which the scenario fails.
    pub known: Option<Known>,
}

impl Scenario {
    /// Returns the same scenario, marked as failing because of the known fault `fault`, with a
    /// message that contains `seen`. When it fails, it should leave nothing behind but the loaded
    /// driver, so that its guest can be used again.
    pub const fn fails_by(self, fault: &'static str, seen: &'static str) -> Self {
        Self {
            known: Some(Known { fault, seen }),
            ..self
        }
    }

    /// Runs the scenario in a guest of its shape.
    fn run(&self, lab: &mut Lab) -> Result<()> {
        lab.begin(self.name)?;
        let judge = |result| match self.known {
            Some(known) => known.judge(result),
            None => result,
        };
        match (self.run)(lab) {
            Ok(()) => judge(lab.end()),
            // The driver must be removable and leave nothing behind, whatever is known to fail.
            failed => judge(failed)
                .inspect_err(|error| lab.guest().record_failure(error))
                .and_then(|()| lab.end()),
        }
    }
}

/// Variation of the guests of scenarios.
#[derive(Clone, Copy, Debug)]
pub struct Variation {
    /// Function that changes the shape of a guest. Returns `None` if scenarios with this shape do not run so.
    pub of: fn(Shape) -> Option<Shape>,
    /// Names of scenarios that always run so. The others do if that is asked for.
    pub sample: &'static [&'static str],
    /// Names of scenarios that never do, each with the reason.
    pub never: &'static [(&'static str, &'static str)],
}

impl Variation {
    /// Returns the variation of a scenario, if there is one.
    fn of(&self, scenario: &Scenario) -> Option<Scenario> {
        let never = |&(name, _): &(&str, &str)| name == scenario.name;
        if self.never.iter().any(never) {
            return None;
        }
        let shape = (self.of)(scenario.shape)?;
        Some(Scenario { shape, ..*scenario })
    }
}

/// Variation with a rough adapter, of which no scenario is excepted.
pub const ROUGH: Variation = Variation {
    of: |shape| {
        shape.adapter.map(|_| Shape {
            temper: Temper::Rough,
            ..shape
        })
    },
    sample: &[],
    never: &[],
};

/// The kernel in a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Name, for the names of tests.
    pub name: &'static str,
    /// Variant of the kernel.
    pub variant: Variant,
    /// Command line, in addition to what it always is.
    pub append: &'static str,
}

/// At most one guest, with its shape and kernel.
#[derive(Default)]
struct Pool {
    name: &'static str,
    current: Option<(Shape, Kernel, Lab)>,
    totals: Totals,
}

impl Pool {
    /// Runs a scenario in a guest of its shape.
    fn run(&mut self, scenario: &Scenario, kernel: Kernel) -> Result<()> {
        let like = (scenario.shape, kernel);
        if self
            .current
            .as_ref()
            .is_some_and(|&(shape, kernel, _)| (shape, kernel) != like)
        {
            self.close()?;
        }
        // A guest in which a scenario fails is dropped here, and the next scenario gets another.
        let mut lab = match self.current.take() {
            Some((.., lab)) => lab,
            None => Lab::boot_with(self.name, &scenario.shape, |builder| {
                builder
                    .page_size(kernel.variant.page_size)
                    .debug(kernel.variant.debug)
                    .kernel_append(kernel.append)
            })?,
        };
        let result = scenario.run(&mut lab);
        self.totals.add(&lab);
        result.with_context(|| {
            let log = lab.guest().log_directory().display();
            format!("{}; logs: {log}", scenario.name)
        })?;
        if scenario.known.is_none() || lab.is_tidy()? {
            self.current = Some((scenario.shape, kernel, lab));
        }
        Ok(())
    }

    /// Ends the run. The totals are kept if the run was of at least all scenarios of one driver
    /// that run by default.
    fn finish(&mut self, whole: Option<System>) -> Result<()> {
        self.close()?;
        match whole {
            Some(system) if self.totals.scenarios > 0 => {
                std::mem::take(&mut self.totals).write(system)
            }
            _ => Ok(()),
        }
    }

    /// Powers the guest off.
    fn close(&mut self) -> Result<()> {
        match self.current.take() {
            Some((.., lab)) => lab.shutdown(),
            None => Ok(()),
        }
    }
}

/// Returns the test of a scenario. If `always` is true, it runs even if nothing special is asked
/// for.
fn trial(scenario: Scenario, kernel: Kernel, always: bool, pool: &Arc<Mutex<Pool>>) -> Trial {
    let pool = Arc::clone(pool);
    let mut name = scenario.name.to_owned();
    let bus = match scenario.shape.bus {
        Bus::Vio => "",
        bus @ Bus::Ibmebus => bus.name(),
    };
    for prefix in [scenario.shape.temper.name(), bus, kernel.name] {
        if !prefix.is_empty() {
            name = format!("{prefix}::{name}");
        }
    }
    let run = move || {
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.run(&scenario, kernel)
            .map_err(|error| Failed::from(format!("{error:#}")))
    };
    // Without the artifacts, there is nothing to boot. The test is then ignored and does not fail.
    let available = scenario.shape.system.is_available();
    Trial::test(name, run)
        .with_kind(scenario.known.map_or("", |known| known.fault))
        .with_ignored_flag(!available || !always)
}

/// Runs scenarios, with those of one shape next to each other, as the command line asks. `name` is
/// for the guests' logs.
pub fn main(name: &'static str, scenarios: &[Scenario], variations: &[Variation]) -> ExitCode {
    main_with(name, scenarios, &[], variations, &[], |_, _| false)
}

/// Runs scenarios as [`main`] does. Those in `long` run only if that is asked for. Scenarios for which
/// `others` returns true also run with that one of the other `kernels`.
pub fn main_with(
    name: &'static str,
    scenarios: &[Scenario],
    long: &[Scenario],
    variations: &[Variation],
    kernels: &[Kernel],
    others: impl Fn(&Scenario, &Kernel) -> bool,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The scenarios take turns on one guest, which has all processors of this machine to itself.
    arguments.test_threads = Some(1);
    let pool = Arc::new(Mutex::new(Pool {
        name,
        ..Pool::default()
    }));
    let mut trials: Vec<Trial> = scenarios
        .iter()
        .map(|&scenario| trial(scenario, Kernel::default(), true, &pool))
        .collect();
    let long = long.iter();
    trials.extend(long.map(|&scenario| trial(scenario, Kernel::default(), false, &pool)));
    for variation in variations {
        for scenario in scenarios
            .iter()
            .filter_map(|scenario| variation.of(scenario))
        {
            let always = variation.sample.contains(&scenario.name);
            trials.push(trial(scenario, Kernel::default(), always, &pool));
        }
    }
    for &kernel in kernels {
        let scenarios = scenarios
            .iter()
            .filter(|scenario| others(scenario, &kernel));
        trials.extend(scenarios.map(|&scenario| trial(scenario, kernel, false, &pool)));
    }
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    let whole = scenarios.first().filter(|_| whole);
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = pool.finish(whole.map(|scenario| scenario.shape.system)) {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
