// SPDX-License-Identifier: GPL-2.0
//! More multicast groups than the adapter takes.

use anyhow::{ensure, Result};
use ehea_tests::checks::filters::receives;
use ehea_tests::lab::{port_address, Lab};

/// Number of groups that the adapter takes for each port.
const LIMIT: u8 = 64;

/// Returns a group by its number.
fn group(number: u8) -> [u8; 6] {
    [0x01, 0x00, 0x5e, 0x07, 0x07, number]
}

/// All groups are received that somebody asks for, also if they are more than the adapter takes. Then
/// others are received, too, until there is room for each again.
pub(crate) fn many_groups(lab: &Lab) -> Result<()> {
    const OTHER: [u8; 6] = [0x01, 0x00, 0x5e, 0x08, 0x08, 0x08];
    const FIRST: u8 = 1;
    const LAST: u8 = LIMIT + 10;
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    let mut stream = 160;
    let mut expect = |wanted: &[([u8; 6], bool)]| -> Result<()> {
        for &(address, received) in wanted {
            stream += 1;
            ensure!(
                receives(lab, address, port_address(1), stream)? == received,
                "group {address:02x?}: received {}",
                !received
            );
        }
        Ok(())
    };
    let change = |what: &str, from: u8, to: u8| {
        lab.sh(&format!(
            "for n in $(seq {from} {to}); do \
             ./ehea-net multicast {name} {what} 01:00:5e:07:07:$(printf %02x $n) || exit 1; done"
        ))
    };
    // The stack has groups of its own, which take some of the room. Each group is registered twice, for
    // frames with and without a tag.
    let own = lab.stats()?.live.bcmc;
    let registered = |groups: u64| -> Result<()> {
        let bcmc = lab.stats()?.live.bcmc;
        ensure!(
            bcmc == own + 2 * groups,
            "{bcmc} registrations, {own} at first, for {groups} groups"
        );
        Ok(())
    };
    change("add", FIRST, 20)?;
    expect(&[(group(FIRST), true), (group(20), true), (OTHER, false)])?;
    registered(20)?;
    change("add", 21, LAST)?;
    expect(&[(group(FIRST), true), (group(LAST), true), (OTHER, true)])?;
    change("del", 21, LAST)?;
    expect(&[
        (group(FIRST), true),
        (group(20), true),
        (group(LAST), false),
        (OTHER, false),
    ])?;
    registered(20)?;
    reflector.stop()?;
    lab.unload()
}
