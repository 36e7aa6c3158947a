// SPDX-License-Identifier: GPL-2.0

//! The memory map in debugfs. The format is an interface: see Documentation/interfaces.rst.

use crate::{
    kernel_ext::debugfs::Show,
    shared::{
        Adapter,
        Misses, //
    }, //
};
use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

/// The file `map` of an adapter.
pub(crate) struct MapFile {
    pub(crate) adapter: Arc<Adapter>,
}

impl MapFile {
    /// Its name.
    pub(crate) const NAME: &'static CStr = c"map";

    /// Returns what all ports have counted.
    fn misses(&self) -> Misses {
        let mut sum = Misses::default();
        self.adapter.members().for_each(|member| {
            let misses = member.misses();
            sum.missed = sum.missed.wrapping_add(misses.missed);
            sum.bounced = sum.bounced.wrapping_add(misses.bounced);
        });
        sum
    }
}

impl Show for MapFile {
    fn show(&self, out: &SeqFile) {
        let adapter = &self.adapter;
        let state = adapter.map_state();
        let misses = self.misses();
        let rebuilds = &adapter.rebuilds;
        let longest = state.longest_blackout;
        for (name, value) in [
            ("generation", state.generation),
            ("sections", state.map.sections()),
            ("bytes", state.map.total_bytes()),
            ("page_size", state.page_size),
            ("register_hcalls", state.register_calls),
            ("regions_alive", state.regions.into()),
            ("not_freed", adapter.firmware().not_freed()),
            ("rebuilds_lazy", rebuilds.lazy.get()),
            ("rebuilds_immediate", rebuilds.immediate.get()),
            ("rebuilds_failed", rebuilds.failed.get()),
            ("removals_refused", rebuilds.refused.get()),
            ("break_first", rebuilds.break_first.get()),
            ("blackout_hcalls", state.blackout.hcalls),
            ("blackout_ns", state.blackout.ns),
            ("blackout_hcalls_max", longest.hcalls),
            ("blackout_ns_max", longest.ns),
            ("misses", misses.missed),
            ("bounced", misses.bounced),
            ("hcalls", adapter.firmware().calls()),
        ] {
            seq_print!(out, "{}: {}\n", name, value);
        }
        for range in state.excluded.as_slice().iter().filter(|r| !r.is_empty()) {
            seq_print!(
                out,
                "going_offline: {:#018x} {:#x}\n",
                range.start(),
                range.len()
            );
        }
        for run in state.map.runs() {
            seq_print!(
                out,
                "run: {:#018x} {:#018x} {:#x}\n",
                run.real(),
                run.bus(),
                run.len()
            );
        }
    }
}
