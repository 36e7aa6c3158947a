// SPDX-License-Identifier: GPL-2.0

//! Failures to change the memory map.

use core::fmt;

/// Reason for which the memory map cannot be changed, or memory cannot be removed, although firmware
/// has refused nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A port uses a region other than that of the map in use. There are never more than two.
    SecondRegion,
    /// The adapter may still reach memory that is not in the map.
    InReach,
    /// More ranges are going offline than can be remembered.
    TooManyRanges,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecondRegion => "a port uses another memory region",
            Self::InReach => "the adapter may still reach it",
            Self::TooManyRanges => "too much memory is about to be removed",
        })
    }
}

/// Failure to change the memory map of all adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<E> {
    /// Position of the adapter that has failed; `None` if it concerns all of them.
    pub adapter: Option<usize>,
    /// Reason.
    pub error: E,
}

impl<E> Failure<E> {
    /// Returns the failure of something that is done for all adapters.
    pub(super) fn of_all(error: impl Into<E>) -> Self {
        Self {
            adapter: None,
            error: error.into(),
        }
    }
}
