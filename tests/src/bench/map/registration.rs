// SPDX-License-Identifier: GPL-2.0
//! Calls that register memory.

use anyhow::{ensure, Context, Result};
use ehea_harness::Guest;
use ehea_model::stats::Stats;

use crate::bench::Figures;

/// Page sizes that an adapter may offer for memory regions, with the capability mask (eHEA ABI
/// §12).
const REGISTRATION_PAGES: [(u64, &str, &str); 2] = [
    (4 << 10, "4k", "mr-page-sizes=0x80000000"),
    (16 << 20, "16m", "mr-page-sizes=0x90000000"),
];

/// Takes the figures of registering all memory, with an adapter that offers only pages of 4 KiB,
/// and with one that also offers pages of 16 MiB.
pub(super) fn measure(figures: &mut Figures) -> Result<()> {
    for (bytes, label, property) in REGISTRATION_PAGES {
        let guest = Guest::builder()
            .name("bench-map")
            .mem("2G")?
            .adapter_property(property)
            .boot()?;
        guest.sh("modprobe ehea")?;
        let stats: Stats = guest.stats()?;
        let mr = stats
            .mrs
            .first()
            .context("the driver registered no memory")?;
        ensure!(
            mr.page_bytes == bytes,
            "registered with pages of {} bytes instead of {bytes}",
            mr.page_bytes
        );
        let gib = mr.bytes as f64 / (1u64 << 30) as f64;
        figures.insert("registered_gib".into(), gib);
        figures.insert(
            format!("register_hcalls_per_gib_{label}"),
            mr.register_calls as f64 / gib,
        );
        guest.sh("rmmod ehea")?;
        guest.shutdown()?;
    }
    Ok(())
}
