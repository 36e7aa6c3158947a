// SPDX-License-Identifier: GPL-2.0

//! Completions in memory (§6.3, §6.4).

use ehea_abi::cqe::Cqe;
use zerocopy::IntoBytes as _;

use crate::host::{DmaError, Env};
use crate::object::cq::Cq;
use crate::refusal::Violation;

impl Cq {
    /// Writes a completion, with its toggle bit last.
    pub(crate) fn write(&mut self, env: &mut Env<'_>, cqe: Cqe) -> Result<(), Violation> {
        let (gpa, toggle) = self.next_entry()?;
        write_entry(env, gpa, cqe, toggle, &[])?;
        self.wrote();
        Ok(())
    }
}

/// Writes an entry, with `data` behind it. A reader who sees the entry's toggle bit sees all of it.
pub(crate) fn write_entry(
    env: &mut Env<'_>,
    gpa: u64,
    mut cqe: Cqe,
    toggle: bool,
    data: &[u8],
) -> Result<(), Violation> {
    cqe.valid = Cqe::valid_byte(!toggle);
    if data.is_empty() {
        env.dma_write(gpa, cqe.as_bytes())
            .map_err(DmaError::of_queue)?;
    } else {
        let mut entry = Vec::with_capacity(Cqe::INLINE_DATA.saturating_add(data.len()));
        entry.extend_from_slice(cqe.as_bytes());
        entry.extend_from_slice(data);
        env.dma_write(gpa, &entry).map_err(DmaError::of_queue)?;
    }
    cqe.valid = Cqe::valid_byte(toggle);
    env.dma_write_u64(gpa.saturating_add(Cqe::VALID_WORD as u64), cqe.valid_word())
        .map_err(DmaError::of_queue)
}
