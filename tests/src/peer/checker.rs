// SPDX-License-Identifier: GPL-2.0
//! Checker of a stream of numbered payloads.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{bail, Result};

use super::pattern;

/// Maximum number of flawed payloads of which details are kept.
const DETAILS: usize = 5;

/// Checker that follows a stream of payloads which were sent with the numbers 0, 1, 2 …
#[derive(Debug)]
pub struct Checker {
    stream: u32,
    next: u64,
    missing: BTreeSet<u64>,
    summary: Summary,
}

/// Result of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of payloads that were sent.
    pub sent: u64,
    /// Number of payloads that arrived, including flawed ones.
    pub received: u64,
    /// Number of bytes in these payloads.
    pub bytes: u64,
    /// Number of payloads that never arrived.
    pub lost: u64,
    /// Number of payloads that arrived more than once.
    pub duplicated: u64,
    /// Number of payloads that arrived after one with a higher number.
    pub reordered: u64,
    /// Number of payloads with wrong content or length.
    pub corrupted: u64,
    /// Descriptions of the first flawed payloads.
    pub details: Vec<String>,
}

impl Checker {
    /// Returns a checker for the payloads of one stream.
    pub fn new(stream: u32) -> Self {
        Self {
            stream,
            next: 0,
            missing: BTreeSet::new(),
            summary: Summary::default(),
        }
    }

    /// Returns one more than the highest number seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Checks whether any of the first `count` payloads has not arrived.
    pub fn lacks(&self, count: u64) -> bool {
        self.next < count || !self.missing.is_empty()
    }

    /// Returns the number of payloads that arrived so far.
    pub fn received(&self) -> u64 {
        self.summary.received
    }

    /// Checks a payload. `length` returns the length with which the payload of a number was sent.
    pub fn take(&mut self, payload: &[u8], length: impl Fn(u64) -> usize) {
        self.summary.received += 1;
        self.summary.bytes += payload.len() as u64;
        match pattern::check(payload, self.stream) {
            Ok(sequence) if payload.len() == length(sequence) => self.number(sequence),
            Ok(sequence) => {
                let detail = format!("{} bytes instead of {}", payload.len(), length(sequence));
                self.corrupted(Some(sequence), &detail);
            }
            Err((sequence, flaw)) => self.corrupted(sequence, &flaw.to_string()),
        }
    }

    fn corrupted(&mut self, sequence: Option<u64>, what: &str) {
        self.summary.corrupted += 1;
        let number = sequence.map_or("?".to_owned(), |n| n.to_string());
        self.detail(format!("payload {number}: {what}"));
        // The payload has arrived, though flawed, so it is not also lost. A number far from those
        // expected is more likely wrong than right.
        if let Some(sequence) = sequence.filter(|n| n.abs_diff(self.next) < 1 << 16) {
            self.number(sequence);
        }
    }

    fn number(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
        } else if self.missing.remove(&sequence) {
            self.summary.reordered += 1;
            self.detail(format!("payload {sequence}: after {}", self.next - 1));
        } else {
            self.summary.duplicated += 1;
            self.detail(format!("payload {sequence}: again"));
        }
    }

    fn detail(&mut self, text: String) {
        if self.summary.details.len() < DETAILS {
            self.summary.details.push(text);
        }
    }

    /// Ends the stream, of which `sent` payloads were sent. Returns the result.
    pub fn finish(mut self, sent: u64) -> Summary {
        self.summary.sent = sent;
        self.summary.lost = self.missing.len() as u64 + sent.saturating_sub(self.next);
        let first = self.missing.first().copied().unwrap_or(self.next);
        if self.summary.lost > 0 {
            self.detail(format!("payload {first}: the first that is lost"));
        }
        self.summary
    }
}

impl Summary {
    /// Fails unless every payload arrived once, in order and unchanged.
    pub fn flawless(&self) -> Result<()> {
        if self.lost + self.duplicated + self.reordered + self.corrupted != 0 {
            bail!("{self}");
        }
        Ok(())
    }

    /// Fails if what arrived is not right. Payloads may be missing.
    pub fn sound(&self) -> Result<()> {
        if self.duplicated + self.reordered + self.corrupted != 0 {
            bail!("{self}");
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} came: {} lost, {} duplicated, {} reordered, {} corrupted",
            self.sent, self.received, self.lost, self.duplicated, self.reordered, self.corrupted
        )?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 60;

    fn payload(sequence: u64) -> Vec<u8> {
        let mut payload = vec![0; LENGTH];
        pattern::fill(&mut payload, 1, sequence);
        payload
    }

    fn summary(sent: u64, came: &[Vec<u8>]) -> Summary {
        let mut checker = Checker::new(1);
        for payload in came {
            checker.take(payload, |_| LENGTH);
        }
        checker.finish(sent)
    }

    fn counts(s: &Summary) -> [u64; 4] {
        [s.lost, s.duplicated, s.reordered, s.corrupted]
    }

    #[test]
    fn a_flawless_stream_has_no_flaws() {
        let came: Vec<_> = (0..100).map(payload).collect();
        let summary = summary(100, &came);
        assert_eq!(counts(&summary), [0; 4]);
        assert_eq!((summary.received, summary.bytes), (100, 6000));
        summary.flawless().unwrap();
    }

    #[test]
    fn each_flaw_is_counted_as_what_it_is() {
        let numbers = |n: &[u64]| n.iter().copied().map(payload).collect::<Vec<_>>();
        assert_eq!(counts(&summary(4, &numbers(&[0, 2, 3]))), [1, 0, 0, 0]);
        assert_eq!(counts(&summary(4, &numbers(&[0, 1, 2]))), [1, 0, 0, 0]);
        assert_eq!(
            counts(&summary(4, &numbers(&[0, 1, 1, 2, 3]))),
            [0, 1, 0, 0]
        );
        assert_eq!(counts(&summary(4, &numbers(&[0, 2, 1, 3]))), [0, 0, 1, 0]);
        let mut came = numbers(&[0, 1, 2, 3]);
        came[2][50] ^= 4;
        assert_eq!(counts(&summary(4, &came)), [0, 0, 0, 1]);
        came[2].truncate(59);
        assert_eq!(counts(&summary(4, &came)), [0, 0, 0, 1]);
        came[2].clear();
        assert_eq!(counts(&summary(4, &came)), [1, 0, 0, 1]);
        assert!(summary(4, &came).flawless().is_err());
    }

    #[test]
    fn a_consistent_payload_of_the_wrong_length_is_corrupt() {
        let mut checker = Checker::new(1);
        checker.take(&payload(0), |_| LENGTH + 1);
        assert_eq!(counts(&checker.finish(1)), [0, 0, 0, 1]);
    }
}
