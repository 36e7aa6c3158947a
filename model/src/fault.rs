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
//! {"event": "adapter_malfunction"}
//! {"event": "corrupt_completion", "port": 1, "nth": 3, "count": 2, "status": 16384}
//! {"event": "drop_interrupt", "queue": "completion", "nth": 1}
//! ```
//!
//! `nth` counts matching calls (completions, interrupts) from 1 since the fault was armed, `count`
//! is how many from there on are met; both are 1 if they are missing. `fired` in the list of armed
//! faults tells a test whether its fault happened at all.

use ehea_abi::hcall::{EqKind, Opcode, ReturnCode};
use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "FaultText")]
pub enum Fault {
    /// Meets hypercalls.
    Hcall(HcallFault),
    /// Happens now, or meets something else than hypercalls.
    Event(EventFault),
}

/// A fault that meets hypercalls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HcallFault {
    /// Name of the call.
    pub opcode: OpcodeName,
    /// Only calls about such an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// Only port or queue pair calls about this control block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<u64>,
    /// The first call that is met.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls are met.
    #[serde(default = "one")]
    pub count: u64,
    /// What happens.
    pub action: Action,
}

/// What happens to a hypercall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It does nothing and returns this code.
    Return(Code),
    /// It answers long busy some times before it does what was asked.
    LongBusy {
        /// The answer, 9900 to 9905.
        code: Code,
        /// How often.
        times: u64,
    },
    /// It is done, and the next interrupt is lost.
    DropInterrupt,
    /// Allocations: queues are halved that often, down to the smallest size. H_QUERY_HEA_PORT: the
    /// port asks for that many queue pairs fewer.
    Fewer(u32),
}

/// A fault that is no hypercall's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum EventFault {
    /// The adapter reports that a port malfunctions.
    PortMalfunction {
        /// Logical port number.
        port: u16,
    },
    /// The adapter reports that it malfunctions.
    AdapterMalfunction {},
    /// A receive completion has status bits that the frame gave no reason for.
    CorruptCompletion {
        /// Only completions of this logical port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// The first completion that is met.
        #[serde(default = "one")]
        nth: u64,
        /// How many completions are met.
        #[serde(default = "one")]
        count: u64,
        /// Bits to set.
        status: u16,
    },
    /// Interrupts are not raised.
    DropInterrupt {
        /// Only interrupts of such event queues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueKind>,
        /// The first interrupt that is met.
        #[serde(default = "one")]
        nth: u64,
        /// How many interrupts are met.
        #[serde(default = "one")]
        count: u64,
    },
}

const fn one() -> u64 {
    1
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Event queue, not a notification one.
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
    /// Notifications.
    Notification,
    /// Errors.
    Affiliated,
    /// Completions.
    Completion,
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
    /// `nth` and `count`; events that happen at once have none.
    const fn window(&self) -> Option<(u64, u64)> {
        match self {
            Self::Hcall(HcallFault { nth, count, .. })
            | Self::Event(
                EventFault::CorruptCompletion { nth, count, .. }
                | EventFault::DropInterrupt { nth, count, .. },
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

/// An armed fault and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmedFault {
    /// The fault.
    pub fault: Fault,
    /// Calls, completions or interrupts that matched since it was armed.
    pub seen: u64,
    /// How often it happened.
    pub fired: u64,
}

#[derive(Debug)]
struct Armed {
    public: ArmedFault,
    /// Long-busy answers still to come for the call that is being repeated.
    busy_left: u64,
    /// The next matching call is the last repetition and is carried out.
    let_through: bool,
}

impl Armed {
    /// Another match: says whether the fault happens.
    fn meets(&mut self) -> bool {
        let Some((nth, count)) = self.public.fault.window() else {
            return false;
        };
        self.public.seen = self.public.seen.saturating_add(1);
        let met = self.public.seen >= nth && self.public.seen < nth.saturating_add(count);
        if met {
            self.public.fired = self.public.fired.saturating_add(1);
        }
        met
    }
}

/// What a call is about, for [`HcallFault`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallSubject {
    pub(crate) resource: Option<Resource>,
    pub(crate) category: Option<u64>,
}

/// What a fault makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injected {
    Return(ReturnCode),
    Fewer(u32),
}

/// The armed faults.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    drop_next: u32,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, fired: u64) {
        self.armed.push(Armed {
            public: ArmedFault {
                fault,
                seen: 0,
                fired,
            },
            busy_left: 0,
            let_through: false,
        });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn list(&self) -> Vec<ArmedFault> {
        self.armed.iter().map(|a| a.public.clone()).collect()
    }

    /// What happens to a call. The first fault that meets it counts.
    pub(crate) fn on_hcall(&mut self, opcode: Opcode, subject: CallSubject) -> Option<Injected> {
        for armed in &mut self.armed {
            let Fault::Hcall(fault) = &armed.public.fault else {
                continue;
            };
            if fault.opcode.0 != opcode
                || fault.resource.is_some_and(|r| subject.resource != Some(r))
                || fault.category.is_some_and(|c| subject.category != Some(c))
            {
                continue;
            }
            let action = fault.action.clone();
            if armed.busy_left > 0 {
                armed.busy_left = armed.busy_left.saturating_sub(1);
                armed.let_through = armed.busy_left == 0;
                if let Action::LongBusy { code, .. } = action {
                    return Some(Injected::Return(code.0));
                }
                continue;
            }
            if armed.let_through {
                armed.let_through = false;
                continue;
            }
            if !armed.meets() {
                continue;
            }
            match action {
                Action::Return(code) => return Some(Injected::Return(code.0)),
                Action::LongBusy { code, times } => {
                    armed.busy_left = times.saturating_sub(1);
                    armed.let_through = armed.busy_left == 0;
                    return Some(Injected::Return(code.0));
                }
                Action::DropInterrupt => self.drop_next = self.drop_next.saturating_add(1),
                Action::Fewer(n) => return Some(Injected::Fewer(n)),
            }
        }
        None
    }

    /// Whether an interrupt of such a queue is lost.
    pub(crate) fn drops_interrupt(&mut self, kind: EqKind) -> bool {
        if self.drop_next > 0 {
            self.drop_next = self.drop_next.saturating_sub(1);
            return true;
        }
        let kind = match kind {
            EqKind::Notification => QueueKind::Notification,
            EqKind::Affiliated => QueueKind::Affiliated,
            EqKind::Completion => QueueKind::Completion,
        };
        let mut drops = false;
        for armed in &mut self.armed {
            if let Fault::Event(EventFault::DropInterrupt { queue, .. }) = armed.public.fault {
                if queue.is_none_or(|q| q == kind) {
                    drops |= armed.meets();
                }
            }
        }
        drops
    }

    /// Status bits to add to a receive completion of a port.
    pub(crate) fn corrupt_status(&mut self, of_port: u16) -> u16 {
        let mut bits = 0;
        for armed in &mut self.armed {
            if let Fault::Event(EventFault::CorruptCompletion { port, status, .. }) =
                armed.public.fault
            {
                if port.is_none_or(|p| p == of_port) && armed.meets() {
                    bits |= status;
                }
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Fault {
        serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    fn answers(json: &str, calls: usize) -> (Vec<i64>, u64) {
        let mut faults = Faults::default();
        faults.add(fault(json), 0);
        let subject = CallSubject {
            resource: Some(Resource::Mr),
            category: None,
        };
        let answers = (0..calls)
            .map(
                |_| match faults.on_hcall(Opcode::ALLOC_HEA_RESOURCE, subject) {
                    Some(Injected::Return(code)) => code.0,
                    _ => 0,
                },
            )
            .collect();
        (answers, faults.list()[0].fired)
    }

    #[test]
    fn nth_and_count() {
        let json = r#"{"opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr", "nth": 2, "count": 2,
                       "action": {"return": -44}}"#;
        assert_eq!(answers(json, 5), (vec![0, -44, -44, 0, 0], 2));
        let other = json.replace("\"mr\"", "\"cq\"");
        assert_eq!(answers(&other, 3), (vec![0, 0, 0], 0));
    }

    #[test]
    fn long_busy_ends() {
        let json = r#"{"opcode": "H_ALLOC_HEA_RESOURCE", "count": 2,
                       "action": {"long_busy": {"code": 9901, "times": 2}}}"#;
        assert_eq!(answers(json, 7), (vec![9901, 9901, 0, 9901, 9901, 0, 0], 2));
    }

    #[test]
    fn round_trip() {
        for json in [
            r#"{"opcode":"H_REGISTER_SMR","nth":1,"count":1,"action":{"return":"H_AUTHORITY"}}"#,
            r#"{"opcode":"H_QUERY_HEA_PORT","category":4,"nth":1,"count":1,"action":{"fewer":3}}"#,
            r#"{"opcode":"H_RESET_EVENTS","nth":1,"count":1,"action":"drop_interrupt"}"#,
            r#"{"event":"adapter_malfunction"}"#,
            r#"{"event":"port_malfunction","port":2}"#,
            r#"{"event":"drop_interrupt","queue":"completion","nth":3,"count":1}"#,
        ] {
            assert_eq!(serde_json::to_string(&fault(json)).unwrap(), json);
        }
    }

    #[test]
    fn wrong_texts_say_why() {
        for (json, why) in [
            (
                r#"{"opcode": "H_NONE", "action": "drop_interrupt"}"#,
                "H_NONE",
            ),
            (
                r#"{"opcode": "H_REGISTER_SMR", "action": {"return": "H_X"}}"#,
                "H_X",
            ),
            (
                r#"{"opcode": "H_REGISTER_SMR", "nth": 0, "action": "drop_interrupt"}"#,
                "nth",
            ),
            (
                r#"{"opcode": "H_REGISTER_SMR", "action": {"long_busy": {"code": 5, "times": 1}}}"#,
                "long_busy",
            ),
            (r#"{"event": "port_malfunction"}"#, "port"),
            (r#"{"event": "explosion"}"#, "explosion"),
            (r#"{"event": "drop_interrupt", "many": 1}"#, "many"),
        ] {
            let error = serde_json::from_str::<Fault>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn interrupts_of_a_kind() {
        let mut faults = Faults::default();
        faults.add(
            fault(r#"{"event": "drop_interrupt", "queue": "completion", "nth": 2}"#),
            0,
        );
        let kinds = [EqKind::Completion, EqKind::Affiliated, EqKind::Completion];
        assert_eq!(
            kinds.map(|k| faults.drops_interrupt(k)),
            [false, false, true]
        );
    }
}
