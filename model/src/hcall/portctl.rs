// SPDX-License-Identifier: GPL-2.0

//! H_QUERY_HEA_PORT, H_MODIFY_HEA_PORT, H_REG_BCMC, H_DEREG_BCMC (§3.9, §3.12, §4.4).

use std::mem::offset_of;

use ehea_abi::bits::Bits64;
use ehea_abi::cb::port::{
    MacAddress, PortBlock0, PortBlock1, PortBlock2, PortBlock4, PortBlock7, PortCategory,
    PortSpeed, ReceiveControl,
};
use ehea_abi::hcall::{BcmcArgs, PortCall, Regs};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::hcall::query::{check_mask, fields, write_selected, Field};
use crate::hcall::Fewer;
use crate::host::Env;
use crate::object::bcmc::Registration;
use crate::object::port::Port;
use crate::object::state::State;
use crate::refusal::Refusal;

/// Fields of port control block 0. Selection bits 2 to 6 are undocumented; they stand for the
/// fields in their order (choice).
const FIELDS0: [Field; 8] = fields!(PortBlock0:
    0 port_mac_addr 8, 1 port_rc 8, 2 port_op_state 4, 3 port_speed 4, 4 ext_swport_op_state 4,
    5 neg_tpf_prpf 4, 6 num_default_qps 4, 7 default_qpn_arr 128);
const FIELDS1: [Field; 1] = fields!(PortBlock1: 0 vlan_filter 512);
const FIELDS2: [Field; 11] = fields!(PortBlock2:
    0 rxo 8, 1 rxucp 8, 2 rxufd 8, 3 rxuerr 8, 4 rxftl 8, 5 rxmcp 8, 6 rxbcp 8, 7 txo 8,
    8 txucp 8, 9 txmcp 8, 10 txbcp 8);
const FIELDS4: [Field; 4] = fields!(PortBlock4:
    0 port_speed 4, 1 pause_frame 4, 2 ens_port_op_state 4, 3 jumbo_frame 4);
const FIELDS7: [Field; 1] = fields!(PortBlock7: 0 def_uc_qpn 8);

impl State {
    pub(crate) fn query_port(
        &mut self,
        env: &mut Env<'_>,
        call: &PortCall,
        fewer: Fewer,
    ) -> Result<(), Refusal> {
        let gpa = env.block_address(call.block)?;
        let default_qps = self.config.num_default_qps.saturating_sub(fewer);
        let index = self.owned_port(call.port)?;
        let port = self.ports.get(index).ok_or(Refusal::PortNumber)?;
        let select = call.select;
        match call.category {
            PortCategory::ATTRIBUTES => {
                check_mask(select, PortBlock0::SELECT_ALL)?;
                let block = attributes(port, default_qps.max(1));
                write_selected(env, gpa, block.as_bytes(), &FIELDS0, select)
            }
            PortCategory::VLAN_FILTER => {
                check_mask(select, PortBlock1::SELECT_ALL)?;
                write_selected(env, gpa, port.vlan_filter.as_bytes(), &FIELDS1, select)
            }
            PortCategory::STATISTICS => {
                check_mask(select, PortBlock2::SELECT_ALL)?;
                write_selected(env, gpa, port.statistics.as_bytes(), &FIELDS2, select)
            }
            PortCategory::LINK => {
                check_mask(select, PortBlock4::SELECT_ALL)?;
                let block = PortBlock4 {
                    port_speed: U32::new(port.speed.0),
                    pause_frame: U32::new(port.pause),
                    ens_port_op_state: U32::new(port.link.into()),
                    jumbo_frame: U32::new(port.jumbo),
                    ..PortBlock4::default()
                };
                write_selected(env, gpa, block.as_bytes(), &FIELDS4, select)
            }
            PortCategory::DEFAULT_UNICAST_QP => {
                check_mask(select, PortBlock7::SELECT_ALL)?;
                let block = PortBlock7 {
                    def_uc_qpn: U64::new(port.def_uc_qpn),
                };
                write_selected(env, gpa, block.as_bytes(), &FIELDS7, select)
            }
            _ => Err(Refusal::PortCategory),
        }
    }

    /// Applies all selected fields or, on error, none.
    pub(crate) fn modify_port(
        &mut self,
        env: &mut Env<'_>,
        call: &PortCall,
    ) -> Result<(), Refusal> {
        let gpa = env.block_address(call.block)?;
        let index = self.owned_port(call.port)?;
        let port = self.ports.get_mut(index).ok_or(Refusal::PortNumber)?;
        let select = call.select;
        match call.category {
            PortCategory::ATTRIBUTES => {
                check_mask(select, PortBlock0::SELECT_ALL)?;
                modify_attributes(port, select, &read_block(env, gpa)?)?;
            }
            PortCategory::VLAN_FILTER => {
                check_mask(select, PortBlock1::SELECT_ALL)?;
                port.vlan_filter = read_block(env, gpa)?;
            }
            PortCategory::LINK => {
                check_mask(select, PortBlock4::SELECT_ALL)?;
                modify_link(port, select, &read_block(env, gpa)?)?;
                // A new speed is a new state of the port.
                if PortBlock4::SELECT_SPEED.is_set(select) && port.operational {
                    self.agenda.announce_port(self.now, index);
                }
            }
            PortCategory::DEFAULT_UNICAST_QP => {
                check_mask(select, PortBlock7::SELECT_ALL)?;
                let block: PortBlock7 = read_block(env, gpa)?;
                port.def_uc_qpn = block.def_uc_qpn.get();
            }
            PortCategory::STATISTICS => return Err(Refusal::ReadOnlyAttribute),
            _ => return Err(Refusal::PortCategory),
        }
        Ok(())
    }

    pub(crate) fn register_bcmc(&mut self, regs: &Regs) -> Result<(), Refusal> {
        let call = BcmcArgs::unpack(regs);
        let index = self.owned_port(call.port)?;
        let port = self.ports.get_mut(index).ok_or(Refusal::PortNumber)?;
        let entry = Registration::new(&call)?;
        let fits = if call.scope.all_addresses {
            call.mac == MacAddress::default()
        } else if call.scope.multicast {
            call.mac.is_multicast()
        } else {
            call.mac == port.mac
        };
        if !fits {
            return Err(Refusal::BcmcAddress);
        }
        port.bcmc.insert(entry)
    }

    /// Deregisters a broadcast or multicast address. Deregistering what is not registered is no
    /// error (M15).
    pub(crate) fn deregister_bcmc(&mut self, regs: &Regs) -> Result<(), Refusal> {
        let call = BcmcArgs::unpack(regs);
        let index = self.owned_port(call.port)?;
        let port = self.ports.get_mut(index).ok_or(Refusal::PortNumber)?;
        let entry = Registration::new(&call)?;
        port.bcmc.remove(entry);
        Ok(())
    }
}

fn read_block<T: FromBytes + IntoBytes>(env: &mut Env<'_>, gpa: u64) -> Result<T, Refusal> {
    let mut block = T::new_zeroed();
    env.read(gpa, block.as_mut_bytes())
        .map_err(|_| Refusal::BlockAddress)?;
    Ok(block)
}

fn attributes(port: &Port, default_qps: u32) -> PortBlock0 {
    PortBlock0 {
        port_mac_addr: U64::new(port.mac.pack()),
        port_rc: U64::new(port.receive_control.0),
        port_op_state: U32::new(port.link.into()),
        port_speed: U32::new(port.speed.0),
        ext_swport_op_state: U32::new(port.link.into()),
        neg_tpf_prpf: U32::new(port.pause),
        num_default_qps: U32::new(default_qps),
        default_qpn_arr: port.default_qpns.map(U64::new),
        ..PortBlock0::default()
    }
}

fn modify_attributes(port: &mut Port, select: u64, block: &PortBlock0) -> Result<(), Refusal> {
    let modifiable = PortBlock0::SELECT_MAC.mask()
        | PortBlock0::SELECT_RECEIVE_CONTROL.mask()
        | PortBlock0::SELECT_DEFAULT_QPNS.mask();
    if select & !modifiable != 0 {
        return Err(Refusal::ReadOnlyAttribute);
    }
    let mac = MacAddress::unpack(block.port_mac_addr.get());
    let receive_control = ReceiveControl(block.port_rc.get());
    let set_mac = PortBlock0::SELECT_MAC.is_set(select);
    let set_control = PortBlock0::SELECT_RECEIVE_CONTROL.is_set(select);
    if set_mac && !mac.is_valid_station()
        || set_control && receive_control.vlan_filter_mode().is_none()
    {
        return Err(Refusal::AttributeValue);
    }
    if set_mac {
        port.mac = mac;
    }
    if set_control {
        port.receive_control = receive_control;
    }
    if PortBlock0::SELECT_DEFAULT_QPNS.is_set(select) {
        port.default_qpns = block.default_qpn_arr.map(U64::get);
    }
    Ok(())
}

fn modify_link(port: &mut Port, select: u64, block: &PortBlock4) -> Result<(), Refusal> {
    if PortBlock4::SELECT_OP_STATE.is_set(select) {
        return Err(Refusal::ReadOnlyAttribute);
    }
    let requested = PortSpeed(block.port_speed.get());
    let speed = match requested {
        // Speed that both ends of the link support.
        PortSpeed::AUTONEG => PortSpeed::G10_FULL,
        speed => speed,
    };
    let set_speed = PortBlock4::SELECT_SPEED.is_set(select);
    if set_speed && speed.decode().is_none() {
        return Err(Refusal::AttributeValue);
    }
    if set_speed {
        port.speed = speed;
    }
    if PortBlock4::SELECT_PAUSE.is_set(select) {
        port.pause = block.pause_frame.get();
    }
    if PortBlock4::SELECT_JUMBO.is_set(select) {
        port.jumbo = block.jumbo_frame.get();
    }
    Ok(())
}
