// SPDX-License-Identifier: GPL-2.0
//! Cores that come and go while the adapter works.

use anyhow::{ensure, Context, Result};
use ehea_tests::lab::{Lab, Shape};

use crate::router::{forward_on_all_queues, Router};

/// Number of cores.
const CORES: u32 = 4;

/// A guest with as many cores as a port has queue pairs.
pub(crate) const SHAPE: Shape = Shape {
    properties: &["num-queue-pairs=4"],
    qemu_args: &["-smp", "4"],
    ..Shape::STANDARD
};

fn cores(lab: &Lab) -> Result<u32> {
    let count = lab.sh("nproc")?;
    count.parse().context("the number of processors")
}

/// All cores but one go by `drmgr`, one after the other, and come back, twice, while packets are forwarded on all queues.
/// Interrupts move to the cores that there are: no queue falls silent, and no packet is lost.
pub(crate) fn come_and_go(lab: &Lab) -> Result<()> {
    let router = Router::new(lab, 1500)?;
    let mut stream = 300;
    let mut forward = || -> Result<()> {
        stream += 1;
        forward_on_all_queues(&router, stream)
    };
    ensure!(cores(lab)? == CORES, "{} cores", cores(lab)?);
    let down = (1..CORES).rev().map(|left| ("-r", left));
    let up = (2..=CORES).map(|left| ("-a", left));
    let round = down.chain(up);
    for (action, left) in round.clone().chain(round) {
        let job = lab.guest().spawn(&format!("drmgr -c cpu {action} -q 1"))?;
        forward()?;
        let output = job.wait()?;
        ensure!(output.success(), "{output}");
        ensure!(cores(lab)? == left, "{} cores, not {left}", cores(lab)?);
        forward()?;
    }
    router.remove()
}
