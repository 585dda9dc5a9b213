//! Which state of a server comes along to a new instance, as a node reports it. What is beyond the
//! bounds of the settings file is cut to them: the coordinator keeps what the plan says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Keep, KeepRule, Replay, Saving, StateAction, StatePlan};
use crate::protocol::objects::object_only;

/// Rules, and tools that restore, of one server.
const MAX_RULES: usize = 64;
const MAX_STEPS: usize = 8;
const MAX_CALLS: usize = 10_000;
const MAX_BYTES: usize = 16 << 20;
const MAX_AGE_MS: u64 = 7 * 24 * 3600 * 1000;
const EVERY_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=600_000;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct StateReport {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<ReplayReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saving: Option<SavingReport>,
    timeout_ms: u64,
    most_bytes: usize,
}
object_only!(both StateReport);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
struct ReplayReport {
    rules: Vec<RuleReport>,
    most_calls: usize,
    max_age_ms: u64,
}
object_only!(both ReplayReport);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
struct RuleReport {
    tool: String,
    keep: KeepReport,
    #[serde(default)]
    errors: bool,
}
object_only!(both RuleReport);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum KeepReport {
    All,
    Last,
    SinceSave,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
struct SavingReport {
    save: ActionReport,
    restore: Vec<ActionReport>,
    every_ms: u64,
}
object_only!(both SavingReport);

/// A tool with its arguments as JSON text, or without a name the node's own program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
struct ActionReport {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    arguments: String,
}
object_only!(both ActionReport);

impl From<&StatePlan> for StateReport {
    fn from(plan: &StatePlan) -> Self {
        let rule = |rule: &KeepRule| RuleReport {
            tool: rule.tool.clone(),
            keep: match rule.keep {
                Keep::All => KeepReport::All,
                Keep::Last => KeepReport::Last,
                Keep::SinceSave => KeepReport::SinceSave,
            },
            errors: rule.errors,
        };
        Self {
            replay: plan.replay.as_ref().map(|replay| ReplayReport {
                rules: replay.rules.iter().map(rule).collect(),
                most_calls: replay.most_calls,
                max_age_ms: millis(replay.max_age),
            }),
            saving: plan.saving.as_ref().map(|saving| SavingReport {
                save: (&saving.save).into(),
                restore: saving.restore.iter().map(ActionReport::from).collect(),
                every_ms: millis(saving.every),
            }),
            timeout_ms: millis(plan.timeout),
            most_bytes: plan.most_bytes,
        }
    }
}

impl From<&StateAction> for ActionReport {
    fn from(action: &StateAction) -> Self {
        match action {
            StateAction::Command => Self { tool: None, arguments: String::new() },
            StateAction::Tool { name, arguments } => {
                Self { tool: Some(name.clone()), arguments: arguments.to_string() }
            }
        }
    }
}

impl From<ActionReport> for StateAction {
    fn from(report: ActionReport) -> Self {
        match report.tool {
            None => Self::Command,
            Some(name) => Self::Tool { name, arguments: report.arguments.into() },
        }
    }
}

impl From<StateReport> for StatePlan {
    fn from(report: StateReport) -> Self {
        let rule = |rule: RuleReport| KeepRule {
            tool: rule.tool,
            keep: match rule.keep {
                KeepReport::All => Keep::All,
                KeepReport::Last => Keep::Last,
                KeepReport::SinceSave => Keep::SinceSave,
            },
            errors: rule.errors,
        };
        Self {
            replay: report.replay.map(|replay| Replay {
                rules: replay.rules.into_iter().take(MAX_RULES).map(rule).collect(),
                most_calls: replay.most_calls.min(MAX_CALLS),
                max_age: Duration::from_millis(replay.max_age_ms.min(MAX_AGE_MS)),
            }),
            saving: report.saving.map(|saving| Saving {
                save: saving.save.into(),
                restore: saving.restore.into_iter().take(MAX_STEPS).map(Into::into).collect(),
                every: within(saving.every_ms, EVERY_MS),
            }),
            timeout: within(report.timeout_ms, TIMEOUT_MS),
            most_bytes: report.most_bytes.min(MAX_BYTES),
        }
    }
}

impl StateReport {
    /// Bytes that it takes in memory beyond its numbers.
    #[must_use]
    pub fn size(&self) -> usize {
        let of_action = |action: &ActionReport| {
            action.tool.as_ref().map_or(0, String::len) + action.arguments.len()
        };
        let rules = self.replay.iter().flat_map(|replay| &replay.rules);
        let restore = self.saving.iter().flat_map(|saving| &saving.restore);
        let save = self.saving.iter().map(|saving| &saving.save);
        rules.map(|rule| 64 + rule.tool.len()).sum::<usize>()
            + save.chain(restore).map(|action| 64 + of_action(action)).sum::<usize>()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn within(millis: u64, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(millis.clamp(*range.start(), *range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> StatePlan {
        let rule = |tool: &str, keep| KeepRule { tool: tool.to_owned(), keep, errors: true };
        StatePlan {
            replay: Some(Replay {
                rules: vec![rule("a*", Keep::Last), rule("b", Keep::SinceSave)],
                most_calls: 7,
                max_age: Duration::from_secs(9),
            }),
            saving: Some(Saving {
                save: StateAction::Command,
                restore: vec![StateAction::Tool { name: "r".into(), arguments: "{}".into() }],
                every: Duration::from_secs(3),
            }),
            timeout: Duration::from_secs(2),
            most_bytes: 4096,
        }
    }

    #[test]
    fn a_plan_survives_its_report() {
        let text = serde_json::to_string(&StateReport::from(&plan())).unwrap();
        let read: StateReport = serde_json::from_str(&text).unwrap();
        assert_eq!(StatePlan::from(read), plan());
    }

    #[test]
    fn what_a_node_reports_is_cut_to_the_bounds() {
        let text = r#"{"replay":{"rules":[],"mostCalls":99999999,"maxAgeMs":18446744073709551615},
            "saving":{"save":{},"restore":[],"everyMs":0},"timeoutMs":99999999,"mostBytes":99999999}"#;
        let plan = StatePlan::from(serde_json::from_str::<StateReport>(text).unwrap());
        let replay = plan.replay.unwrap();
        assert_eq!((replay.most_calls, plan.most_bytes), (MAX_CALLS, MAX_BYTES));
        assert_eq!(replay.max_age, Duration::from_millis(MAX_AGE_MS));
        assert_eq!(plan.saving.unwrap().every, Duration::from_millis(100));
        assert_eq!(plan.timeout, Duration::from_secs(600));
    }
}
