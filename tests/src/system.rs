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
    /// The witness: the unmodified C driver of Linux 6.12, on ibmebus of a big-endian kernel. It
    /// was written for the hardware, so a misreading that this driver shares with the model shows
    /// here. Its userland is busybox and ethtool.
    Witness,
}

impl System {
    /// Checks whether the artifacts for its guests exist.
    pub fn is_available(self) -> bool {
        let variable = match self {
            Self::Ours => ARTIFACTS_VARIABLE,
            Self::Witness => WITNESS_ARTIFACTS_VARIABLE,
        };
        std::env::var_os(variable).is_some()
    }

    /// Describes a guest that contains this project's tools.
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

    /// Returns the artifacts for its guests.
    pub(crate) fn artifacts(self) -> Result<Artifacts> {
        match self {
            Self::Ours => Artifacts::from_env(),
            Self::Witness => Artifacts::witness_from_env(),
        }
    }

    /// Returns the kernel with pages of 64 KiB.
    pub(crate) fn kernel(self) -> Result<Kernel> {
        Ok(self.artifacts()?.kernel(PageSize::K64)?.clone())
    }

    /// Returns the properties of the adapter that the driver needs.
    pub(crate) const fn adapter_properties(self) -> &'static [&'static str] {
        match self {
            Self::Ours => &[],
            // The driver cannot cope with firmware that is busy where it cannot sleep, nor with
            // H_BUSY.
            Self::Witness => &["ibmebus=on", "temper-busy=sleeping"],
        }
    }

    /// Checks whether the driver is known to cause unwanted counts under the name `name` at
    /// unpredictable times. The C driver loses events that arrive while its poll function is
    /// switched off, because it does not look once more afterwards.
    pub(crate) fn is_known_for(self, name: &str) -> bool {
        self == Self::Witness && name == "reraised"
    }

    /// Returns the name that `ethtool -S` has for the number of resets of a port.
    pub const fn resets_counter(self) -> &'static str {
        match self {
            Self::Ours => "port_resets",
            Self::Witness => "port resets",
        }
    }

    /// Returns the number of bytes of a received frame that the interface's counter leaves out. The
    /// C driver counts after the Ethernet header was removed.
    pub const fn uncounted_rx_bytes(self) -> u64 {
        match self {
            Self::Ours => 0,
            Self::Witness => crate::peer::ETHERNET_HEADER as u64,
        }
    }
}
