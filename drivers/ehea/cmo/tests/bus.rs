// SPDX-License-Identifier: GPL-2.0

//! Simulation of the pools of the VIO bus, by the rules of eHEA ABI §11.

use super::super::MIN_ENTITLEMENT as MIN;

const CHUNK: u64 = 131_072;

/// State of a device on the bus.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    pub(super) entitled: u64,
    pub(super) allocated: u64,
    pub(super) desired: u64,
    /// True if the device has a driver.
    pub(super) bound: bool,
    pub(super) failed: u64,
}

/// The bus. Devices keep their numbers.
#[derive(Clone, Debug)]
pub(super) struct Bus {
    pub(super) entitled: u64,
    spare: u64,
    reserve: u64,
    excess: u64,
    excess_free: u64,
    desired: u64,
    /// Number of nodes with a DMA window.
    nodes: u64,
    pub(super) devices: Vec<Account>,
    /// True if a balance is scheduled.
    pub(super) due: bool,
}

impl Bus {
    pub(super) fn new(entitled: u64, devices: usize) -> Self {
        let nodes = devices as u64;
        let min = (nodes + 1) * MIN;
        assert!(entitled >= min, "the kernel panics at boot");
        Self {
            entitled,
            spare: MIN,
            reserve: min,
            excess: entitled - min,
            excess_free: entitled - min,
            desired: min,
            nodes,
            devices: vec![Account::default(); devices],
            due: false,
        }
    }

    pub(super) fn current(&self) -> u64 {
        self.devices.iter().map(|d| d.allocated).sum()
    }

    pub(super) fn probe(&mut self, device: usize, desired: u64) {
        let desired = desired.max(MIN);
        self.desired += desired - MIN;
        self.devices[device] = Account {
            desired,
            bound: true,
            ..Account::default()
        };
    }

    /// Plugs a device that was not there at boot. Returns false if the excess does not suffice for
    /// it.
    ///
    /// The real bus would then take the spare, but its unsigned sums may wrap around at the next
    /// balance. These consequences are not of interest here.
    pub(super) fn plug(&mut self, desired: u64) -> bool {
        if self.excess_free < MIN {
            return false;
        }
        self.excess_free -= MIN;
        self.excess -= MIN;
        self.reserve += MIN;
        self.nodes += 1;
        self.devices.push(Account::default());
        self.desired += MIN;
        self.probe(self.devices.len() - 1, desired);
        true
    }

    pub(super) fn remove(&mut self, device: usize) {
        let account = &mut self.devices[device];
        assert_eq!(account.allocated, 0, "the kernel stops");
        if account.entitled > 0 {
            let over = account.entitled - MIN;
            self.excess += over;
            self.excess_free += over;
            self.reserve -= over;
        }
        self.desired -= account.desired - MIN;
        *account = Account::default();
        self.due = true;
    }

    pub(super) fn alloc(&mut self, device: usize, size: u64) -> bool {
        let account = &mut self.devices[device];
        let reserved = account.entitled.saturating_sub(account.allocated);
        let free = if self.spare >= MIN {
            self.excess_free
        } else {
            0
        };
        if reserved + free < size {
            account.failed += 1;
            return false;
        }
        account.allocated += size;
        self.excess_free -= size - reserved.min(size);
        true
    }

    pub(super) fn dealloc(&mut self, device: usize, size: u64) {
        let account = &mut self.devices[device];
        let mut excess = size.min(account.allocated.saturating_sub(account.entitled));
        let mut reserved = size - excess;
        account.allocated -= size;
        let mut needed = MIN - self.spare;
        let moved = excess.min(needed);
        self.excess -= moved;
        self.reserve += moved;
        self.spare += moved;
        excess -= moved;
        needed -= moved;
        self.due |= moved > 0;

        let moved = needed
            .min(reserved)
            .min(account.entitled.saturating_sub(MIN));
        self.spare += moved;
        account.entitled -= moved;
        reserved -= moved;
        self.due |= moved > 0;
        let _ = reserved;

        let moved = excess.min(self.desired.saturating_sub(self.reserve));
        self.excess -= moved;
        self.reserve += moved;
        excess -= moved;
        self.due |= moved > 0;
        self.excess_free += excess;
    }

    pub(super) fn set_desired(&mut self, device: usize, desired: u64) {
        let desired = desired.max(MIN);
        let account = &mut self.devices[device];
        if !account.bound {
            return;
        }
        self.desired = self.desired + desired - account.desired;
        if desired < account.desired && account.entitled > desired {
            let moved = account.entitled - desired;
            self.reserve -= moved;
            self.excess += moved;
            if account.allocated < account.entitled {
                self.excess_free += account.entitled - account.allocated.max(desired);
            }
            account.entitled = desired;
        }
        account.desired = desired;
        self.due = true;
    }

    /// Sets the entitlement. Returns false and changes nothing if that is impossible.
    pub(super) fn set_entitlement(&mut self, new: u64) -> bool {
        if new >= self.entitled {
            let filled = (new - self.entitled).min(MIN - self.spare);
            self.spare += filled;
            self.reserve += filled;
            // Like the kernel, this does not count what fills the spare until it is asked for
            // again.
            let more = new - self.entitled - filled;
            self.entitled += more;
            self.excess += more;
            self.excess_free += more;
        } else {
            let unused = |d: &Account| {
                if d.entitled > d.allocated && d.entitled > MIN {
                    d.entitled - d.allocated.max(MIN)
                } else {
                    0
                }
            };
            let mut less = self.entitled - new;
            let sum: u64 = self.devices.iter().map(unused).sum();
            if less > self.excess_free + sum || new < (self.nodes + 1) * MIN {
                return false;
            }
            self.entitled = new;
            let taken = less.min(self.excess_free);
            self.excess -= taken;
            self.excess_free -= taken;
            less -= taken;
            for account in &mut self.devices {
                let taken = less.min(unused(account));
                account.entitled -= taken;
                less -= taken;
            }
        }
        self.due = true;
        true
    }

    pub(super) fn balance(&mut self) {
        self.due = false;
        let min = self.nodes * MIN;
        assert!(min <= self.entitled, "the kernel stops");
        self.spare = MIN.min(self.entitled - min);
        let min = min + self.spare;
        self.desired = min;
        let mut left = self.entitled - self.spare;
        for account in self.devices.iter_mut().filter(|d| d.bound) {
            account.entitled = MIN;
            self.desired += account.desired - MIN;
            left = left.saturating_sub(account.allocated.max(MIN));
        }
        let mut level = MIN;
        while left > 0 {
            let mut fulfilled = true;
            for account in self.devices.iter_mut().filter(|d| d.bound) {
                if account.desired <= level {
                    continue;
                }
                fulfilled = false;
                let chunk = left.min(CHUNK).min(account.desired - account.entitled);
                let before = account.allocated.max(account.entitled);
                account.entitled += chunk;
                // The kernel compares with `level` instead. That makes a difference only if the
                // last chunk was a short one: the kernel then hands out more than there is.
                left -= account.allocated.max(account.entitled) - before;
            }
            if fulfilled {
                break;
            }
            level += CHUNK;
        }
        let over: u64 = self
            .devices
            .iter()
            .map(|d| d.allocated.saturating_sub(d.entitled))
            .sum();
        self.reserve = min
            + self
                .devices
                .iter()
                .map(|d| d.entitled.saturating_sub(MIN))
                .sum::<u64>();
        assert!(self.entitled >= self.reserve, "{self:?}");
        self.excess = self.entitled - self.reserve;
        self.excess_free = self.excess - over;
    }

    /// Asserts what holds whatever devices do.
    pub(super) fn check(&self) {
        assert!(self.current() <= self.entitled, "{self:?}");
        assert!(self.excess_free <= self.excess, "{self:?}");
    }
}
