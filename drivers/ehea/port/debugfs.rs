// SPDX-License-Identifier: GPL-2.0

//! Counters and memory map of an adapter in debugfs. The format is an interface: see
//! Documentation/interfaces.rst.

use super::counters;
use crate::{
    kernel_ext::debugfs::Show,
    shared::Adapter, //
};
use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

/// File `map` of an adapter.
pub(crate) struct MapFile {
    pub(crate) adapter: Arc<Adapter>,
}

impl MapFile {
    /// Name of the file.
    pub(crate) const NAME: &'static CStr = c"map";
}

impl Show for MapFile {
    fn show(&self, out: &SeqFile) {
        let adapter = &self.adapter;
        let state = adapter.map_state();
        let mut values = [0; counters::NAMES.len()];
        // Counts of all ports together.
        adapter.members().add_counts(&mut values);
        counters::set_adapter(&mut values, adapter, &state);
        for (name, value) in counters::NAMES.iter().zip(values) {
            seq_print!(out, "{}: {}\n", *name, value);
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
