// SPDX-License-Identifier: GPL-2.0

//! Faults on demand.
//!
//! A fault is armed as JSON, through [`crate::Adapter::fault_add`] or the `fault` property of the
//! QEMU device. It either meets hypercalls:
//!
//! ```json
//! {"opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr", "nth": 2, "count": 1,
//!  "action": {"return": "H_NOT_ENOUGH_RESOURCES"}}
//! {"opcode": "H_REGISTER_SMR", "action": {"long_busy": {"code": 9901, "times": 3}}}
//! {"opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp", "action": {"fewer": 2}}
//! {"opcode": "H_RESET_EVENTS", "action": "drop_interrupt"}
//! ```
//!
//! or is an event:
//!
//! ```json
//! {"event": "port_malfunction", "port": 1}
//! {"event": "queue_pair_error", "port": 1}
//! {"event": "adapter_malfunction"}
//! {"event": "corrupt_completion", "port": 1, "nth": 3, "count": 2, "status": 16384}
//! {"event": "drop_interrupt", "queue": "completion", "nth": 1}
//! {"event": "drop_completion", "port": 1, "nth": 1}
//! {"event": "refuse_mapping", "opcode": "H_PUT_TCE", "nth": 2, "code": "H_NOT_ENOUGH_RESOURCES"}
//! ```
//!
//! `nth` counts matching calls (completions, interrupts, mappings) from 1 since the fault was
//! armed. `count` is the number of matches, from that one on, that the fault meets. Both are 1 if
//! they are missing. `fired` in the list of armed faults tells a test whether its fault happened at
//! all.

use ehea_abi::hcall::{Opcode, ReturnCode};
use serde::{Deserialize, Serialize};

mod armed;

pub(crate) use armed::{CallSubject, Faults, Injected};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "FaultText")]
pub enum Fault {
    /// A fault that meets hypercalls.
    Hcall(HcallFault),
    /// A fault that happens at once or meets something other than hypercalls.
    Event(EventFault),
}

/// A fault that meets hypercalls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HcallFault {
    /// Name of the call.
    pub opcode: OpcodeName,
    /// Type of the object of the calls that are met; any if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// Number of the port or queue pair control block of the calls that are met; any if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<u64>,
    /// Number of the first matching call that is met, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// Number of calls that are met.
    #[serde(default = "one")]
    pub count: u64,
    /// Effect on the calls.
    pub action: Action,
}

/// Effect of a fault on a hypercall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The call does nothing and returns this code.
    Return(Code),
    /// The call answers long busy several times before it does its work.
    LongBusy {
        /// Return code of these answers, 9900 to 9905.
        code: Code,
        /// Number of these answers.
        times: u64,
    },
    /// The call does its work, and the next interrupt is lost.
    DropInterrupt,
    /// The queues of an allocation are halved this many times, but not below the smallest size. The
    /// answer of H_QUERY_HEA_PORT asks for this many queue pairs fewer.
    Fewer(u32),
}

/// A fault that does not belong to a hypercall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum EventFault {
    /// The adapter reports that a port malfunctions.
    PortMalfunction {
        /// Logical port number.
        port: u16,
    },
    /// The queue pairs of a port fail without fault of the driver.
    QueuePairError {
        /// Logical port number.
        port: u16,
    },
    /// The adapter reports that it malfunctions.
    AdapterMalfunction {},
    /// A receive completion has status bits for which the frame gave no reason.
    CorruptCompletion {
        /// Logical port whose completions are met; any if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Number of the first matching completion that is met, from 1.
        #[serde(default = "one")]
        nth: u64,
        /// Number of completions that are met.
        #[serde(default = "one")]
        count: u64,
        /// Bits to set.
        status: u16,
    },
    /// A work request that asks for a completion is carried out and gets none.
    DropCompletion {
        /// Logical port whose work requests are met; any if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Number of the first matching completion that is met, from 1.
        #[serde(default = "one")]
        nth: u64,
        /// Number of completions that are met.
        #[serde(default = "one")]
        count: u64,
    },
    /// Interrupts are not raised.
    DropInterrupt {
        /// Kind of the event queues whose interrupts are met; any if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueKind>,
        /// Number of the first matching interrupt that is met, from 1.
        #[serde(default = "one")]
        nth: u64,
        /// Number of interrupts that are met.
        #[serde(default = "one")]
        count: u64,
    },
    /// Hypercalls that map memory for the adapter in a CMO partition do nothing and return a code.
    RefuseMapping {
        /// Hypercall that is met; any if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opcode: Option<MappingCall>,
        /// Number of the first matching call that is met, from 1.
        #[serde(default = "one")]
        nth: u64,
        /// Number of calls that are met.
        #[serde(default = "one")]
        count: u64,
        /// Return code of these calls.
        code: Code,
    },
}

const fn one() -> u64 {
    1
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Event queue other than a notification event queue.
    Eq,
    /// Notification event queue.
    Neq,
    /// Completion queue.
    Cq,
    /// Queue pair.
    Qp,
    /// Memory region.
    Mr,
    /// Shared memory region.
    Smr,
}

/// Kinds of event queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Notification event queue.
    Notification,
    /// Affiliated event queue, for errors.
    Affiliated,
    /// Completion event queue.
    Completion,
}

/// Hypercalls that put entries into a TCE table. The adapter's own hypercalls are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MappingCall {
    /// One entry. Clearing an entry this way does not count as mapping.
    #[serde(rename = "H_PUT_TCE")]
    PutTce,
    /// Several entries: as many as fit a page.
    #[serde(rename = "H_PUT_TCE_INDIRECT")]
    PutTceIndirect,
}

impl MappingCall {
    const fn opcode(self) -> u64 {
        match self {
            Self::PutTce => 0x20,
            Self::PutTceIndirect => 0x13c,
        }
    }
}

/// An opcode, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpcodeName(pub Opcode);

impl TryFrom<String> for OpcodeName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Opcode::from_name(&name)
            .map(Self)
            .ok_or_else(|| format!("unknown hypercall {name:?}"))
    }
}

impl From<OpcodeName> for String {
    fn from(name: OpcodeName) -> Self {
        name.0.to_string()
    }
}

/// A return code, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CodeText", into = "CodeText")]
pub struct Code(pub ReturnCode);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CodeText {
    Number(i64),
    Name(String),
}

impl TryFrom<CodeText> for Code {
    type Error = String;

    fn try_from(text: CodeText) -> Result<Self, String> {
        match text {
            CodeText::Number(code) => Ok(Self(ReturnCode(code))),
            CodeText::Name(name) => ReturnCode::from_name(&name)
                .map(Self)
                .ok_or_else(|| format!("unknown return code {name:?}")),
        }
    }
}

impl From<Code> for CodeText {
    fn from(code: Code) -> Self {
        match code.0.name() {
            Some(name) => Self::Name(name.to_owned()),
            None => Self::Number(code.0 .0),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum FaultText {
    Hcall(HcallFault),
    Event(EventFault),
}

impl From<Fault> for FaultText {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Hcall(fault) => Self::Hcall(fault),
            Fault::Event(fault) => Self::Event(fault),
        }
    }
}

impl TryFrom<serde_json::Value> for Fault {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let text = |error: serde_json::Error| error.to_string();
        let fault = if value.get("event").is_some() {
            Self::Event(serde_json::from_value(value).map_err(text)?)
        } else {
            Self::Hcall(serde_json::from_value(value).map_err(text)?)
        };
        fault.check()?;
        Ok(fault)
    }
}

impl Fault {
    /// Returns `nth` and `count`, or `None` for events that happen at once.
    const fn window(&self) -> Option<(u64, u64)> {
        match self {
            Self::Hcall(HcallFault { nth, count, .. })
            | Self::Event(
                EventFault::CorruptCompletion { nth, count, .. }
                | EventFault::DropCompletion { nth, count, .. }
                | EventFault::DropInterrupt { nth, count, .. }
                | EventFault::RefuseMapping { nth, count, .. },
            ) => Some((*nth, *count)),
            Self::Event(_) => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        if matches!(self.window(), Some((0, _) | (_, 0))) {
            return Err("nth and count start at 1".into());
        }
        if let Self::Hcall(HcallFault {
            action: Action::LongBusy { code, times },
            ..
        }) = self
        {
            if code.0.long_busy_ms().is_none() || *times == 0 {
                return Err(
                    "long_busy needs a code from 9900 to 9905 and a number of times".into(),
                );
            }
        }
        Ok(())
    }
}

/// An armed fault and its counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmedFault {
    /// The fault.
    pub fault: Fault,
    /// Number of calls, completions or interrupts that matched since the fault was armed.
    pub seen: u64,
    /// Number of times that the fault happened.
    pub fired: u64,
}
