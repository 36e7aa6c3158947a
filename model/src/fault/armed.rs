// SPDX-License-Identifier: GPL-2.0

//! Armed faults: what they match, and how often they happen.

use ehea_abi::hcall::{EqKind, Opcode, ReturnCode};

use super::{Action, ArmedFault, EventFault, Fault, QueueKind, Resource};

#[derive(Debug)]
struct Armed {
    public: ArmedFault,
    /// Number of long-busy answers still to come for the call that is being repeated.
    busy_left: u64,
    /// True if the next matching call is the last repetition and is carried out.
    let_through: bool,
}

impl Armed {
    /// Counts another match. Returns whether the fault happens.
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

/// Object of a call, for [`super::HcallFault`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallSubject {
    pub(crate) resource: Option<Resource>,
    pub(crate) category: Option<u64>,
}

/// Effect of a fault on a call.
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

    /// Returns the effect of the first matching fault on a call.
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

    /// Returns true if an interrupt of an event queue of kind `kind` is lost.
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

    /// Returns true if the completion of a frame that port `of_port` has sent is lost.
    pub(crate) fn drops_completion(&mut self, of_port: u16) -> bool {
        let mut drops = false;
        for armed in &mut self.armed {
            if let Fault::Event(EventFault::DropCompletion { port, .. }) = armed.public.fault {
                if port.is_none_or(|p| p == of_port) {
                    drops |= armed.meets();
                }
            }
        }
        drops
    }

    /// Returns the code with which the first matching fault answers a hypercall that maps memory
    /// for the adapter.
    pub(crate) fn on_mapping(&mut self, of_opcode: u64) -> Option<ReturnCode> {
        for armed in &mut self.armed {
            if let Fault::Event(EventFault::RefuseMapping { opcode, code, .. }) = armed.public.fault
            {
                if opcode.is_none_or(|o| o.opcode() == of_opcode) && armed.meets() {
                    return Some(code.0);
                }
            }
        }
        None
    }

    /// Returns the status bits that faults add to a receive completion of port `of_port`.
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
        let once = json.replace("\"times\": 2", "\"times\": 1");
        assert_eq!(answers(&once, 5), (vec![9901, 0, 9901, 0, 0], 2));
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
            r#"{"event":"drop_completion","port":1,"nth":2,"count":1}"#,
            r#"{"event":"refuse_mapping","opcode":"H_PUT_TCE","nth":2,"count":1,"code":"H_RESOURCE"}"#,
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
            (
                r#"{"event": "refuse_mapping", "opcode": "H_STUFF_TCE", "code": -4}"#,
                "H_STUFF_TCE",
            ),
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
