// SPDX-License-Identifier: GPL-2.0
//! Variant of a guest's kernel: its page size and its checkers.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Result};
use serde::{Deserialize, Serialize};

/// Base page size of a guest kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PageSize {
    /// 4 KiB.
    #[serde(rename = "4k")]
    K4,
    /// 64 KiB, the default.
    #[default]
    #[serde(rename = "64k")]
    K64,
}

impl PageSize {
    /// Returns the size of a page in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::K4 => 4 << 10,
            Self::K64 => 64 << 10,
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K4 => "4k",
            Self::K64 => "64k",
        })
    }
}

impl FromStr for PageSize {
    type Err = anyhow::Error;

    fn from_str(s: &str) -> Result<Self> {
        match s.to_ascii_lowercase().as_str() {
            "4k" => Ok(Self::K4),
            "64k" => Ok(Self::K64),
            _ => bail!("page size is 4k or 64k, not {s}"),
        }
    }
}

/// Checkers with which a debug kernel is built. Such a kernel is several times slower than the
/// plain one and takes more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Debug {
    /// Checkers of memory and objects: KASAN and others that combine well with it
    /// (`kernel/kasan.config`).
    Kasan,
    /// Checkers of locks, RCU and contexts: lockdep (`kernel/lockdep.config`).
    Lockdep,
}

impl Debug {
    /// All sets of checkers.
    pub const ALL: [Self; 2] = [Self::Kasan, Self::Lockdep];

    /// Returns the name, as in `kernel/NAME.config`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kasan => "kasan",
            Self::Lockdep => "lockdep",
        }
    }

    /// Returns the kernel's command line: checkers that are off by default, and longer time limits,
    /// because an emulated processor of a busy host would exceed the usual ones with these
    /// checkers.
    pub(crate) const fn append(self) -> &'static str {
        match self {
            Self::Kasan => " page_poison=1 rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60",
            Self::Lockdep => " rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60",
        }
    }

    /// Time in milliseconds after which the adapter raises a completion event again that nobody heeds. With the checkers,
    /// a driver may take longer than the usual 20 ms to close a queue pair. An interrupt that is lost is noticed
    /// all the same.
    pub(crate) const RERAISE_MS: u32 = 500;

    /// Returns the maximum number of bytes that the checkers take in a guest with 8 GiB: for the
    /// shadow of all memory and the quarantine, or for tables. A guest gets this much in addition
    /// to the memory that was asked for.
    pub(crate) const fn memory(self) -> u64 {
        match self {
            Self::Kasan => 1536 << 20,
            Self::Lockdep => 512 << 20,
        }
    }

    /// Returns a shell command that prints what the checkers know and do not report on the console.
    /// It fails if one of them has turned itself off.
    ///
    /// kmemleak reports a block as leaked if it is 5 seconds old and none of two scans finds a
    /// pointer to it. Lockdep reports that its tables are full on the console's debug level.
    pub(crate) const fn verdict(self) -> &'static str {
        match self {
            Self::Kasan => {
                "cd /sys/kernel/debug; sleep 6; echo scan >kmemleak && echo scan >kmemleak && cat kmemleak"
            }
            Self::Lockdep => "grep -q 'debug_locks: *1$' /proc/lockdep_stats",
        }
    }
}

impl fmt::Display for Debug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Debug {
    type Err = anyhow::Error;

    fn from_str(s: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|debug| debug.name() == s) {
            Some(debug) => Ok(debug),
            None => bail!("a debug kernel is kasan or lockdep, not {s}"),
        }
    }
}

/// Variant of a guest's kernel; as text `64k`, `4k`, `64k-kasan` and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Variant {
    /// Base page size of the kernel.
    pub page_size: PageSize,
    /// Checkers of the kernel; `None` for the plain kernel.
    pub debug: Option<Debug>,
}

impl From<PageSize> for Variant {
    fn from(page_size: PageSize) -> Self {
        Self {
            page_size,
            debug: None,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.page_size)?;
        self.debug.map_or(Ok(()), |debug| write!(f, "-{debug}"))
    }
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(s: &str) -> Result<Self> {
        let (page_size, debug) = match s.split_once('-') {
            Some((page_size, debug)) => (page_size, Some(debug.parse()?)),
            None => (s, None),
        };
        Ok(Self {
            page_size: page_size.parse()?,
            debug,
        })
    }
}

impl TryFrom<String> for Variant {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Variant> for String {
    fn from(variant: Variant) -> Self {
        variant.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_read_as_it_is_written() {
        for page_size in [PageSize::K4, PageSize::K64] {
            for debug in [None, Some(Debug::Kasan), Some(Debug::Lockdep)] {
                let variant = Variant { page_size, debug };
                assert_eq!(variant.to_string().parse::<Variant>().unwrap(), variant);
            }
        }
        let kasan = Variant {
            page_size: PageSize::K64,
            debug: Some(Debug::Kasan),
        };
        assert_eq!(serde_json::to_string(&kasan).unwrap(), r#""64k-kasan""#);
        for wrong in ["", "kasan", "64k-", "8k-kasan", "64k-lockdep-kasan"] {
            assert!(wrong.parse::<Variant>().is_err(), "{wrong}");
        }
    }
}
