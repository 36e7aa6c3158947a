// SPDX-License-Identifier: GPL-2.0
//! Scenarios as tests. Those of the same shape share a guest; a guest in which one failed is not used
//! again.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::lab::{Lab, Shape};

/// A test with a guest. It starts and ends without the driver.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, `module::function`.
    pub name: &'static str,
    /// Its guest.
    pub shape: Shape,
    /// What is done and checked.
    pub run: fn(&Lab) -> Result<()>,
}

/// At most one guest, and what it is like.
#[derive(Default)]
struct Pool {
    name: &'static str,
    current: Option<(Shape, Lab)>,
}

impl Pool {
    /// Runs a scenario in a guest of its shape.
    fn run(&mut self, scenario: &Scenario) -> Result<()> {
        if self
            .current
            .as_ref()
            .is_some_and(|(shape, _)| *shape != scenario.shape)
        {
            self.close()?;
        }
        // A guest in which a scenario fails is dropped here: the next one gets another.
        let mut lab = match self.current.take() {
            Some((_, lab)) => lab,
            None => Lab::boot(self.name, &scenario.shape)?,
        };
        let run = |lab: &mut Lab| {
            lab.begin(scenario.name)?;
            (scenario.run)(lab)?;
            lab.end()
        };
        run(&mut lab).with_context(|| {
            let log = lab.guest().log_directory().display();
            format!("{}; logs: {log}", scenario.name)
        })?;
        self.current = Some((scenario.shape, lab));
        Ok(())
    }

    /// Powers the guest off.
    fn close(&mut self) -> Result<()> {
        match self.current.take() {
            Some((_, lab)) => lab.shutdown(),
            None => Ok(()),
        }
    }
}

fn trial(scenario: &'static Scenario, pool: &Arc<Mutex<Pool>>) -> Trial {
    let pool = Arc::clone(pool);
    let run = move || {
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.run(scenario)
            .map_err(|error| Failed::from(format!("{error:#}")))
    };
    // Without the artifacts there is nothing to boot: say so instead of failing.
    Trial::test(scenario.name, run).with_ignored_flag(!scenario.shape.system.is_available())
}

/// Runs scenarios, those of one shape next to each other, as the command line asks for; `name` is for
/// the guests' logs.
pub fn main(name: &'static str, scenarios: &'static [Scenario]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They take turns on one guest; a guest has all processors of this machine to itself.
    arguments.test_threads = Some(1);
    let pool = Arc::new(Mutex::new(Pool {
        name,
        current: None,
    }));
    let trials = scenarios
        .iter()
        .map(|scenario| trial(scenario, &pool))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let closed = pool.lock().unwrap_or_else(PoisonError::into_inner).close();
    if let Err(error) = closed {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
