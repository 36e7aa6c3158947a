// SPDX-License-Identifier: GPL-2.0
//! Counts that QEMU's plugin for guest instructions (`qemu/plugin/count.c`) wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use ehea_harness::{Artifacts, Builder, Guest};

/// Numbers of instructions by the address of their bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<u64, u64>);

impl Counts {
    /// Returns the number of all instructions.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the number of instructions of buckets in a range of addresses.
    pub(crate) fn within(&self, range: &Range<u64>) -> u64 {
        self.0.range(range.clone()).map(|(_, count)| count).sum()
    }

    /// Returns the buckets with their numbers of instructions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&address, &count)| (address, count))
    }

    /// Returns the instructions that were executed since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        let grown = self.iter().filter_map(|(address, count)| {
            let before = earlier.0.get(&address).copied().unwrap_or_default();
            let grown = count.saturating_sub(before);
            (grown > 0).then_some((address, grown))
        });
        grown.collect()
    }
}

/// Reader of snapshots, which reads them while they are written.
#[derive(Debug)]
pub(crate) struct Counter {
    path: PathBuf,
    bucket: u64,
    reader: Option<BufReader<File>>,
    last: u64,
}

impl Counter {
    /// Returns a counter for one guest, with a name for its file. It counts addresses in pieces of
    /// `bucket` bytes.
    pub(crate) fn new(name: &str, bucket: u64) -> Result<Self> {
        let logs = Artifacts::from_env()?.logs;
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self {
            path: logs.join(format!("{name}.{}.counts", std::process::id())),
            bucket,
            reader: None,
            last: 0,
        })
    }

    /// Adds the plugin to a guest. The guest's clock then counts instructions.
    pub(crate) fn attach(&self, builder: Builder) -> Result<Builder> {
        let plugin = Artifacts::from_env()?
            .plugin
            .context("no plugin: run this through `cargo xtask bench`")?;
        Ok(builder
            .qemu_arg("-icount")
            .qemu_arg("shift=0,sleep=off")
            .qemu_arg("-plugin")
            .qemu_arg(&format!(
                "{},out={},bucket={}",
                plugin.display(),
                self.path.display(),
                self.bucket
            )))
    }

    /// Runs a shell command in the guest. Returns its output and the instructions that were
    /// executed meanwhile.
    pub(crate) fn run(&mut self, guest: &Guest, command: &str) -> Result<(String, Counts)> {
        let (first, second) = (self.last + 1, self.last + 2);
        self.last = second;
        let output = guest.sh(&format!(
            "ehea-net mark {first}\n{command}\nstatus=$?\nehea-net mark {second}\nexit $status"
        ))?;
        let before = self.snapshot(first)?;
        let after = self.snapshot(second)?;
        Ok((output, after.since(&before)))
    }

    /// Reads the next snapshot, whose mark must be `mark`.
    fn snapshot(&mut self, mark: u64) -> Result<Counts> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let file = File::open(&self.path)
                    .with_context(|| format!("no counts in {}", self.path.display()))?;
                self.reader.insert(BufReader::new(file))
            }
        };
        let snapshot = parse(reader)?;
        ensure!(
            snapshot.mark == mark,
            "mark {} where {mark} was expected",
            snapshot.mark
        );
        Ok(snapshot.counts)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Nobody needs the file any more, and there is nobody to report an error to.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl FromIterator<(u64, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(counts: I) -> Self {
        Self(counts.into_iter().collect())
    }
}

#[derive(Debug)]
struct Snapshot {
    mark: u64,
    counts: Counts,
}

/// Address under which the plugin counts what its table has no room for.
const OVERFLOW: u64 = u64::MAX;

/// Parses the next snapshot.
fn parse(reader: &mut impl BufRead) -> Result<Snapshot> {
    let mut lines = reader.lines();
    let mut line = || {
        lines
            .next()
            .context("the plugin wrote no snapshot")?
            .context("counts")
    };
    let head = line()?;
    let words: Vec<_> = head.split(' ').collect();
    let ["mark", mark, "total", total] = words[..] else {
        anyhow::bail!("{head:?} is not the start of a snapshot");
    };
    let (mark, total) = (mark.parse()?, total.parse::<u64>()?);
    let mut counts = Counts::default();
    loop {
        let line = line()?;
        let Some((address, count)) = line.split_once(' ') else {
            ensure!(line == "end", "{line:?} is not part of a snapshot");
            break;
        };
        counts
            .0
            .insert(u64::from_str_radix(address, 16)?, count.parse()?);
    }
    ensure!(counts.total() == total, "a snapshot with a wrong total");
    ensure!(
        !counts.0.contains_key(&OVERFLOW),
        "the guest executes code at more addresses than the plugin can count"
    );
    Ok(Snapshot { mark, counts })
}

/// Addresses of modules' code.
#[derive(Debug)]
pub(crate) struct Modules(BTreeMap<u64, String>);

impl Modules {
    /// Reads the addresses from the guest.
    pub(crate) fn read(guest: &Guest) -> Result<Self> {
        Self::parse(&guest.sh("cat /proc/modules")?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut modules = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let name = words.next().context("a module without a name")?;
            let address = words
                .find_map(|word| word.strip_prefix("0x"))
                .with_context(|| format!("no address of module {name}"))?;
            modules.insert(u64::from_str_radix(address, 16)?, name.to_owned());
        }
        Ok(Self(modules))
    }

    /// Returns the addresses of a module's code: from its start to the start of the next module's
    /// code. Nothing else between the two is executed, and no page belongs to two modules.
    pub(crate) fn code(&self, module: &str) -> Result<Range<u64>> {
        let (&start, _) = self
            .0
            .iter()
            .find(|(_, name)| *name == module)
            .with_context(|| format!("module {module} is not loaded"))?;
        let end = self
            .0
            .range(start + 1..)
            .next()
            .map_or(u64::MAX, |(&at, _)| at);
        Ok(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_read_one_after_the_other() {
        let text = "mark 1 total 30\nc000 10\n1000 20\nend\nmark 2 total 45\nc000 12\n1000 20\n2000 13\nend\n";
        let mut reader = text.as_bytes();
        let (first, second) = (parse(&mut reader).unwrap(), parse(&mut reader).unwrap());
        assert_eq!((first.mark, second.mark), (1, 2));
        let grown = second.counts.since(&first.counts);
        assert_eq!(
            grown.iter().collect::<Vec<_>>(),
            [(0x2000, 13), (0xc000, 2)]
        );
        assert_eq!((grown.total(), grown.within(&(0x2001..0xd000))), (15, 2));
        assert!(parse(&mut reader).is_err());
    }

    #[test]
    fn flawed_snapshots_are_refused() {
        for bad in [
            "mark 1 total 30\nc000 10\nend\n",
            "mark 1 total 10\nc000 10\n",
            "mark 1 total 10\nffffffffffffffff 10\nend\n",
            "c000 10\nend\n",
        ] {
            assert!(parse(&mut bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_module_ends_where_the_next_begins() {
        let text = "ehea 196608 0 - Live 0xc008000000200000 (O)\n\
                    pktgen 131072 0 - Live 0xc008000000100000\n";
        let modules = Modules::parse(text).unwrap();
        assert_eq!(
            modules.code("pktgen").unwrap(),
            0xc008_0000_0010_0000..0xc008_0000_0020_0000
        );
        assert_eq!(modules.code("ehea").unwrap().end, u64::MAX);
        assert!(modules.code("virtio_net").is_err());
    }
}
