// SPDX-License-Identifier: GPL-2.0
//! The protocol between [`crate::Guest`] and the agent in the guest (`guest/init`).
//!
//! A request is one line on the control console: a nonce, a space, and the shell command in base64.
//! The agent writes `RS nonce RS` to the console of standard output and to that of standard error,
//! lets the command write to both, and ends each with `RS nonce SP status RS` (RS is the ASCII
//! record separator). The bytes in between are those of the command, unchanged. Bytes outside come
//! from background processes of earlier commands and are dropped.

use std::borrow::Cow;
use std::fmt;

use base64::prelude::{Engine, BASE64_STANDARD};

/// ASCII record separator.
const RS: u8 = 0x1e;

/// Message of the agent on the control console when it accepts commands.
pub(crate) const READY: &[u8] = b"\x1eready\x1e";

/// Output stream of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Result of a command in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit status as the shell reports it: 128 + N after signal N.
    pub status: i32,
    /// Bytes of the standard output.
    pub stdout: Vec<u8>,
    /// Bytes of the standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Checks whether the exit status is zero.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Returns the standard output as text.
    pub fn out(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Returns the standard error as text.
    pub fn err(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}", self.status)?;
        for (name, text) in [("stdout", self.out()), ("stderr", self.err())] {
            if !text.trim().is_empty() {
                write!(
                    f,
                    "\n  {name}: {}",
                    text.trim_end().replace('\n', "\n          ")
                )?;
            }
        }
        Ok(())
    }
}

/// Returns the request line for a command.
pub(crate) fn request(nonce: &str, command: &str) -> String {
    format!("{nonce} {}\n", BASE64_STANDARD.encode(command))
}

/// Filter that extracts one stream of one command from what the stream's console delivers.
#[derive(Debug)]
pub(crate) struct Frame {
    begin: Vec<u8>,
    end: Vec<u8>,
    pending: Vec<u8>,
    inside: bool,
    status: Option<i32>,
}

/// Meaning of a record separator.
enum Mark {
    Begin(usize),
    End(usize, i32),
    Incomplete,
    Other,
}

impl Frame {
    pub(crate) fn new(nonce: &str) -> Self {
        Self {
            begin: format!("\x1e{nonce}\x1e").into_bytes(),
            end: format!("\x1e{nonce} ").into_bytes(),
            pending: Vec::new(),
            inside: false,
            status: None,
        }
    }

    /// Returns the exit status, once the end of the stream was seen.
    pub(crate) fn status(&self) -> Option<i32> {
        self.status
    }

    /// Processes bytes of the console and passes those of the command to `sink`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) {
        self.pending.extend_from_slice(bytes);
        while self.status.is_none() {
            let at = self
                .pending
                .iter()
                .position(|&b| b == RS)
                .unwrap_or(self.pending.len());
            if self.inside && at > 0 {
                sink(&self.pending[..at]);
            }
            self.pending.drain(..at);
            if self.pending.is_empty() {
                return;
            }
            let used = match self.mark() {
                Mark::Incomplete => return,
                Mark::Begin(length) => {
                    self.inside = true;
                    length
                }
                Mark::End(length, status) => {
                    self.status = Some(status);
                    length
                }
                Mark::Other => {
                    if self.inside {
                        sink(&[RS]);
                    }
                    1
                }
            };
            self.pending.drain(..used);
        }
    }

    /// Classifies `pending`, which begins with a record separator.
    fn mark(&self) -> Mark {
        let pending = self.pending.as_slice();
        if pending.starts_with(&self.begin) {
            return Mark::Begin(self.begin.len());
        }
        if let Some(rest) = pending.strip_prefix(self.end.as_slice()) {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let text = std::str::from_utf8(&rest[..digits]).unwrap_or_default();
            return match (rest.get(digits), text.parse()) {
                (Some(&RS), Ok(status)) if digits <= 3 => {
                    Mark::End(self.end.len() + digits + 1, status)
                }
                (None, _) if digits <= 3 => Mark::Incomplete,
                _ => Mark::Other,
            };
        }
        if self.begin.starts_with(pending) || self.end.starts_with(pending) {
            Mark::Incomplete
        } else {
            Mark::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8], chunk: usize) -> (Vec<u8>, Option<i32>) {
        let mut frame = Frame::new("n1");
        let mut out = Vec::new();
        for piece in input.chunks(chunk) {
            frame.feed(piece, |bytes| out.extend_from_slice(bytes));
        }
        (out, frame.status())
    }

    #[test]
    fn output_arrives_unaltered_however_it_is_cut() {
        let input = b"stray\x1en0 5\x1e\x1en1\x1ea\r\n\x1e\x1en1x\x1en\0\xffz\x1en1 42\x1elater";
        for chunk in 1..=input.len() {
            let (out, status) = parse(input, chunk);
            assert_eq!(out, b"a\r\n\x1e\x1en1x\x1en\0\xffz", "chunks of {chunk}");
            assert_eq!(status, Some(42));
        }
    }

    #[test]
    fn an_end_that_is_none_is_output() {
        let (out, status) = parse(b"\x1en1\x1e\x1en1 7x\x1en1 12345\x1e.", 3);
        assert_eq!(out, b"\x1en1 7x\x1en1 12345\x1e.");
        assert_eq!(status, None);
    }

    #[test]
    fn a_request_is_one_line() {
        assert_eq!(request("n", "echo a\necho b"), "n ZWNobyBhCmVjaG8gYg==\n");
    }
}
