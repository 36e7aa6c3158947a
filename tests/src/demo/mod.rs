// SPDX-License-Identifier: GPL-2.0
//! The main job, shown step by step with real tools, each step checked.

mod bringup;
mod cmo;
mod dlpar;
mod hotplug;
mod story;
mod traffic;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use crate::lab::{Lab, Other, Shape};
use crate::peer::Cable;

use story::Story;

/// The guest of the demo.
const SHAPE: Shape = Shape {
    memory: "2G,max=16G",
    adapter: Some(2),
    others: &[Other::Later(0)],
    ..Shape::STANDARD
};

/// Number of the port of the adapter that is plugged in later.
const LATER_PORT: usize = 3;

/// Name of the network namespace at the other end of the cable.
const FAR: &str = "far";
/// Addresses of the two ports.
const NEAR_ADDRESS: &str = "10.77.0.1";
const FAR_ADDRESS: &str = "10.77.0.2";

/// State that the steps share.
struct Demo {
    lab: Lab,
    story: Story,
    /// Interfaces of port 1 and port 2.
    near: String,
    far: String,
    /// Cable that connects the ports.
    cable: Cable,
}

/// Shows everything. Fails if a step does not do what it should.
pub fn run() -> Result<()> {
    let mut story = Story::default();
    story.step("A guest boots with an adapter of two ports");
    let started = Instant::now();
    let mut lab = Lab::boot("demo", &SHAPE)?;
    story.figure("boot", format!("{:.0} s", started.elapsed().as_secs_f64()));
    lab.begin("demo")?;
    let cable = Cable::new(Arc::clone(lab.port(1)?), Arc::clone(lab.port(2)?));
    bringup::machine(&lab, &story)?;
    bringup::load(&lab, &mut story)?;
    let mut demo = Demo {
        near: lab.interface(1)?,
        far: lab.interface(2)?,
        lab,
        story,
        cable,
    };
    bringup::interfaces(&mut demo)?;
    bringup::memory_region(&mut demo)?;
    traffic::ping(&mut demo)?;
    traffic::iperf3(&mut demo)?;
    hotplug::grow_and_shrink(&mut demo)?;
    dlpar::by_drmgr(&mut demo)?;
    traffic::link(&mut demo)?;
    bringup::unload(&mut demo)?;
    let Demo {
        lab,
        mut story,
        cable,
        ..
    } = demo;
    cable.pull()?;
    lab.shutdown()?;
    cmo::within_the_entitlement(&mut story)?;
    println!("\nFigures");
    story.table();
    println!("\nEvery step did what it should.");
    Ok(())
}
