// SPDX-License-Identifier: GPL-2.0
//! A crash of the kernel while firmware is busy.

use anyhow::{ensure, Result};
use ehea_model::fault::ArmedFault;
use ehea_tests::checks::crash::given_back_after;
use ehea_tests::lab::Lab;
use serde_json::json;

/// Everything is given back in a crash even if the calls for that answer "long busy" before they
/// are executed, though nothing can sleep in a crash.
pub(crate) fn given_back_when_busy(lab: &Lab) -> Result<()> {
    const CALLS: [&str; 2] = ["H_FREE_RESOURCE", "H_DEREG_BCMC"];
    given_back_after(lab, || {
        for call in CALLS {
            let fault = json!({
                "opcode": call,
                "nth": 1,
                "count": 3,
                "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_10_MSEC", "times": 2 } },
            });
            lab.guest().inject_fault(&fault)?;
        }
        Ok(())
    })?;
    let faults: Vec<ArmedFault> = lab.guest().faults()?;
    ensure!(
        faults.len() == CALLS.len() && faults.iter().all(|fault| fault.fired > 0),
        "firmware was never busy: {faults:?}"
    );
    lab.guest().clear_faults()
}
