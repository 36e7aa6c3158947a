// SPDX-License-Identifier: GPL-2.0
//! Boots guests with the adapter and runs commands in them.
//!
//! `cargo xtask guest`, `shell`, `bench` and every end-to-end test use this crate:
//!
//! ```no_run
//! use ehea_harness::Guest;
//!
//! # fn main() -> anyhow::Result<()> {
//! let guest = Guest::builder().name("ping").mem("2G,max=16G")?.ports(1).boot()?;
//! guest.sh("modprobe ehea && ip link set eth0 up")?;
//! let output = guest.run("ping -c 3 10.0.2.2")?;
//! assert!(output.success(), "{output}");
//! let stats: serde_json::Value = guest.stats()?;
//! println!("live objects: {}", stats["live"]);
//! guest.shutdown()?;
//! # Ok(())
//! # }
//! ```
//!
//! A guest has four consoles. The first is the kernel's, and every line of it is scanned (see
//! [`Console`]). Through the other three, a small agent accepts commands and returns their standard
//! output and standard error, byte for byte. QEMU runs in the build root's userland and ends with
//! the process that started it.
//!
//! [`Artifacts`] names the files of which a guest is made (kernel, QEMU, userland, modules). `cargo
//! xtask` builds them and passes their names on in the environment.

mod agent;
mod artifacts;
mod builder;
mod console;
mod devices;
mod guest;
mod initrd;
mod job;
mod machine;
mod memory;
mod netdev;
mod process;
mod qmp;
mod sandbox;
mod variant;

pub use agent::{Output, Stream};
pub use artifacts::{Artifacts, Kernel, ARTIFACTS_VARIABLE, WITNESS_ARTIFACTS_VARIABLE};
pub use builder::{Builder, MAX_PORTS};
pub use console::{Console, Finding, FindingKind};
pub use guest::{Guest, GuestError};
pub use job::Job;
pub use machine::{Machine, MachineArtifacts, MachineBuilder, MACHINE_ARTIFACTS_VARIABLE};
pub use memory::{parse_size, Memory};
pub use netdev::Netdev;
pub use qmp::Qmp;
pub use sandbox::Sandbox;
pub use variant::{Debug, PageSize, Variant};
