// SPDX-License-Identifier: GPL-2.0
//! Names of a guest's code.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use ehea_harness::Guest;
use rustc_demangle::demangle;

use crate::system::System;

/// Names of code, by address.
#[derive(Debug, Default)]
pub(crate) struct Symbols(BTreeMap<u64, String>);

impl Symbols {
    /// Adds lines of `System.map` or `/proc/kallsyms`.
    pub(crate) fn add(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else {
                continue;
            };
            if matches!(kind, "t" | "T" | "w" | "W") {
                let module = words.next().unwrap_or_default();
                self.0
                    .insert(address, format!("{:#}{module}", demangle(name)));
            }
        }
    }

    /// Reads the names in a guest's kernel and modules.
    pub(crate) fn read(system: System, guest: &Guest) -> Result<Self> {
        let mut symbols = Self::default();
        let map = system.kernel()?.build.join("System.map");
        let text = std::fs::read_to_string(&map)
            .with_context(|| format!("cannot read {}", map.display()))?;
        symbols.add(&text);
        symbols.add(&guest.sh(r"grep '\[' /proc/kallsyms")?);
        Ok(symbols)
    }

    /// Returns the function that contains an address, and the offset of the address in it.
    pub(crate) fn find(&self, address: u64) -> (&str, u64) {
        match self.0.range(..=address).next_back() {
            Some((start, name)) if address >> 63 == 1 => (name, address - start),
            _ => ("user space", 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        let mut symbols = Symbols::default();
        symbols.add(
            "c000000000001000 T first\nc000000000001100 d data\nc000000000002000 t second\t[ehea]\n",
        );
        assert_eq!(symbols.find(0xc000_0000_0000_1104), ("first", 0x104));
        assert_eq!(symbols.find(0xc000_0000_0000_2000), ("second[ehea]", 0));
        assert_eq!(symbols.find(0x1000), ("user space", 0));
    }
}
