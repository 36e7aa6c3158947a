// SPDX-License-Identifier: GPL-2.0
//! Memory layouts.

use std::iter;

use clap::ValueEnum;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Size of a section, which is the unit of mapping, in bytes.
const SECTION: u64 = 16 * MIB;
/// Usual size, in bytes, of a memory block that a partition gets or gives back.
const BLOCK: u64 = 256 * MIB;
/// Address at which the second node of some machines has its memory.
const FAR: u64 = 0x2440_0000_0000;

/// Layout of memory.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Layout {
    /// 2 GiB at 0.
    #[value(name = "2g")]
    Contiguous2g,
    /// 64 GiB at 0.
    #[value(name = "64g")]
    Contiguous64g,
    /// 64 TiB at 0.
    #[value(name = "64t")]
    Contiguous64t,
    /// 16 GiB at 0 and 16 GiB far away.
    #[value(name = "sparse")]
    Sparse,
    /// 1 TiB of which every other block of 256 MiB is missing.
    #[value(name = "1t-alternating")]
    Alternating1t,
    /// 16 blocks, and holes as large between them.
    #[value(name = "16")]
    Runs16,
    /// 1024 blocks, and holes as large between them.
    #[value(name = "1024")]
    Runs1024,
    /// 1024 runs and holes of 16 to 512 MiB each.
    #[value(name = "1024-irregular")]
    Irregular1024,
    /// 512 runs of one section at 0, and 512 far away.
    #[value(name = "1024-clustered")]
    Clustered1024,
}

impl Layout {
    /// Returns the start and length of each run, ascending.
    pub(crate) fn memory(self) -> Box<dyn Iterator<Item = (u64, u64)>> {
        let alternating =
            |base: u64, len: u64, count: u64| (0..count).map(move |n| (base + 2 * n * len, len));
        match self {
            Self::Contiguous2g => Box::new(iter::once((0, 2 * GIB))),
            Self::Contiguous64g => Box::new(iter::once((0, 64 * GIB))),
            Self::Contiguous64t => Box::new(iter::once((0, 64 * TIB))),
            Self::Sparse => Box::new([(0, 16 * GIB), (FAR, 16 * GIB)].into_iter()),
            Self::Alternating1t => Box::new(alternating(0, BLOCK, TIB / (2 * BLOCK))),
            Self::Runs16 => Box::new(alternating(0, BLOCK, 16)),
            Self::Runs1024 => Box::new(alternating(0, BLOCK, 1024)),
            Self::Irregular1024 => {
                let mut random = Random(1);
                let mut next = 0;
                let mut sections = move || SECTION * (1 + random.below(32));
                Box::new((0..1024).map(move |_| {
                    let run = (next, sections());
                    next += run.1 + sections();
                    run
                }))
            }
            Self::Clustered1024 => {
                Box::new(alternating(0, SECTION, 512).chain(alternating(FAR, SECTION, 512)))
            }
        }
    }
}

/// Sequence that looks random and is always the same (Steele, Lea, Flood: SplitMix).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Addresses of buffers of 2 KiB, distributed over the memory of a layout.
pub(crate) struct Addresses(Vec<u64>);

impl Addresses {
    const COUNT: usize = 8192;
    const LEN: u64 = 2048;

    pub(crate) fn new(layout: Layout) -> Self {
        let memory: Vec<_> = layout.memory().collect();
        let total: u64 = memory.iter().map(|run| run.1).sum();
        let mut random = Random(2);
        let address = |mut offset: u64| {
            for &(base, len) in &memory {
                if offset < len {
                    return base + offset;
                }
                offset -= len;
            }
            0
        };
        let addresses =
            (0..Self::COUNT).map(|_| address(random.below(total / Self::LEN) * Self::LEN));
        Self(addresses.collect())
    }

    /// Returns the length of a buffer in bytes.
    pub(crate) fn len(&self) -> u64 {
        Self::LEN
    }

    /// Returns `count` addresses, repeating the same ones.
    pub(crate) fn cycle(&self, count: u64) -> impl Iterator<Item = &u64> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.0.iter().cycle().take(count)
    }
}
