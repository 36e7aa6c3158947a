// SPDX-License-Identifier: GPL-2.0
//! The witness: the C driver of Linux 6.12 on the adapter's model. It was written for the hardware, so
//! what it does not get along with is a mistake of the model, or one that it is known for.

use std::process::ExitCode;

use anyhow::{ensure, Result};
use ehea_tests::lab::{Lab, Shape};
use ehea_tests::suite::{self, Scenario};
use ehea_tests::system::System;

/// Two ports.
const STANDARD: Shape = Shape {
    system: System::Witness,
    memory: "1G",
    adapter: Some(2),
    properties: &[],
};

/// The driver that is loaded is the C driver, and it finds both ports.
fn finds_ports(lab: &Lab) -> Result<()> {
    let kernel = lab.sh("uname -rm")?;
    ensure!(
        kernel.starts_with("6.12.") && kernel.ends_with(" ppc64"),
        "not the witness's kernel: {kernel}"
    );
    lab.load()?;
    let log = lab.sh("dmesg")?;
    ensure!(
        log.contains("IBM eHEA ethernet device driver (Release EHEA_"),
        "the C driver didn't say who it is"
    );
    for port in 1..=2 {
        let interface = lab.interface(port)?;
        let driver = lab.sh(&format!("ethtool -i {interface}"))?;
        ensure!(driver.contains("driver: ehea"), "port {port}: {driver}");
    }
    Ok(())
}

const SCENARIOS: &[Scenario] = &[Scenario {
    name: "finds_ports",
    shape: STANDARD,
    run: finds_ports,
}];

fn main() -> ExitCode {
    suite::main("witness", SCENARIOS)
}
