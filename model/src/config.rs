// SPDX-License-Identifier: GPL-2.0

//! Configuration of an adapter.

use ehea_abi::cb::adapter::PageSizes;
use ehea_abi::cb::port::{MacAddress, MAX_DEFAULT_QPS, MAX_PORTS};

use crate::temper::Temper;

/// Maximum number of register blocks, and of objects of one kind, of an adapter. Handles carry 16
/// bits of index.
const MAX_OBJECTS: u32 = 0xfffe;

/// Limits and properties of an adapter, fixed for its life.
#[derive(Clone, Debug)]
pub struct Config {
    /// Handle that identifies the adapter in hypercalls; not 0.
    pub adapter_handle: u64,
    /// Real address of the first register block.
    pub mmio_base: u64,
    /// Number of register blocks, for queue pairs and completion queues together.
    pub mmio_slots: u32,
    /// Maximum number of event queues.
    pub max_eqs: u32,
    /// Maximum number of queue pairs. There can be twice as many completion queues.
    pub max_qps: u32,
    /// Maximum number of memory regions; shared memory regions are not counted.
    pub max_mrs: u32,
    /// Page sizes in which memory regions can be registered.
    pub mr_page_sizes: PageSizes,
    /// Number of queue pairs that each port asks its driver to open.
    pub num_default_qps: u32,
    /// True if a full receive FIFO holds frames back, false if it drops them.
    pub flow_control: bool,
    /// True if frames for a disabled queue pair are lost, false if they wait for it.
    pub disabled_drops: bool,
    /// Temper of the adapter towards its driver.
    pub temper: Temper,
    /// Time in milliseconds after which a completion event is raised again, if the driver has neither consumed entries
    /// nor armed the queue, a queue pair is enabled that uses it, and the guest has nothing else to do (M10).
    pub reraise_ms: u32,
    /// True in a CMO partition, where the adapter reaches only memory that TCEs map for it.
    pub cmo: bool,
    /// MAC addresses of the ports. Logical port numbers count from 1 in this order.
    pub macs: Vec<MacAddress>,
}

/// Reason why a [`Config`] is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidConfig(pub &'static str);

impl Config {
    /// Distance in bytes between register blocks. Guests may have pages of this size (§5.1,
    /// choice).
    pub const SLOT_SIZE: u64 = 0x1_0000;

    /// Checks everything that the model relies on.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] with the first violation.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let countable = |n: u32| (1..=MAX_OBJECTS).contains(&n);
        if self.adapter_handle == 0 {
            return Err(InvalidConfig("the adapter handle is 0"));
        }
        if self.macs.len() > MAX_PORTS {
            return Err(InvalidConfig("too many ports"));
        }
        if !self.macs.iter().all(|mac| mac.is_valid_station()) {
            return Err(InvalidConfig("a port has no valid station address"));
        }
        if !(countable(self.mmio_slots)
            && countable(self.max_eqs)
            && countable(self.max_qps)
            && countable(self.max_mrs))
        {
            return Err(InvalidConfig("a limit is 0 or too large"));
        }
        let window = u64::from(self.mmio_slots).saturating_mul(Self::SLOT_SIZE);
        if !self.mmio_base.is_multiple_of(Self::SLOT_SIZE)
            || self.mmio_base.checked_add(window).is_none()
        {
            return Err(InvalidConfig("the register window is not valid"));
        }
        if self.num_default_qps == 0 || self.num_default_qps > MAX_DEFAULT_QPS as u32 {
            return Err(InvalidConfig("num_default_qps is not between 1 and 16"));
        }
        if self.reraise_ms == 0 {
            return Err(InvalidConfig("reraise_ms is 0"));
        }
        Ok(())
    }

    /// Returns [`Config::reraise_ms`] in nanoseconds.
    pub(crate) fn reraise_ns(&self) -> u64 {
        u64::from(self.reraise_ms).saturating_mul(1_000_000)
    }

    /// Completion queues that there can be.
    pub(crate) fn max_cqs(&self) -> u32 {
        self.max_qps.saturating_mul(2).min(self.mmio_slots)
    }

    /// Shared memory regions that there can be: four generations of two for each queue pair
    /// (choice).
    pub(crate) fn max_smrs(&self) -> u32 {
        self.max_qps.saturating_mul(8).min(MAX_OBJECTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::TestMachine;

    #[test]
    fn refuses_what_the_model_cannot_do() {
        let good = TestMachine::default_config();
        assert_eq!(good.validate(), Ok(()));
        let cases: [fn(&mut Config); 9] = [
            |config| config.reraise_ms = 0,
            |c| c.adapter_handle = 0,
            |c| c.macs = vec![MacAddress([2, 0, 0, 0, 0, 1]); 17],
            |c| c.macs = vec![MacAddress([1, 0, 0, 0, 0, 1])],
            |c| c.max_eqs = 0,
            |c| c.max_qps = 0x1_0000,
            |c| c.mmio_base = 0x1000,
            |c| c.mmio_base = 0u64.wrapping_sub(0x1_0000),
            |c| c.num_default_qps = 17,
        ];
        for (i, case) in cases.into_iter().enumerate() {
            let mut config = good.clone();
            case(&mut config);
            assert!(config.validate().is_err(), "case {i}");
        }
    }
}
