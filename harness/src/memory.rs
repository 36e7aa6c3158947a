// SPDX-License-Identifier: GPL-2.0
//! Sizes, and the memory of a guest.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Context, Result};

/// Parses a number of bytes with an optional binary suffix: `4096`, `64M`, `2G`.
pub fn parse_size(s: &str) -> Result<u64> {
    let (digits, shift) = match s.char_indices().last() {
        Some((at, 'k' | 'K')) => (&s[..at], 10),
        Some((at, 'm' | 'M')) => (&s[..at], 20),
        Some((at, 'g' | 'G')) => (&s[..at], 30),
        _ => (s, 0),
    };
    let number: u64 = digits
        .parse()
        .with_context(|| format!("{s:?} is not a size such as 512M or 2G"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("{s} is too large"))
}

/// Memory at boot and the limit up to which more can be plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Number of bytes at boot.
    pub size: u64,
    /// Maximum number of bytes; equal to `size` for a guest without memory hotplug.
    pub max: u64,
}

impl FromStr for Memory {
    type Err = anyhow::Error;

    /// Parses `2G` or `2G,max=16G`.
    fn from_str(s: &str) -> Result<Self> {
        let (size, max) = match s.split_once(',') {
            None => (parse_size(s)?, None),
            Some((size, option)) => match option.strip_prefix("max=") {
                Some(max) => (parse_size(size)?, Some(parse_size(max)?)),
                None => bail!("memory is given as SIZE or SIZE,max=SIZE, not {s:?}"),
            },
        };
        let max = max.unwrap_or(size);
        if max < size {
            bail!("the limit of {s} is below the size at boot");
        }
        Ok(Self { size, max })
    }
}

impl fmt::Display for Memory {
    /// Writes the value of QEMU's option `-m`, with a unit because QEMU would take a bare number as
    /// mebibytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size={}B", self.size)?;
        if self.max > self.size {
            write!(f, ",slots=32,maxmem={}B", self.max)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_suffixes() {
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert_eq!(parse_size("64m").unwrap(), 64 << 20);
        assert_eq!(parse_size("2G").unwrap(), 2 << 30);
        for bad in ["", "G", "2T", "-1", "99999999999G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_has_an_optional_limit() {
        assert_eq!(
            "2G".parse::<Memory>().unwrap().to_string(),
            "size=2147483648B"
        );
        assert_eq!(
            "2G,max=16G".parse::<Memory>().unwrap().to_string(),
            "size=2147483648B,slots=32,maxmem=17179869184B"
        );
        assert!("2G,max=1G".parse::<Memory>().is_err());
        assert!("2G,slots=1".parse::<Memory>().is_err());
    }
}
