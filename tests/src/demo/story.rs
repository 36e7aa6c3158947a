// SPDX-License-Identifier: GPL-2.0
//! Output of the demo.

use std::fmt::Display;

use anyhow::Result;

use crate::lab::Lab;

/// Maximum number of lines of a command's output that are shown.
const SHOWN: usize = 12;

/// Printer of steps, of the commands in them with their output, and of what was checked.
#[derive(Debug, Default)]
pub(crate) struct Story {
    step: usize,
    figures: Vec<(String, String)>,
}

impl Story {
    /// Begins the next step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n{:>2}. {title}", self.step);
    }

    /// Prints a note on the step.
    pub(crate) fn note(&self, text: &str) {
        for line in text.lines() {
            println!("    {line}");
        }
    }

    /// Runs a command that must succeed, shows it and its output, and returns the output.
    pub(crate) fn run(&self, lab: &Lab, command: &str) -> Result<String> {
        self.show(lab, command, |_| true)
    }

    /// Runs a command as [`Story::run`] does, but shows only the lines for which `relevant` returns
    /// true.
    pub(crate) fn show(
        &self,
        lab: &Lab,
        command: &str,
        relevant: impl Fn(&str) -> bool,
    ) -> Result<String> {
        println!("    # {command}");
        let output = lab.sh(command)?;
        let lines: Vec<_> = output.lines().filter(|line| relevant(line)).collect();
        for line in lines.iter().take(SHOWN) {
            println!("      {}", line.trim_end());
        }
        if lines.len() > SHOWN {
            println!("      … {} lines more", lines.len() - SHOWN);
        }
        Ok(output)
    }

    /// Prints what was found to be right.
    pub(crate) fn checked(&self, text: impl Display) {
        println!("    ✓ {text}");
    }

    /// Remembers a figure for the table at the end.
    pub(crate) fn figure(&mut self, name: &str, value: impl Display) {
        self.figures.push((name.to_owned(), value.to_string()));
    }

    /// Prints the table of figures.
    pub(crate) fn table(&self) {
        let width = self
            .figures
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        println!();
        for (name, value) in &self.figures {
            println!("    {name:<width$}  {value:>24}");
        }
    }
}

/// Returns a number of bytes as text for people, exact if possible.
pub(crate) fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            let whole = bytes >> shift;
            return if whole << shift == bytes {
                format!("{whole} {unit}")
            } else {
                format!("{:.2} {unit}", bytes as f64 / (1u64 << shift) as f64)
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(4096), "4 KiB");
        assert_eq!(size(2 << 30), "2 GiB");
        assert_eq!(size(3 << 29), "1.50 GiB");
    }
}
