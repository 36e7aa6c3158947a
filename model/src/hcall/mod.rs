// SPDX-License-Identifier: GPL-2.0

//! Hypercalls: dispatch and counting (§3).

mod alloc;
mod pages;
mod portctl;
mod query;

use ehea_abi::cb::error::{ErrorBlock, ErrorResource};
use ehea_abi::hcall::{
    AllocEq, DisableAndGetHea, EqKind, ErrorData, FreeResource, Opcode, PortCall, QpCall,
    RegisterRpages, Regs, ResetEvents, ResourceType, ReturnCode,
};
use zerocopy::byteorder::big_endian::U64;
use zerocopy::IntoBytes as _;

use crate::fault::{CallSubject, Injected, Resource};
use crate::host::{Env, TraceLevel};
use crate::object::state::State;
use crate::object::table::Kind;
use crate::refusal::Refusal;

/// Number of times that an injected fault halves what is allocated.
pub(crate) type Fewer = u32;

impl State {
    /// Handles a hypercall. Registers that hold no result keep their arguments.
    pub(crate) fn hcall(
        &mut self,
        env: &mut Env<'_>,
        opcode: Opcode,
        regs: &mut Regs,
    ) -> ReturnCode {
        if let Some(name) = opcode.name() {
            if let Some(code) = self.moody_answer(opcode, regs) {
                env.counters.moody_answer(name);
                env.trace(TraceLevel::Event, format_args!("{opcode} answered: {code}"));
                return code;
            }
            env.counters.hcall(name);
        }
        let fewer = match env.faults.on_hcall(opcode, self.subject(opcode, regs)) {
            Some(Injected::Return(code)) => {
                env.trace(
                    TraceLevel::Event,
                    format_args!("{opcode} answered by a fault: {code}"),
                );
                return code;
            }
            Some(Injected::Fewer(n)) => n,
            None => 0,
        };
        match self.dispatch(env, opcode, regs, fewer) {
            Ok(code) => code,
            Err(why) => env.refuse(opcode, regs, why),
        }
    }

    /// Returns the answer of firmware that refuses a call unseen because of its mood.
    fn moody_answer(&mut self, opcode: Opcode, regs: &Regs) -> Option<ReturnCode> {
        let of_region =
            opcode == Opcode::ALLOC_HEA_RESOURCE && ResourceType::of(regs) == ResourceType::MR;
        self.mood.busy(opcode).or_else(|| {
            let lacks = of_region && self.mrs.live() > 0 && self.mood.lacks_region();
            lacks.then_some(ReturnCode::NOT_ENOUGH_RESOURCES)
        })
    }

    fn dispatch(
        &mut self,
        env: &mut Env<'_>,
        opcode: Opcode,
        regs: &mut Regs,
        fewer: Fewer,
    ) -> Result<ReturnCode, Refusal> {
        // The adapter is the first argument of every call.
        let [adapter, ..] = *regs;
        if opcode.name().is_some() && adapter != self.config.adapter_handle {
            return Err(Refusal::AdapterHandle);
        }
        match opcode {
            Opcode::ALLOC_HEA_RESOURCE => self.alloc(env, regs, fewer)?,
            Opcode::REGISTER_HEA_RPAGES => {
                return self.register_pages(env, &RegisterRpages::unpack(regs));
            }
            Opcode::REGISTER_SMR => self.register_smr(env, regs)?,
            Opcode::FREE_RESOURCE => self.free(env, &FreeResource::unpack(regs))?,
            Opcode::QUERY_HEA => self.query_adapter(env, regs)?,
            Opcode::QUERY_HEA_PORT => self.query_port(env, &PortCall::unpack(regs), fewer)?,
            Opcode::MODIFY_HEA_PORT => self.modify_port(env, &PortCall::unpack(regs))?,
            Opcode::QUERY_HEA_QP => self.query_qp(env, &QpCall::unpack(regs))?,
            Opcode::MODIFY_HEA_QP => self.modify_qp(env, regs)?,
            Opcode::REG_BCMC => self.register_bcmc(regs)?,
            Opcode::DEREG_BCMC => self.deregister_bcmc(regs)?,
            Opcode::DISABLE_AND_GET_HEA => {
                self.disable_qp(env, &DisableAndGetHea::unpack(regs))?;
            }
            Opcode::RESET_EVENTS => self.reset_events(env, &ResetEvents::unpack(regs))?,
            Opcode::ERROR_DATA => self.error_data(env, &ErrorData::unpack(regs))?,
            Opcode::GET_HEA_INFO => return Err(Refusal::NotImplemented),
            _ => return Err(Refusal::UnknownOpcode),
        }
        Ok(ReturnCode::SUCCESS)
    }

    /// Returns the object of a call.
    fn subject(&self, opcode: Opcode, regs: &Regs) -> CallSubject {
        let of_handle = |handle: u64| {
            Some(match Kind::of(handle)? {
                Kind::Eq if self.eqs.get(handle)?.kind == EqKind::Notification => Resource::Neq,
                Kind::Eq => Resource::Eq,
                Kind::Cq => Resource::Cq,
                Kind::Qp => Resource::Qp,
                Kind::Mr => Resource::Mr,
                Kind::Smr => Resource::Smr,
            })
        };
        let resource = match opcode {
            Opcode::ALLOC_HEA_RESOURCE => match ResourceType::of(regs) {
                ResourceType::EQ => match AllocEq::unpack(regs).map(|call| call.kind) {
                    Some(EqKind::Notification) => Some(Resource::Neq),
                    _ => Some(Resource::Eq),
                },
                ResourceType::CQ => Some(Resource::Cq),
                ResourceType::QP => Some(Resource::Qp),
                ResourceType::MR => Some(Resource::Mr),
                _ => None,
            },
            Opcode::REGISTER_SMR => Some(Resource::Smr),
            Opcode::REGISTER_HEA_RPAGES => of_handle(RegisterRpages::unpack(regs).resource),
            Opcode::FREE_RESOURCE => of_handle(FreeResource::unpack(regs).resource),
            Opcode::ERROR_DATA => of_handle(ErrorData::unpack(regs).resource),
            Opcode::RESET_EVENTS => Some(Resource::Neq),
            Opcode::QUERY_HEA_QP | Opcode::MODIFY_HEA_QP | Opcode::DISABLE_AND_GET_HEA => {
                Some(Resource::Qp)
            }
            _ => None,
        };
        let category = match opcode {
            Opcode::QUERY_HEA_PORT | Opcode::MODIFY_HEA_PORT => {
                Some(PortCall::unpack(regs).category.0.into())
            }
            Opcode::QUERY_HEA_QP | Opcode::MODIFY_HEA_QP => Some(QpCall::unpack(regs).category.0),
            _ => None,
        };
        CallSubject { resource, category }
    }

    fn reset_events(&mut self, env: &mut Env<'_>, call: &ResetEvents) -> Result<(), Refusal> {
        let eq = self.eqs.get_mut(call.neq).ok_or(Refusal::EqHandle)?;
        if eq.kind != EqKind::Notification {
            return Err(Refusal::EqHandle);
        }
        eq.reset_events(env);
        Ok(())
    }

    /// Disables a queue pair. The call is idempotent and does not report positions (§3.11, choice).
    fn disable_qp(&mut self, env: &mut Env<'_>, call: &DisableAndGetHea) -> Result<(), Refusal> {
        if !(1..=3).contains(&call.report) {
            return Err(Refusal::DisableReport);
        }
        self.arrive_all(env, call.qp);
        let qp = self.qps.get_mut(call.qp).ok_or(Refusal::QpHandle)?;
        qp.disable();
        let port = qp.port;
        self.update_port(port);
        Ok(())
    }

    fn error_data(&mut self, env: &mut Env<'_>, call: &ErrorData) -> Result<(), Refusal> {
        let gpa = env.block_address(call.block)?;
        let known = self.eqs.contains(call.resource) || self.cqs.contains(call.resource);
        let qp = match self.qps.get(call.resource) {
            Some(qp) => qp,
            None if known => return Err(Refusal::NoErrorData),
            None => return Err(Refusal::ResourceHandle),
        };
        if qp.aer == 0 {
            return Err(Refusal::NoErrorData);
        }
        let block = ErrorBlock {
            aer: U64::new(qp.aer),
            port: U64::new((qp.port as u64).saturating_add(1)),
            ..ErrorBlock::new(call.resource, ErrorResource::QP)
        };
        env.write(gpa, block.as_bytes())
            .map_err(|_| Refusal::BlockAddress)
    }
}
