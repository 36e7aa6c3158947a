// SPDX-License-Identifier: GPL-2.0
//! Machines without an adapter, and adapters without ports.

use anyhow::{ensure, Result};
use ehea_tests::lab::Lab;

/// The driver loads, finds nothing to do, and can be removed.
pub(crate) fn no_adapter(lab: &Lab) -> Result<()> {
    for _ in 0..3 {
        lab.load()?;
        let bound = lab.bound()?;
        ensure!(bound.is_empty(), "devices without an adapter: {bound:?}");
        lab.sh("rmmod ehea")?;
    }
    Ok(())
}

/// An adapter without ports has no interfaces, and does no harm.
pub(crate) fn no_ports(lab: &Lab) -> Result<()> {
    for _ in 0..3 {
        let interfaces = lab.sh("ls /sys/class/net")?;
        lab.load()?;
        ensure!(
            lab.sh("ls /sys/class/net")? == interfaces,
            "an adapter without ports has an interface"
        );
        lab.unload()?;
    }
    Ok(())
}
