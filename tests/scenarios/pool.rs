// SPDX-License-Identifier: GPL-2.0
//! The guest that scenarios of one shape share.

use anyhow::{Context, Result};
use ehea_tests::lab::{Lab, Shape};

use crate::Scenario;

/// At most one guest, and what it is like.
#[derive(Default)]
pub(crate) struct Pool {
    current: Option<(Shape, Lab)>,
}

impl Pool {
    /// Runs a scenario in a guest of its shape.
    pub(crate) fn run(&mut self, scenario: &Scenario) -> Result<()> {
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
            None => Lab::boot("scenarios", &scenario.shape)?,
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
    pub(crate) fn close(&mut self) -> Result<()> {
        match self.current.take() {
            Some((_, lab)) => lab.shutdown(),
            None => Ok(()),
        }
    }
}
