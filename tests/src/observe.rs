// SPDX-License-Identifier: GPL-2.0
//! Information that the driver shows about its memory map: the file in debugfs, and the
//! tracepoints.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};

use crate::lab::Lab;

/// Directory with one directory for each adapter.
pub const DEBUGFS: &str = "/sys/kernel/debug/ehea";
const TRACEFS: &str = "/sys/kernel/tracing";

/// Adjacent memory that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First real address.
    pub real: u64,
    /// First adapter address.
    pub bus: u64,
    /// Number of bytes.
    pub len: u64,
}

/// The file `map` in debugfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapFile {
    values: BTreeMap<String, u64>,
    /// The memory map, in ascending order.
    pub runs: Vec<Run>,
    /// Start and length of ranges that are going offline.
    pub going_offline: Vec<(u64, u64)>,
}

impl MapFile {
    /// Reads the file of the only adapter.
    pub fn read(lab: &Lab) -> Result<Self> {
        Self::parse(&lab.sh(&format!("cat {DEBUGFS}/*/map"))?)
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    ///
    /// A line is not as documented.
    pub fn parse(text: &str) -> Result<Self> {
        let mut file = Self::default();
        for line in text.lines() {
            let (key, value) = line.split_once(": ").with_context(|| format!("{line:?}"))?;
            let numbers = value
                .split(' ')
                .map(|word| match word.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => word.parse(),
                })
                .collect::<Result<Vec<_>, _>>()
                .with_context(|| format!("{line:?}"))?;
            match (key, &numbers[..]) {
                ("run", &[real, bus, len]) => file.runs.push(Run { real, bus, len }),
                ("going_offline", &[start, len]) => file.going_offline.push((start, len)),
                (_, &[value]) => {
                    let before = file.values.insert(key.to_owned(), value);
                    ensure!(before.is_none(), "{key} stands there twice");
                }
                _ => anyhow::bail!("unexpected line {line:?}"),
            }
        }
        Ok(file)
    }

    /// Returns the number in the line named `name`.
    pub fn get(&self, name: &str) -> Result<u64> {
        let value = self.values.get(name).copied();
        value.with_context(|| format!("no {name} in debugfs"))
    }

    /// Returns the names of all lines with one number.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Fails unless the lines named in `expected` have the numbers given there.
    pub fn expect(&self, expected: &[(&str, u64)]) -> Result<()> {
        for &(name, wanted) in expected {
            let value = self.get(name)?;
            ensure!(value == wanted, "{name} is {value}, not {wanted}: {self:?}");
        }
        Ok(())
    }
}

/// An event of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Name of the event.
    pub name: String,
    fields: BTreeMap<String, String>,
}

impl Event {
    /// Parses a line of the trace: `TASK-PID [CPU] FLAGS TIME: NAME: KEY=VALUE …`.
    fn parse(line: &str) -> Option<Self> {
        let (_, event) = line.split_once(": ehea_")?;
        let (name, fields) = event.split_once(": ")?;
        Some(Self {
            name: format!("ehea_{name}"),
            fields: fields
                .split(' ')
                .filter_map(|field| field.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    /// Returns a field as text.
    pub fn text(&self, field: &str) -> Result<&str> {
        let value = self.fields.get(field);
        Ok(value.with_context(|| format!("no {field}: {self:?}"))?)
    }

    /// Returns a field as a number.
    pub fn number(&self, field: &str) -> Result<u64> {
        let text = self.text(field)?;
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.with_context(|| format!("{field} of {self:?}"))
    }
}

/// The driver's tracepoints while they are on. They are turned off when this is dropped.
#[derive(Debug)]
pub struct Trace<'a>(&'a Lab);

impl<'a> Trace<'a> {
    /// Turns the tracepoints on, with an empty trace.
    pub fn start(lab: &'a Lab) -> Result<Self> {
        lab.sh(&format!("echo 1 >{TRACEFS}/events/ehea/enable"))?;
        let trace = Self(lab);
        trace.take()?;
        Ok(trace)
    }

    /// Returns the events since the start or the last call.
    pub fn take(&self) -> Result<Vec<Event>> {
        let text = self
            .0
            .sh(&format!("cat {TRACEFS}/trace && echo >{TRACEFS}/trace"))?;
        Ok(text.lines().filter_map(Event::parse).collect())
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        // If the guest does not answer any more, there is nothing to turn off.
        let _ = self.0.run(&format!("echo 0 >{TRACEFS}/events/ehea/enable"));
    }
}

/// Events of the kernel about allocated memory.
const ALLOCATIONS: [&str; 3] = ["mm_page_alloc", "kmalloc", "kmem_cache_alloc"];

/// Program for awk that prints the stacks in a trace that contain functions of the module, each as one line.
const STACKS_OF_MODULE: &str = r#"
    function end() { if (stack ~ /\[ehea\]/) print stack; stack = "" }
    /<stack trace>/ { end() }
    /^ => / { stack = stack " < " $2 }
    /^ => .*\[ehea\]/ { stack = stack " [ehea]" }
    END { end() }"#;

/// Returns the first stacks of functions of the module that allocated memory while the shell command
/// `command` ran in the guest, each as one line.
pub fn allocations_of_module(lab: &Lab, command: &str) -> Result<Vec<String>> {
    let options = |on: u8| format!("echo {on} >options/stacktrace; echo {on} >options/sym-offset");
    let events = |on: u8| {
        ALLOCATIONS
            .map(|event| format!("echo {on} >events/kmem/{event}/enable"))
            .join("; ")
    };
    // The names of modules are shown only while the options are on.
    let text = lab.sh(&format!(
        "cd {TRACEFS} && echo >trace && {}; {}; ({command}); status=$?; {}; \
         awk '{STACKS_OF_MODULE}' trace | head -n 10; {}; echo >trace; exit $status",
        options(1),
        events(1),
        events(0),
        options(0)
    ))?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file() {
        let file = MapFile::parse(
            "mr_generation: 3\nmr_bytes: 33554432\n\
             going_offline: 0x0000000010000000 0x10000000\n\
             run: 0x0000000000000000 0x8000000000000000 0x1000000\n\
             run: 0x0000000003000000 0x8000000001000000 0x1000000\n",
        )
        .unwrap();
        assert_eq!(file.get("mr_generation").unwrap(), 3);
        assert!(file.expect(&[("mr_bytes", 33_554_432)]).is_ok());
        assert!(file.expect(&[("mr_bytes", 0)]).is_err());
        assert!(file.get("mr_sections").is_err());
        assert_eq!(file.going_offline, [(0x1000_0000, 0x1000_0000)]);
        assert_eq!(
            file.runs[1],
            Run {
                real: 0x300_0000,
                bus: 0x8000_0000_0100_0000,
                len: 0x100_0000
            }
        );
        for wrong in [
            "mr_generation 3",
            "mr_generation: x",
            "mr_generation: 1\nmr_generation: 2",
            "run: 0x0 0x1",
        ] {
            assert!(MapFile::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn event() {
        let line = "  ksoftirqd/0-13  [000] ..s1.  12.345678: ehea_miss: dev=eth1 \
                    address=0x40000000 direction=tx";
        let event = Event::parse(line).unwrap();
        assert_eq!(event.name, "ehea_miss");
        assert_eq!(event.text("dev").unwrap(), "eth1");
        assert_eq!(event.number("address").unwrap(), 0x4000_0000);
        assert!(event.number("direction").is_err());
        assert!(event.text("generation").is_err());
        assert_eq!(Event::parse("# tracer: nop"), None);
    }
}
