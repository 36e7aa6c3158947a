// SPDX-License-Identifier: GPL-2.0

//! Policy for an entitlement that is smaller than the demand.

use super::demand::{Configuration, Limits, Plan, DEVICE_BYTES, IOMMU_PAGE_SIZE};

/// Numbers of entries that rings may have, the largest first.
const RING_ENTRIES: [u32; 4] = [1023, 511, 255, 127];

/// Returns the layout of the queues of a port that has up to `queue_pairs` queue pairs.
///
/// The adapter has `ports` ports and an entitlement of `entitled` bytes. `desired` is what all open
/// ports want, including this one.
///
/// If the entitlement is smaller than that, the queues of each port take at most half of the port's
/// part, so that some of it remains flexible: larger queues are worth less than buffers in them. If
/// even the smallest queues take more than half, the port gets the smallest queues.
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

/// Claims of a port when an entitlement is divided among ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Number of bytes that do not change while the port is open.
    fixed: u64,
    /// Minimum number of flexible bytes with which the port works.
    floor: u64,
    /// Maximum number of flexible bytes that the port can use.
    full: u64,
}

impl Share {
    /// Returns the claims of an open port.
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

    /// Returns the claims of a closed port, for an adapter that is entitled to less than it wants.
    /// They suffice to open the port.
    pub const fn reserve(config: &Configuration) -> Self {
        let mut share = Self::open(&Plan::SMALLEST, config);
        share.full = share.floor;
        share
    }

    /// Returns the number of bytes that the port always has.
    const fn least(&self) -> u64 {
        self.fixed.saturating_add(self.floor)
    }

    const fn spread(&self) -> u64 {
        self.full.saturating_sub(self.floor)
    }
}

/// Returns the number of flexible bytes that port `own` gets out of an entitlement of `entitled`
/// bytes, where `others` are the other ports. Each port gets its minimum, and of the rest the same
/// fraction of what it can use.
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
    // The product of pages fits 64 bits, up to a petabyte.
    let pages = |bytes: u64| bytes / IOMMU_PAGE_SIZE;
    let more = pages(left).saturating_mul(pages(own.spread())) / pages(spread).max(1);
    let more = more * IOMMU_PAGE_SIZE;
    own.floor.saturating_add(more)
}

/// Returns how much each queue pair of a port may have mapped, if its adapter is entitled to
/// `entitled` bytes and `others` are the other ports.
///
/// The result never exceeds the entitlement, unless the minimums of all ports exceed it.
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
    // Receive buffers get half, since a frame that finds no buffer is lost. What they cannot use
    // goes to frames in flight.
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

/// Returns the delay before something is tried again that has failed `failures` times in a row, as
/// a multiple of the normal interval between attempts.
pub const fn retry_after(failures: u32) -> u32 {
    /// Maximum delay.
    const MOST: u32 = 64;
    match 1u32.checked_shl(failures) {
        Some(after) if after < MOST => after,
        _ => MOST,
    }
}
