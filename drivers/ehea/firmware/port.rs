// SPDX-License-Identifier: GPL-2.0

//! Hypercalls about a logical port.

use super::{
    control_block,
    Firmware, //
};
use crate::{
    abi::{
        bits::Bits64,
        cb::port::{
            MacAddress,
            PortBlock0,
            PortBlock1,
            PortBlock2,
            PortBlock4,
            PortBlock7,
            PortCategory,
            PortSpeed,
            ReceiveControl,
            MAX_DEFAULT_QPS, //
        },
        hcall::{
            BcmcArgs,
            BcmcScope,
            Opcode,
            PortCall, //
        }, //
    },
    error::Result,
    kernel_ext::page::ContiguousBuffer, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use zerocopy::{
    byteorder::big_endian::{
        U32,
        U64, //
    },
    Immutable, //
};

/// Logical port, as firmware knows it.
#[pin_data]
pub(crate) struct PortCalls {
    firmware: Arc<Firmware>,
    number: u16,
    /// Memory for the control block of a call, so that no call allocates any. The lock is held for one call,
    /// including its repetitions while firmware is busy. No other lock is taken under it.
    #[pin]
    block: Mutex<ContiguousBuffer>,
}

/// Control block of a port.
trait Block: FromBytes + IntoBytes + Immutable {
    const CATEGORY: PortCategory;
    const NAME: &'static str;
}

macro_rules! blocks {
    ($($block:ty => $category:ident, $name:literal;)*) => {
        $(
            impl Block for $block {
                const CATEGORY: PortCategory = PortCategory::$category;
                const NAME: &'static str = $name;
            }
        )*
    };
}

blocks! {
    PortBlock0 => ATTRIBUTES, "port attributes";
    PortBlock1 => VLAN_FILTER, "VLAN filter";
    PortBlock2 => STATISTICS, "port statistics";
    PortBlock4 => LINK, "link configuration";
    PortBlock7 => DEFAULT_UNICAST_QP, "default unicast queue pair";
}

impl PortCalls {
    /// Returns port `number` of the adapter of `firmware`.
    pub(crate) fn new(firmware: &Arc<Firmware>, number: u16) -> Result<Arc<Self>> {
        let block = control_block()?;
        let calls = pin_init!(Self {
            firmware: firmware.clone(),
            number,
            block <- new_mutex!(block),
        });
        Ok(Arc::pin_init(calls, GFP_KERNEL)?)
    }

    /// Returns the firmware of the adapter.
    pub(crate) fn firmware(&self) -> &Arc<Firmware> {
        &self.firmware
    }

    /// Returns the number of the port.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn query<B: Block>(&self, select: Bits64) -> Result<B> {
        let block = self.block.lock();
        // Firmware leaves what is not selected as it is.
        block.window().write(0, &B::new_zeroed())?;
        let args = PortCall {
            adapter: self.firmware.caller().adapter(),
            category: B::CATEGORY,
            port: self.number,
            select: select.mask(),
            block: block.real_address(),
        };
        self.firmware
            .caller()
            .call_block(Opcode::QUERY_HEA_PORT, args.pack(), &block, B::NAME)?;
        Ok(block.window().read(0)?)
    }

    fn modify<B: Block>(&self, contents: &B, select: u64) -> Result {
        let block = self.block.lock();
        block.window().write(0, contents)?;
        let args = PortCall {
            adapter: self.firmware.caller().adapter(),
            category: B::CATEGORY,
            port: self.number,
            select,
            block: block.real_address(),
        };
        self.firmware
            .caller()
            .call_block(Opcode::MODIFY_HEA_PORT, args.pack(), &block, B::NAME)?;
        Ok(())
    }

    /// Returns the attributes of the port (control block 0).
    pub(crate) fn attributes(&self) -> Result<PortBlock0> {
        self.query(PortBlock0::SELECT_ALL)
    }

    /// Sets the attributes that `select` names to those in `block`.
    pub(crate) fn set_attributes(&self, block: &PortBlock0, select: u64) -> Result {
        self.modify(block, select)
    }

    /// Sets the way in which the port receives, and the numbers of the queue pairs among which it
    /// distributes frames.
    pub(crate) fn set_receive_control(
        &self,
        control: ReceiveControl,
        queue_pairs: impl Iterator<Item = u32>,
    ) -> Result {
        let mut block = PortBlock0 {
            port_rc: U64::new(control.0),
            ..PortBlock0::default()
        };
        let mut count = 0;
        for (entry, number) in block.default_qpn_arr.iter_mut().zip(queue_pairs) {
            *entry = U64::new(number.into());
            count += 1;
        }
        debug_assert!(count <= MAX_DEFAULT_QPS);
        block.num_default_qps = U32::new(count as u32);
        let select =
            PortBlock0::SELECT_RECEIVE_CONTROL.mask() | PortBlock0::SELECT_DEFAULT_QPNS.mask();
        self.modify(&block, select)
    }

    /// Changes how the port receives, while it is open.
    pub(crate) fn change_receive_control(&self, control: ReceiveControl) -> Result {
        let block = PortBlock0 {
            port_rc: U64::new(control.0),
            ..PortBlock0::default()
        };
        self.modify(&block, PortBlock0::SELECT_RECEIVE_CONTROL.mask())
    }

    /// Sets the address of the port.
    pub(crate) fn set_mac_address(&self, address: MacAddress) -> Result {
        let block = PortBlock0 {
            port_mac_addr: U64::new(address.pack()),
            ..PortBlock0::default()
        };
        self.modify(&block, PortBlock0::SELECT_MAC.mask())
    }

    /// Accepts or refuses frames of a VLAN.
    pub(crate) fn set_vlan(&self, vid: u16, accept: bool) -> Result {
        let mut block: PortBlock1 = self.query(PortBlock1::SELECT_ALL)?;
        block.set(vid, accept);
        self.modify(&block, PortBlock1::SELECT_ALL.mask())
    }

    /// Returns the counters of the port.
    pub(crate) fn statistics(&self) -> Result<PortBlock2> {
        self.query(PortBlock2::SELECT_ALL)
    }

    /// Checks whether frames of more than 1518 bytes are enabled.
    pub(crate) fn jumbo_frames(&self) -> Result<bool> {
        let block: PortBlock4 = self.query(PortBlock4::SELECT_JUMBO)?;
        Ok(block.jumbo_frame.get() != 0)
    }

    /// Enables or disables frames of more than 1518 bytes.
    pub(crate) fn set_jumbo_frames(&self, on: bool) -> Result {
        let block = PortBlock4 {
            jumbo_frame: U32::new(on.into()),
            ..PortBlock4::default()
        };
        self.modify(&block, PortBlock4::SELECT_JUMBO.mask())
    }

    /// Requests a speed.
    pub(crate) fn set_speed(&self, speed: PortSpeed) -> Result {
        let block = PortBlock4 {
            port_speed: U32::new(speed.0),
            ..PortBlock4::default()
        };
        self.modify(&block, PortBlock4::SELECT_SPEED.mask())
    }

    /// Directs unicast frames for other stations to the queue pair of the number `queue_pair`, or
    /// to none if it is 0.
    pub(crate) fn set_default_unicast(&self, queue_pair: u32) -> Result {
        let block = PortBlock7 {
            def_uc_qpn: U64::new(queue_pair.into()),
        };
        self.modify(&block, PortBlock7::SELECT_ALL.mask())
    }

    /// Makes or removes the pair of registrations for broadcasts, for multicasts to one address, or
    /// for all multicasts (eHEA ABI §3.12).
    ///
    /// If the second one is refused, the first one is removed again, so that no half of a pair is
    /// left.
    pub(crate) fn set_group(
        &self,
        name: &'static str,
        scopes: [BcmcScope; 2],
        mac: MacAddress,
        register: bool,
    ) -> Result {
        let call = |scope, register| {
            let args = self.group(scope, mac);
            let opcode = if register {
                Opcode::REG_BCMC
            } else {
                Opcode::DEREG_BCMC
            };
            self.firmware.caller().call(opcode, args.pack(), name)?;
            Ok(())
        };
        let [untagged, tagged] = scopes;
        let first = call(untagged, register);
        if register {
            first?;
            return call(tagged, true).inspect_err(|_| {
                // Its own failure would say nothing new.
                if call(untagged, false).is_err() {
                    self.give_up_group(scopes, mac);
                }
            });
        }
        // Both are taken back, whatever becomes of the first.
        call(tagged, false).and(first)
    }

    /// Leaves registrations of a group to firmware that it has refused to remove. It is asked again later.
    pub(crate) fn give_up_group(&self, scopes: [BcmcScope; 2], mac: MacAddress) {
        for scope in scopes {
            self.firmware.ledger().group_refused(self.group(scope, mac));
        }
    }

    fn group(&self, scope: BcmcScope, mac: MacAddress) -> BcmcArgs {
        BcmcArgs {
            adapter: self.firmware.caller().adapter(),
            port: self.number,
            scope,
            mac,
            vlan: 0,
        }
    }
}
