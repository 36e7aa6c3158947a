// SPDX-License-Identifier: GPL-2.0
//! A guest in which tests run one after the other. Each finds the driver freshly loaded and two
//! ports on one wire, and is ended if it takes too long.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_harness::{Guest, GuestError, Memory, Stream};
use ehea_model::stats::{Live, Stats};

use super::list::Test;
use super::report::{Outcome, Parser, Subtest};
use crate::lab::{port_address, text};

/// Script that runs around each test.
const SCRIPT: &str = include_str!("../../selftests/bed.sh");

/// Time limit of a test in seconds of the guest's clock: as many as the makefiles of the tests
/// give.
const LIMIT: u32 = 360;

/// Silence after which the guest is given up. It is far longer than the end of a test that hangs
/// takes.
const SILENCE: Duration = Duration::from_secs(3600);

/// Value of QEMU's option `-icount`. The guest's clock advances by a nanosecond for each
/// instruction, and jumps to the next timer when there is nothing to do. The tests wait for seconds
/// and have limits of seconds, so that with any other clock their results would depend on this
/// machine's load.
const CLOCK: &str = "shift=0,sleep=off";

/// Size of the memory in bytes. The tests are unpacked in it.
const MEMORY: u64 = 4 << 30;

/// Number of processors. `hw/irq.py` moves interrupts between several.
const PROCESSORS: u32 = 4;

/// Environment that tests find, as the kernel's drivers/net/README.rst describes it.
const ENVIRONMENT: &str =
    "NETIF=eth0 LOCAL_V4=192.0.2.1 REMOTE_V4=192.0.2.2 LOCAL_V6=2001:db8:1::1 \
     REMOTE_V6=2001:db8:1::2 LOCAL_PREFIX_V6=2001:db8:2::/64 REMOTE_TYPE=netns REMOTE_ARGS=remote \
     NO_COLOR=1 TERM=dumb PYTHONUNBUFFERED=1";

/// Devices that are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    /// The adapter.
    Ehea,
    /// Two virtio-net devices, for comparison.
    Virtio,
}

impl Card {
    /// Returns the name of the driver's module.
    fn driver(self) -> &'static str {
        match self {
            Self::Ehea => "ehea",
            Self::Virtio => "virtio_net",
        }
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ehea => "ehea",
            Self::Virtio => "virtio-net",
        })
    }
}

/// The guest with the devices.
#[derive(Debug)]
pub(super) struct Bed {
    guest: Guest,
    card: Card,
    /// Number of reports of the kernel that are results already.
    reported: usize,
}

impl Bed {
    /// Boots the guest.
    pub(super) fn boot(card: Card) -> Result<Self> {
        let wire = "hubport,hubid=0";
        let name = match card {
            Card::Ehea => "selftests",
            Card::Virtio => "selftests-virtio",
        };
        let mut builder = Guest::builder()
            .name(name)
            .memory(Memory {
                size: MEMORY,
                max: MEMORY,
            })
            .smp(PROCESSORS)
            .silence(SILENCE)
            .qemu_arg("-icount")
            .qemu_arg(CLOCK)
            .script("bed.sh", SCRIPT);
        for port in [1, 2] {
            let mac = text(port_address(port));
            builder = match card {
                Card::Ehea => builder
                    .netdev(wire)
                    .adapter_property(&format!("mac{}={mac}", port - 1)),
                Card::Virtio => {
                    let id = format!("c{port}");
                    builder
                        .other_netdev(&id, wire)
                        .qemu_arg("-device")
                        .qemu_arg(&format!("virtio-net-pci,netdev={id},mac={mac},romfile="))
                }
            };
        }
        builder = match card {
            Card::Ehea => builder.adapter_property("num-queue-pairs=4"),
            Card::Virtio => builder.no_adapter(),
        };
        let guest = builder.boot()?;
        Ok(Self {
            guest,
            card,
            reported: 0,
        })
    }

    /// Returns the directory of the guest's logs.
    pub(super) fn logs(&self) -> &Path {
        self.guest.log_directory()
    }

    /// Runs a test and passes each result to `sink` as it arrives. The output of the test is in a
    /// log of the same name.
    ///
    /// # Errors
    ///
    /// The guest itself has failed, or cannot be prepared for a test.
    pub(super) fn run(&mut self, test: &Test, sink: &mut dyn FnMut(Subtest)) -> Result<()> {
        let before = self.stats()?;
        let conforms = self
            .guest
            .run(&format!(
                "grep -q DRIVER_TEST_CONFORMANT /usr/lib/kselftest/{}/{}",
                test.collection, test.file
            ))?
            .success();
        // The older shell scripts take two interfaces as arguments instead of an environment.
        let (topology, arguments) = if test.is_shell() && !conforms {
            ("pair", "eth0 eth1")
        } else {
            ("netns", "")
        };
        let (driver, near, far) = (
            self.card.driver(),
            text(port_address(1)),
            text(port_address(2)),
        );
        self.guest
            .sh(&format!("./bed.sh up {driver} {near} {far} {topology}"))
            .context("the ports don't come up")?;
        self.execute(test, arguments, sink)?;
        self.guest
            .sh(&format!("./bed.sh down {driver}"))
            .context("the driver can't be unloaded")?;
        let findings = self.guest.console().findings();
        for finding in findings.iter().skip(self.reported) {
            let line = finding.lines.iter().find(|line| !line.contains("cut here"));
            sink(Subtest {
                name: "(kernel)".to_owned(),
                outcome: Outcome::Failed,
                reason: format!("{}: {}", finding.kind, line.map_or("", String::as_str)),
            });
        }
        self.reported = findings.len();
        if let (Some(before), Some(after)) = (before, self.stats()?) {
            if let Err(error) = nothing_wrong(&before, &after) {
                sink(Subtest {
                    name: "(adapter)".to_owned(),
                    outcome: Outcome::Failed,
                    reason: format!("{error:#}"),
                });
            }
        }
        Ok(())
    }

    fn execute(&self, test: &Test, arguments: &str, sink: &mut dyn FnMut(Subtest)) -> Result<()> {
        let name = test.to_string().replace('/', "_");
        let path = self.logs().join(format!("{name}.log"));
        let mut log =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut parser = Parser::new(test.stem());
        let mut line = Vec::new();
        let mut take = |bytes: &[u8], parser: &mut Parser| {
            for &byte in bytes {
                if byte == b'\n' {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    line.clear();
                    parser.line(&text).into_iter().for_each(&mut *sink);
                } else if byte != b'\r' {
                    line.push(byte);
                }
            }
        };
        // The session of the test, with everything in it, is ended afterwards. As with the kernel's
        // own runner, a file that is not executable is run by the interpreter in its first line.
        let file = &test.file;
        let command = format!(
            "cd /usr/lib/kselftest/{} && export {ENVIRONMENT} && \
             setsid -w sh -c 'echo $$ >/run/selftest-session; run=; [ -x ./{file} ] || read -r run <./{file}; \
             exec timeout -k 60 {LIMIT} ${{run#??}} ./{file} {arguments}' 2>&1",
            test.collection
        );
        let status = self.guest.run_streaming(&command, |stream, bytes| {
            // The log is a convenience: a full disk must not end the test.
            let _ = log.write_all(bytes);
            if stream == Stream::Stdout {
                take(bytes, &mut parser);
            }
        })?;
        take(b"\n", &mut parser);
        let _ = writeln!(log, "[exit status {status}]");
        parser.end(status, LIMIT).into_iter().for_each(&mut *sink);
        Ok(())
    }

    fn stats(&self) -> Result<Option<Stats>> {
        match self.card {
            Card::Ehea => self.guest.stats().map(Some),
            Card::Virtio => Ok(None),
        }
    }

    /// Powers the guest off. Fails if its kernel reports anything that is not a result yet.
    pub(super) fn shutdown(self) -> Result<()> {
        let reported = self.reported;
        match self.guest.shutdown() {
            Err(error) => match error.downcast_ref::<GuestError>() {
                Some(GuestError::Kernel { findings, .. }) if findings.len() <= reported => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }
}

/// Fails if anything is left in the adapter, or if the adapter had to refuse anything since
/// `before`.
fn nothing_wrong(before: &Stats, after: &Stats) -> Result<()> {
    ensure!(
        after.live == Live::default() && after.pinned_bytes == 0,
        "left in the adapter: {:?}, {} bytes pinned",
        after.live,
        after.pinned_bytes
    );
    let refused: Vec<_> = after
        .refusals
        .iter()
        .filter(|(name, count)| before.refusals.get(*name) != Some(count))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(
        refused.is_empty(),
        "the adapter refused: {}",
        refused.join(", ")
    );
    for (what, before, after) in [
        (
            "accesses refused",
            before.refused_accesses,
            after.refused_accesses,
        ),
        (
            "register accesses ignored",
            before.ignored_mmio,
            after.ignored_mmio,
        ),
        ("events raised again", before.reraised, after.reraised),
        (
            "calls into the adapter from inside of it",
            before.reentries,
            after.reentries,
        ),
    ] {
        ensure!(after == before, "{what}: {}", after - before);
    }
    Ok(())
}
