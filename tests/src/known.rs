// SPDX-License-Identifier: GPL-2.0
//! Known faults that are not mended yet. Scenarios that show one fail, and must go on failing in
//! the same way until it is mended.

use anyhow::{bail, ensure, Result};

/// Text that explains every fault which a scenario names.
const EXPLANATIONS: &str = include_str!("../../Documentation/todo.rst");

/// A fault that a scenario shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Number of the fault in `Documentation/todo.rst`, such as `K18`.
    pub fault: &'static str,
    /// Part of the message with which the scenario fails. The more it contains of what was seen,
    /// the less can change unnoticed.
    pub seen: &'static str,
}

impl Known {
    /// Inverts the result of a scenario.
    ///
    /// # Errors
    ///
    /// The scenario passed, failed in another way, or names a fault that is not explained.
    pub fn judge(self, result: Result<()>) -> Result<()> {
        self.judge_with(EXPLANATIONS, result)
    }

    fn judge_with(self, explanations: &str, result: Result<()>) -> Result<()> {
        let Self { fault, seen } = self;
        ensure!(
            explanations
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| word == fault),
            "Documentation/todo.rst does not explain {fault}"
        );
        match result {
            Ok(()) => bail!(
                "passed, but was to fail because of {fault} ({seen}): if that is mended, take it out of the \
                 list of scenarios and of Documentation/todo.rst"
            ),
            Err(error) if format!("{error:#}").contains(seen) => Ok(()),
            Err(error) => {
                Err(error.context(format!("failed otherwise than because of {fault} ({seen})")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    const KNOWN: Known = Known {
        fault: "K0",
        seen: "2 resets",
    };
    const TEXT: &str = "* K0: it is reset twice.";

    #[test]
    fn a_change_either_way_is_red() {
        let judge = |result| KNOWN.judge_with(TEXT, result);
        let as_known = anyhow!("2 resets of eth0").context("traffic");
        judge(Err(as_known)).unwrap();
        let message = judge(Ok(())).unwrap_err().to_string();
        assert!(message.contains("passed"), "{message}");
        let message = format!("{:#}", judge(Err(anyhow!("3 resets"))).unwrap_err());
        assert!(
            message.contains("otherwise") && message.contains("3 resets"),
            "{message}"
        );
    }

    #[test]
    fn a_fault_must_be_explained() {
        let result = KNOWN.judge_with("* K01: another.", Err(anyhow!("2 resets")));
        assert!(result.is_err());
    }
}
