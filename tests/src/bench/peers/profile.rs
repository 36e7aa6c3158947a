// SPDX-License-Identifier: GPL-2.0
//! Profile of a frame's instructions: by function, and in the driver by instruction.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{bail, Context, Result};

use super::packets::{LENGTHS, MEMORY, SHORT, WARM_UP};
use super::rig::{Device, Rig};
use super::PEERS;
use crate::bench::counter::Counts;
use crate::bench::symbols::Symbols;

/// Size of a bucket in bytes. Each instruction is counted separately.
const BUCKET: u64 = 4;

/// Profiles one figure, given as `PEER-DIRECTION-LENGTH`, for example `rs-tx-64b`.
pub(crate) fn profile(what: &str) -> Result<String> {
    let words: Vec<_> = what.split('-').collect();
    let [name, direction, label] = words[..] else {
        bail!("{what} is not of the form rs-tx-64b");
    };
    let peer = PEERS
        .iter()
        .find(|peer| peer.name == name)
        .with_context(|| format!("no peer {name}"))?;
    let (length, _) = LENGTHS
        .into_iter()
        .find(|(_, known)| *known == label)
        .with_context(|| format!("no length {label}"))?;
    let run = match direction {
        "tx" => Rig::transmit,
        "rx" if peer.device != Device::Dummy => Rig::receive,
        _ => bail!("{name} has no direction {direction}"),
    };
    let mut rig = Rig::boot(peer.system, MEMORY, BUCKET)?;
    rig.start(peer.device)?;
    run(&mut rig, peer.device, WARM_UP, length)?;
    let counts = run(&mut rig, peer.device, SHORT, length)?.counts;
    let code = rig.modules()?.code(peer.device.module())?;
    let symbols = Symbols::read(peer.system, rig.guest())?;
    let mut text = format!("{what}: {SHORT} frames\n{}", by_function(&counts, &symbols));
    writeln!(text, "\nBy instruction, in the driver:")?;
    for (address, count) in counts.iter().filter(|(address, _)| code.contains(address)) {
        let (name, offset) = symbols.find(address);
        let (offset_in_code, per_frame) = (address - code.start, count as f64 / SHORT as f64);
        writeln!(
            text,
            "{offset_in_code:#8x} {per_frame:9.4}  {name}+{offset:#x}"
        )?;
    }
    rig.shutdown()?;
    Ok(text)
}

/// Returns the number of instructions per frame of each function, the largest first. What is
/// executed once is distributed over all frames.
fn by_function(counts: &Counts, symbols: &Symbols) -> String {
    let mut functions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (address, count) in counts.iter() {
        let (name, offset) = symbols.find(address);
        let entry = functions.entry(name).or_default();
        entry.0 += count;
        if offset == 0 && name != "user space" {
            entry.1 += count;
        }
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|&(_, (count, _))| std::cmp::Reverse(count));
    let per_frame = |count| count as f64 / SHORT as f64;
    let mut text = "insns/frame calls/frame  function\n".to_owned();
    for (name, (count, calls)) in functions {
        if per_frame(count) >= 0.5 {
            let (count, calls) = (per_frame(count), per_frame(calls));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{count:11.2} {calls:11.3}  {name}");
        }
    }
    text
}
