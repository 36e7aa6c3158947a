// SPDX-License-Identifier: GPL-2.0

//! Translation through memory regions: keys and addresses of descriptors (§8, M16).

use ehea_abi::wqe::Descriptor;

use crate::memory::Access;
use crate::object::mr::{Mr, Smr};
use crate::object::table::Table;
use crate::refusal::Violation;

/// A contiguous piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) gpa: u64,
    pub(crate) len: usize,
}

/// The regions of the adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regions<'a> {
    pub(crate) mrs: &'a Table<Mr>,
    pub(crate) smrs: &'a Table<Smr>,
}

impl Regions<'_> {
    /// Checks whether a key names a region.
    pub(crate) fn contains(&self, key: u32) -> bool {
        self.smrs.by_key(key).is_some() || self.mrs.by_key(key).is_some()
    }

    /// Appends the pieces of guest memory behind a descriptor, for a queue pair of protection
    /// domain `pd`. Of a descriptor longer than `limit` bytes, only the first `limit` bytes yield
    /// pieces; the rest is checked to be inside the region.
    ///
    /// # Errors
    ///
    /// [`Violation`] if the descriptor is not valid. No guest memory was accessed then.
    pub(crate) fn translate(
        &self,
        pd: u32,
        descriptor: &Descriptor,
        access: Access,
        limit: usize,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), Violation> {
        let key = descriptor.lkey.get();
        let (mr, start, region_pd, writable) = match self.smrs.by_key(key) {
            Some(smr) => {
                let mr = self.mrs.get(smr.mr).ok_or(Violation::UnknownKey)?;
                (mr, smr.start, smr.pd, smr.writable)
            }
            None => {
                let mr = self.mrs.by_key(key).ok_or(Violation::UnknownKey)?;
                (mr, mr.start, mr.pd, mr.writable)
            }
        };
        if region_pd != pd {
            return Err(Violation::ForeignKey);
        }
        if access == Access::Write && !writable {
            return Err(Violation::WriteProtected);
        }
        let offset = descriptor
            .vaddr
            .get()
            .checked_sub(start)
            .ok_or(Violation::OutsideRegion)?;
        let len = descriptor.length.get().into();
        mr.pieces(offset, len, limit as u64, |gpa, len| {
            // A piece is at most as long as its descriptor, whose length has 32 bits.
            pieces.push(Piece {
                gpa,
                len: len as usize,
            });
        })
    }
}
