// SPDX-License-Identifier: GPL-2.0
//! The two drivers that a scenario can run with.

use anyhow::{Context, Result};
use ehea_harness::{
    Artifacts, Builder, Guest, Kernel, PageSize, ARTIFACTS_VARIABLE, WITNESS_ARTIFACTS_VARIABLE,
};

use crate::lab::guest_tools;

/// A driver, and the kernel that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// This driver, on the VIO bus of a little-endian kernel.
    Ours,
    /// The witness: the C driver of Linux 6.12, unmodified, on ibmebus of a big-endian kernel. It was
    /// written for the hardware, so a misreading that our driver shares with our model shows here. Its
    /// userland is busybox and ethtool.
    Witness,
}

impl System {
    /// Whether there is what its guests are made of.
    pub fn is_available(self) -> bool {
        let variable = match self {
            Self::Ours => ARTIFACTS_VARIABLE,
            Self::Witness => WITNESS_ARTIFACTS_VARIABLE,
        };
        std::env::var_os(variable).is_some()
    }

    /// Describes a guest with our tools in it.
    pub(crate) fn guest(self) -> Result<Builder> {
        match self {
            Self::Ours => Guest::builder().file(&guest_tools()?),
            Self::Witness => {
                let artifacts = self.artifacts()?;
                let tools = artifacts.tools.clone();
                let tools = tools.context("the witness has no tools for the guest")?;
                Guest::builder().artifacts(artifacts).file(&tools)
            }
        }
    }

    /// What its guests are made of.
    pub(crate) fn artifacts(self) -> Result<Artifacts> {
        match self {
            Self::Ours => Artifacts::from_env(),
            Self::Witness => Artifacts::witness_from_env(),
        }
    }

    /// The kernel, with pages of 64 KiB.
    pub(crate) fn kernel(self) -> Result<Kernel> {
        Ok(self.artifacts()?.kernel(PageSize::K64)?.clone())
    }

    /// Properties of the adapter that the driver needs.
    pub(crate) const fn adapter_properties(self) -> &'static [&'static str] {
        match self {
            Self::Ours => &[],
            // It can't do with a firmware that is busy where it can't sleep, nor with H_BUSY.
            Self::Witness => &["ibmebus=on", "temper-busy=sleeping"],
        }
    }

    /// Whether the driver makes the model count what has this name, of what is not to happen, without
    /// anybody being able to tell when. The C driver loses events that come while its poll function is
    /// switched off: it doesn't look once more afterwards.
    pub(crate) fn is_known_for(self, name: &str) -> bool {
        self == Self::Witness && name == "reraised"
    }

    /// What `ethtool -S` calls the number of resets of a port.
    pub const fn resets_counter(self) -> &'static str {
        match self {
            Self::Ours => "port_resets",
            Self::Witness => "port resets",
        }
    }

    /// Bytes of a received frame that the interface's counter leaves out: the C driver counts after the
    /// Ethernet header was taken off.
    pub const fn uncounted_rx_bytes(self) -> u64 {
        match self {
            Self::Ours => 0,
            Self::Witness => crate::peer::ETHERNET_HEADER as u64,
        }
    }
}
