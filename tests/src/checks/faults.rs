// SPDX-License-Identifier: GPL-2.0
//! Checks of what a fault has done, and that everything works after it.

use anyhow::{Context, Result};
use ehea_model::fault::ArmedFault;

use crate::lab::{port_address, wait_until, Lab};
use crate::peer::Plan;

/// Waits until the fault has happened, which may be only now that the adapter is in use, and
/// disarms it.
pub fn fired(lab: &Lab) -> Result<()> {
    let mut faults = Vec::new();
    let happened = wait_until("the fault", || {
        faults = lab.guest().faults::<Vec<ArmedFault>>()?;
        Ok(faults.len() == 1 && faults[0].fired > 0)
    });
    happened.with_context(|| format!("{faults:?}"))?;
    lab.guest().clear_faults()
}

/// Waits until the kernel log since `position` names the call and the code.
pub fn reported(lab: &Lab, position: usize, call: &str, code: &str) -> Result<()> {
    let console = lab.guest().console();
    // The log arrives by another way than the end of the command.
    let named = wait_until("a message that names the call and the code", || {
        Ok(console
            .since(position)
            .iter()
            .any(|line| line.contains("ehea") && line.contains(call) && line.contains(code)))
    });
    named.with_context(|| console.since(position).join("\n"))?;
    lab.guest().check_console()
}

/// Sends frames through port 1 and checks them.
pub fn works(lab: &Lab, name: &str) -> Result<()> {
    let reflector = lab.reflect(name)?;
    let plan = Plan::new(70, 20, |n| 60 + 70 * n as usize).to(port_address(1));
    plan.run(lab.port(1)?)?.flawless()?;
    reflector.stop().map(drop)
}
