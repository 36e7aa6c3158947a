// SPDX-License-Identifier: GPL-2.0

//! What is made of an entitlement that is smaller than the need.

use super::demand::{Configuration, Limits, Plan, DEVICE_BYTES, IOMMU_PAGE_SIZE};

/// Sizes of rings, the largest first.
const RING_ENTRIES: [u32; 4] = [1023, 511, 255, 127];

/// How the queues of a port are laid out that has up to `queue_pairs` queue pairs, on an adapter with
/// `ports` ports, when the adapter is entitled to `entitled` bytes. `desired` is what all open ports
/// want, this one included.
///
/// If there is less than that, the queues of each port take at most half of its part, so that there
/// is something left that can move: larger queues are worth less than buffers in them. If even the
/// smallest queues take more, it is those.
pub fn plan(queue_pairs: u16, ports: usize, entitled: u64, desired: u64) -> Plan {
    if entitled >= desired {
        return Plan::full(queue_pairs);
    }
    let ports = u64::try_from(ports).unwrap_or(u64::MAX).max(1);
    let half = entitled.saturating_sub(DEVICE_BYTES) / ports / 2;
    let mut pairs = queue_pairs.max(1);
    loop {
        let fitting = RING_ENTRIES
            .into_iter()
            .map(|entries| Plan::reduced(pairs, entries))
            .find(|plan| plan.fixed_bytes() <= half);
        if let Some(plan) = fitting {
            return plan;
        }
        if pairs == 1 {
            return Plan::SMALLEST;
        }
        pairs /= 2;
    }
}

/// What a port takes part with when an entitlement is shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes that don't change while it is open.
    fixed: u64,
    /// The fewest flexible bytes that it works with.
    floor: u64,
    /// The most that it can use.
    full: u64,
}

impl Share {
    /// Of an open port.
    pub const fn open(plan: &Plan, config: &Configuration) -> Self {
        let pairs = plan.queue_pairs as u64;
        let full = Limits::full(&plan.rings, config).bytes(config);
        let floor = Limits::floor(config).bytes(config);
        Self {
            fixed: plan.fixed_bytes(),
            floor: pairs * if floor < full { floor } else { full },
            full: pairs * full,
        }
    }

    /// Of a closed port, if what is there is less than what is wanted: enough to be opened.
    pub const fn reserve(config: &Configuration) -> Self {
        let mut share = Self::open(&Plan::SMALLEST, config);
        share.full = share.floor;
        share
    }

    /// Bytes that are the port's in any case.
    const fn least(&self) -> u64 {
        self.fixed.saturating_add(self.floor)
    }

    const fn spread(&self) -> u64 {
        self.full.saturating_sub(self.floor)
    }
}

/// The flexible part of `entitled` bytes of an adapter that is `own`'s, where `others` are the other
/// ports: its least, and of what is left the same fraction of its wishes as everybody.
fn part(entitled: u64, own: Share, others: impl Iterator<Item = Share> + Clone) -> u64 {
    let sum = |f: fn(&Share) -> u64| {
        others
            .clone()
            .map(|share| f(&share))
            .fold(f(&own), u64::saturating_add)
    };
    let least = sum(Share::least).saturating_add(DEVICE_BYTES);
    let spread = sum(Share::spread);
    let left = entitled.saturating_sub(least).min(spread);
    // In pages, so that the product fits 64 bits for a petabyte.
    let pages = |bytes: u64| bytes / IOMMU_PAGE_SIZE;
    let more = pages(left).saturating_mul(pages(own.spread())) / pages(spread).max(1);
    let more = more * IOMMU_PAGE_SIZE;
    own.floor.saturating_add(more)
}

/// How much each queue pair of a port may have mapped, when its adapter is entitled to `entitled`
/// bytes, and `others` are the other ports.
///
/// Never exceeds the entitlement, unless the least of all ports does.
pub fn allot(
    entitled: u64,
    plan: &Plan,
    config: &Configuration,
    others: impl Iterator<Item = Share> + Clone,
) -> Limits {
    let bytes = part(entitled, Share::open(plan, config), others);
    let full = Limits::full(&plan.rings, config);
    let floor = Limits::floor(config);
    let bytes = bytes / u64::from(plan.queue_pairs.max(1));
    if bytes >= full.bytes(config) {
        return full;
    }
    let mut left = bytes.saturating_sub(floor.bytes(config));
    // Receive buffers get half, since a frame that finds none is lost; what they can't use goes to
    // frames in flight.
    let unit = |chunks: u32| Limits {
        rq2_chunks: chunks,
        ..Limits::default()
    };
    let rq2_unit = unit(1).bytes(config).max(1);
    let rq3_unit = Limits {
        rq3_chunks: 1,
        ..Limits::default()
    }
    .bytes(config)
    .max(1);
    let mut take = |budget: u64, unit: u64, floor: u32, full: u32| {
        let more = u64::from(full.saturating_sub(floor)).min(budget.min(left) / unit);
        left -= more * unit;
        // CAST: At most `full`.
        floor.min(full) + more as u32
    };
    let half = bytes.saturating_sub(floor.bytes(config)) / 2;
    let rq3_chunks = take(half / 2, rq3_unit, floor.rq3_chunks, full.rq3_chunks);
    let rq2_chunks = take(half, rq2_unit, floor.rq2_chunks, full.rq2_chunks);
    Limits {
        rq2_chunks,
        rq3_chunks,
        send_bytes: left.min(full.send_bytes),
    }
}

/// After how many attempts' worth of time something is tried again that has failed `failures` times
/// in a row.
pub const fn retry_after(failures: u32) -> u32 {
    /// Not less often than that.
    const MOST: u32 = 64;
    match 1u32.checked_shl(failures) {
        Some(after) if after < MOST => after,
        _ => MOST,
    }
}
