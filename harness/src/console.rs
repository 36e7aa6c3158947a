// SPDX-License-Identifier: GPL-2.0
//! The kernel's console: recording, and detection of failure reports.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Severity of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The kernel continues: WARN, lockdep, RCU stall, hung task, sanitizer report.
    Warning,
    /// The kernel reported an Oops or BUG.
    Oops,
    /// The kernel has stopped.
    Panic,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "kernel warning",
            Self::Oops => "kernel Oops",
            Self::Panic => "kernel panic",
        })
    }
}

/// A report of the kernel that fails a run.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Severity of the worst line.
    pub kind: FindingKind,
    /// Lines of the report: the first one and those that follow, up to the end of the trace.
    pub lines: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind)?;
        for line in &self.lines {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Texts that mark a line as a failure, the worst first.
const PATTERNS: &[(&str, FindingKind)] = &[
    ("Kernel panic - not syncing", FindingKind::Panic),
    ("Oops: ", FindingKind::Oops),
    ("kernel BUG at", FindingKind::Oops),
    ("BUG: ", FindingKind::Oops),
    // Reports of SLUB have the form `BUG name of the cache (…): what`.
    ("] BUG ", FindingKind::Oops),
    ("Unable to handle kernel", FindingKind::Oops),
    ("rust_kernel: panicked", FindingKind::Oops),
    ("Bad page state", FindingKind::Oops),
    ("WARNING: ", FindingKind::Warning),
    ("INFO: possible ", FindingKind::Warning),
    ("INFO: suspicious ", FindingKind::Warning),
    (
        "INFO: trying to register non-static key",
        FindingKind::Warning,
    ),
    // A checker that is off finds nothing.
    ("lockdep is turned off", FindingKind::Warning),
    ("blocked for more than", FindingKind::Warning),
    ("detected stalls on", FindingKind::Warning),
    ("self-detected stall", FindingKind::Warning),
    ("detected expedited stalls", FindingKind::Warning),
    ("UBSAN: ", FindingKind::Warning),
    ("refcount_t: ", FindingKind::Warning),
    ("ODEBUG: ", FindingKind::Warning),
    // DMA-API reports on drivers come with a WARN. Other DMA-API lines may just report its size.
    ("DMA-API: debugging out of memory", FindingKind::Warning),
    ("dma-debug disabled", FindingKind::Warning),
    ("new suspected memory leaks", FindingKind::Warning),
    ("Kernel memory leak detector disabled", FindingKind::Warning),
    ("pagealloc: ", FindingKind::Warning),
    ("ref_tracker: ", FindingKind::Warning),
    ("hard LOCKUP", FindingKind::Warning),
    ("unregister_netdevice: waiting for", FindingKind::Warning),
    ("NETDEV WATCHDOG", FindingKind::Warning),
    ("Unknown symbol", FindingKind::Warning),
];

/// Maximum number of lines of a report.
const REPORT_LINES: usize = 60;

const CUT_HERE: &str = "[ cut here ]";
const END_TRACE: &str = "[ end trace";

fn classify(line: &str) -> Option<FindingKind> {
    PATTERNS
        .iter()
        .find(|(text, _)| line.contains(text))
        .map(|(_, kind)| *kind)
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    partial: Vec<u8>,
    findings: Vec<Finding>,
    /// Lines since "cut here". They precede the line that names the failure.
    cut: Option<Vec<String>>,
    /// True if further lines belong to the last finding.
    open: bool,
    allowed: Vec<String>,
    /// Texts of which each excuses one finding.
    allowed_once: Vec<String>,
    last_activity: Option<Instant>,
    closed: bool,
}

impl State {
    fn line(&mut self, line: String) {
        if line.contains(CUT_HERE) {
            self.open = false;
            self.cut = Some(Vec::new());
        }
        if let Some(cut) = &mut self.cut {
            cut.push(line.clone());
            if cut.len() > REPORT_LINES {
                self.cut = None;
            }
        }
        let kind = classify(&line);
        let last = if self.open {
            self.findings.last_mut()
        } else {
            None
        };
        match (kind, last) {
            (Some(kind), Some(finding)) => {
                finding.kind = finding.kind.max(kind);
                finding.lines.push(line.clone());
            }
            (Some(kind), None) => {
                let lines = self.cut.take().unwrap_or_else(|| vec![line.clone()]);
                self.findings.push(Finding { kind, lines });
                self.open = true;
            }
            (None, Some(finding)) => {
                finding.lines.push(line.clone());
                if line.contains(END_TRACE) || finding.lines.len() >= REPORT_LINES {
                    self.open = false;
                }
            }
            (None, None) => {}
        }
        self.lines.push(line);
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        let mut once: Vec<&String> = self.allowed_once.iter().collect();
        self.findings.iter().filter(move |f| {
            let has = |text: &String| f.lines.iter().any(|line| line.contains(text.as_str()));
            if self.allowed.iter().any(has) {
                return false;
            }
            match once.iter().position(|text| has(text)) {
                Some(at) => {
                    once.remove(at);
                    false
                }
                None => true,
            }
        })
    }
}

/// Record of everything that the guest's kernel has printed. A line that reports a WARN, an Oops, a
/// stall, a lockdep splat or a panic is a [`Finding`].
#[derive(Debug, Default)]
pub struct Console {
    state: Mutex<State>,
    changed: Condvar,
}

impl Console {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes bytes as they arrive from the guest.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.last_activity = Some(Instant::now());
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut state.partial);
                    state.line(String::from_utf8_lossy(&line).into_owned());
                }
                b'\r' => {}
                _ => state.partial.push(byte),
            }
        }
        self.changed.notify_all();
    }

    /// Notes that the other end is closed.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Returns the time at which the guest last printed something.
    pub(crate) fn last_activity(&self) -> Option<Instant> {
        self.state().last_activity
    }

    /// Ignores findings with a line that contains `text`, for reports that a test causes on
    /// purpose.
    pub fn allow(&self, text: &str) {
        self.state().allowed.push(text.to_owned());
    }

    /// Ignores the first finding with a line that contains `text`, for a report that the kernel is
    /// known to make once.
    pub fn allow_once(&self, text: &str) {
        self.state().allowed_once.push(text.to_owned());
    }

    /// Returns the reports that fail a run, oldest first.
    pub fn findings(&self) -> Vec<Finding> {
        self.state().findings().cloned().collect()
    }

    /// Checks whether the kernel has panicked.
    pub fn panicked(&self) -> bool {
        self.state()
            .findings()
            .any(|f| f.kind == FindingKind::Panic)
    }

    /// Returns the number of complete lines so far, as a position for [`Console::since`].
    pub fn position(&self) -> usize {
        self.state().lines.len()
    }

    /// Returns the lines from `position` on.
    pub fn since(&self, position: usize) -> Vec<String> {
        self.state()
            .lines
            .get(position..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Waits for a line at or after `position` that contains `text` and returns it. Returns `None`
    /// after `timeout`, or if the guest is gone.
    pub fn wait_for(&self, position: usize, text: &str, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            let found = state
                .lines
                .get(position..)
                .unwrap_or_default()
                .iter()
                .find(|line| line.contains(text));
            if let Some(line) = found {
                return Some(line.clone());
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|_| !state.closed)?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> Console {
        let console = Console::default();
        for chunk in text.as_bytes().chunks(7) {
            console.feed(chunk);
        }
        console
    }

    #[test]
    fn a_quiet_kernel_has_no_findings() {
        let c = console("[    0.000000] Linux version\r\n[    1.0] ehea: loading out-of-tree module taints kernel.\r\n");
        assert!(c.findings().is_empty());
        assert_eq!(c.since(1).len(), 1);
    }

    #[test]
    fn a_warning_is_one_finding_with_its_trace() {
        let c = console(
            "[ 1.0] ------------[ cut here ]------------\n[ 1.0] it broke\n\
             [ 1.0] WARNING: mm/x.c:1 at f+0x1/0x2, CPU#0: sh/1\n[ 1.0] Call Trace:\n\
             [ 1.0] ---[ end trace 0000000000000000 ]---\n[ 1.1] hello\n",
        );
        let findings = c.findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].kind, FindingKind::Warning);
        assert_eq!(findings[0].lines.len(), 5);
        c.allow("it broke");
        assert!(c.findings().is_empty());
    }

    #[test]
    fn what_is_allowed_once_is_a_finding_the_second_time() {
        let warning = "[ 1.0] ------------[ cut here ]------------\n[ 1.0] it broke\n\
             [ 1.0] WARNING: mm/x.c:1 at f+0x1/0x2, CPU#0: sh/1\n\
             [ 1.0] ---[ end trace 0000000000000000 ]---\n";
        let c = console(warning);
        c.allow_once("it broke");
        c.allow_once("something else");
        assert!(c.findings().is_empty());
        c.feed(warning.as_bytes());
        assert_eq!(c.findings().len(), 1);
        assert!(!c.panicked());
    }

    #[test]
    fn the_worst_line_of_a_report_decides() {
        let c = console("BUG: Unable to handle kernel data access\nOops: Kernel access\nKernel panic - not syncing: Fatal\n");
        assert_eq!(c.findings().len(), 1);
        assert!(c.panicked());
    }

    #[test]
    fn every_kind_of_report_is_found() {
        for line in [
            "WARNING: CPU: 0 PID: 1 at kernel/x.c:3",
            "WARNING: drivers/net/x.c:3 at f+0x1/0x2, CPU#0: sh/1",
            "WARNING: possible circular locking dependency detected",
            "WARNING: possible recursive locking detected",
            "WARNING: possible irq lock inversion dependency detected",
            "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
            "WARNING: inconsistent lock state",
            "WARNING: bad unlock balance detected!",
            "WARNING: held lock freed!",
            "WARNING: sh/1 still has locks held!",
            "WARNING: lock held when returning to user space!",
            "WARNING: suspicious RCU usage",
            "[ BUG: Invalid wait context ]",
            "INFO: trying to register non-static key.",
            "BUG: MAX_LOCKDEP_CHAINS too low!",
            "INFO: lockdep is turned off.",
            "BUG: sleeping function called from invalid context at mm/x.c:1",
            "BUG: scheduling while atomic: sh/1/0x00000002",
            "BUG: using smp_processor_id() in preemptible [00000000] code: sh/1",
            "BUG: KASAN: slab-use-after-free in f+0x1/0x2",
            "BUG: KCSAN: data-race in f / g",
            "BUG kmalloc-64 (Tainted: G           O      ): Redzone overwritten",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "kmemleak: Kernel memory leak detector disabled",
            "ODEBUG: free active (active state 0) object: 00000000 object type: timer_list hint: f+0x1",
            "ODEBUG: Out of memory. ODEBUG disabled",
            "DMA-API: debugging out of memory - disabling",
            "DMA-API: cacheline tracking ENOMEM, dma-debug disabled",
            "pagealloc: memory corruption",
            "ref_tracker: reference already released.",
            "refcount_t: underflow; use-after-free.",
            "watchdog: CPU 0 self-detected hard LOCKUP @ f+0x1/0x2",
            "INFO: task kworker blocked for more than 120 seconds.",
            "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
            "kernel BUG at mm/slub.c:1!",
            "rust_kernel: panicked at ehea.rs:1:1:",
        ] {
            assert_eq!(
                console(&format!("[ 1.0] {line}\n")).findings().len(),
                1,
                "{line}"
            );
        }
    }

    #[test]
    fn what_checkers_say_of_themselves_is_no_finding() {
        for line in [
            "DMA-API: preallocated 65536 debug entries",
            "DMA-API: debugging enabled by kernel config",
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 39000)",
            "kasan: KernelAddressSanitizer initialized (generic)",
            "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
            "CONFIG_DEBUG is set",
        ] {
            let c = console(&format!("[    0.000000] {line}\n"));
            assert!(c.findings().is_empty(), "{line}");
        }
    }

    #[test]
    fn reports_that_come_with_a_warning_are_one_finding() {
        for line in [
            "DMA-API: ehea 71000003: device driver frees DMA memory with different size",
            "list_del corruption. prev->next should be c000000001, but was c000000002.",
            "list_add corruption. next->prev should be prev (c000000001), but was 0.",
            "do not call blocking ops when !TASK_RUNNING; state=1 set at f+0x1/0x2",
        ] {
            let c = console(&format!(
                "[ 1.0] ------------[ cut here ]------------\n[ 1.0] {line}\n\
                 [ 1.0] WARNING: lib/x.c:1 at f+0x1/0x2, CPU#0: sh/1\n\
                 [ 1.0] ---[ end trace 0000000000000000 ]---\n"
            ));
            let findings = c.findings();
            assert_eq!(findings.len(), 1, "{line}");
            assert!(findings[0].lines[1].contains(line), "{line}");
        }
    }

    #[test]
    fn waiting_ends_when_the_guest_is_gone() {
        let c = console("one\ntwo\n");
        assert_eq!(c.wait_for(0, "tw", Duration::ZERO), Some("two".to_owned()));
        assert_eq!(c.wait_for(2, "tw", Duration::ZERO), None);
        c.close();
        assert_eq!(c.wait_for(0, "three", Duration::from_secs(3600)), None);
    }
}
