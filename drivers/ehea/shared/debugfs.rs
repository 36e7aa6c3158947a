// SPDX-License-Identifier: GPL-2.0

//! The memory map in debugfs. The format is an interface: see Documentation/interfaces.rst.

use super::Adapter;
use crate::kernel_ext::debugfs::Show;
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

    /// Buffers of all ports that were not in the map, and frames that went through bounce slots.
    fn misses(&self) -> (u64, u64) {
        let ports = self.adapter.ports.lock();
        let mut sums = (0u64, 0u64);
        for port in ports.iter() {
            for queue in port.data().queue_counters() {
                for misses in [&queue.tx_translation_misses, &queue.rx_translation_misses] {
                    sums.0 = sums.0.wrapping_add(misses.get());
                }
                sums.1 = sums.1.wrapping_add(queue.tx_bounced.get());
            }
        }
        sums
    }
}

impl Show for MapFile {
    fn show(&self, out: &SeqFile) {
        let adapter = &self.adapter;
        let state = adapter.map_state();
        let (misses, bounced) = self.misses();
        let rebuilds = &adapter.rebuilds;
        let longest = rebuilds.longest_blackout.cost();
        for (name, value) in [
            ("generation", state.generation),
            ("sections", state.map.sections()),
            ("bytes", state.map.total_bytes()),
            ("page_size", state.page_size),
            ("register_hcalls", state.register_calls),
            ("regions_alive", state.regions.into()),
            ("not_freed", adapter.firmware.not_freed()),
            ("rebuilds_lazy", rebuilds.lazy.get()),
            ("rebuilds_immediate", rebuilds.immediate.get()),
            ("rebuilds_failed", rebuilds.failed.get()),
            ("removals_refused", rebuilds.refused.get()),
            ("break_first", rebuilds.break_first.get()),
            ("blackout_hcalls", state.blackout.hcalls),
            ("blackout_ns", state.blackout.ns),
            ("blackout_hcalls_max", longest.hcalls),
            ("blackout_ns_max", longest.ns),
            ("misses", misses),
            ("bounced", bounced),
            ("hcalls", adapter.firmware.calls()),
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
