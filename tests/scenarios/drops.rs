// SPDX-License-Identifier: GPL-2.0
//! An adapter that loses the frames of a disabled queue pair.

use anyhow::{ensure, Result};
use ehea_tests::checks::drops;
use ehea_tests::checks::memory::send_from;
use ehea_tests::lab::Lab;
use ehea_tests::memory::settled;

/// Memory that is in the map is removed. Frames that the adapter drops while queue pairs pause for
/// that are lost, and no others.
pub(crate) fn removals(lab: &Lab) -> Result<()> {
    let cost = drops::removals(lab, |lab, dimm, stream| {
        send_from(lab, dimm, stream)?;
        settled(lab, dimm).map(drop)
    })?;
    ensure!(
        cost.lost == cost.dropped,
        "frames were lost that the adapter did not drop: {cost:?}"
    );
    Ok(())
}
