// SPDX-License-Identifier: GPL-2.0
//! Dynamic logical partitioning with the tools that administrators use.

pub(crate) mod adapters;
pub(crate) mod cores;
pub(crate) mod ports;

use std::ops::Range;
use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::checks::memory::{send_from, start};
use ehea_tests::lab::Lab;
use ehea_tests::memory::{connector, not_registered, online_bytes, settled, Dimm, LMB};

const PATIENCE: Duration = Duration::from_secs(60);
/// Number of LMBs of the DIMM.
const LMBS: u64 = 4;
/// Number of rounds.
const ROUNDS: u64 = 2 * LMBS;

/// Memory comes and goes by `drmgr` while the driver is loaded and frames flow in both directions: by number and by
/// connector, in either order. What a partition has given back of its own accord is its to take back. Memory
/// that is used is registered, memory that is gone is not, and no frame is lost. In the end, the DIMM is unplugged
/// with an LMB that was given back before.
pub(crate) fn memory(lab: &Lab) -> Result<()> {
    let dimm = Dimm::plug(lab, "dimm20", LMBS * LMB)?;
    let (reflector, traffic) = start(lab)?;
    let all = online_bytes(lab)?;
    let expect = |given_back: u64, what: &str| -> Result<()> {
        let (online, expected) = (online_bytes(lab)?, all - given_back * LMB);
        ensure!(
            online == expected,
            "{what}: {online:#x} bytes are online, not {expected:#x}"
        );
        traffic.wait_progress(20, PATIENCE)
    };
    send_from(lab, &dimm, 1500)?;
    settled(lab, &dimm)?;
    for round in 0..ROUNDS {
        let lmb = lmb(&dimm, round);
        let connector = connector(lmb.start);
        lab.sh(&format!("drmgr -c mem -r -s {connector:#x}"))?;
        not_registered(&lab.stats()?, &lmb)?;
        expect(1, "removed by connector")?;
        lab.sh("drmgr -c mem -r -q 1")?;
        expect(2, "one more is removed")?;
        lab.sh(&format!("drmgr -c mem -a -s {connector:#x}"))?;
        expect(1, "added by connector")?;
        lab.sh("drmgr -c mem -a -q 1")?;
        expect(0, "all is back")?;

        let count = 1 + round % LMBS;
        lab.sh(&format!("drmgr -c mem -r -q {count}"))?;
        expect(count, "removed by number")?;
        lab.sh(&format!("drmgr -c mem -a -q {count}"))?;
        expect(0, "added by number")?;
        send_from(lab, &dimm, 1501 + u32::try_from(round)?)?;
        if count == LMBS {
            // Nothing of it was in the map.
            settled(lab, &dimm)?;
        }
    }
    lab.sh("drmgr -c mem -r -q 1")?;
    expect(1, "given back before the DIMM goes")?;
    dimm.unplug(lab)?;
    expect(LMBS, "the DIMM is gone")?;
    not_registered(&lab.stats()?, &dimm.range)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// Returns the addresses of LMB `number`, modulo their number, of a DIMM.
fn lmb(dimm: &Dimm, number: u64) -> Range<u64> {
    let start = dimm.range.start + number % LMBS * LMB;
    start..start + LMB
}
