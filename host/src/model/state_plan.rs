//! What of a server's state comes along when its session is opened at a new instance: the word of
//! the settings file, as it travels with the replica.

use std::sync::Arc;
use std::time::Duration;

use super::pattern::fits;

/// Which state is kept, and how it is brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePlan {
    /// Calls that are kept and repeated.
    pub replay: Option<Replay>,
    /// How the state is written and read. `None` if the server has nothing for that.
    pub saving: Option<Saving>,
    /// Longest time for bringing the state back in all, and for one saving.
    pub timeout: Duration,
    /// Bytes of the kept calls, and of the saved state.
    pub most_bytes: usize,
}

/// Which calls set state, and how many of them are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The first rule that fits a tool counts. Tools that say so themselves are kept besides.
    pub rules: Vec<KeepRule>,
    /// Number of kept calls.
    pub most_calls: usize,
    /// Calls older than this are not repeated.
    pub max_age: Duration,
}

/// Which calls of some tools are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepRule {
    /// A tool's own name, in which `*` stands for any characters.
    pub tool: String,
    /// Which of its calls.
    pub keep: Keep,
    /// Whether calls that the server answered with an error are kept, too.
    pub errors: bool,
}

/// Which of a tool's calls are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every one.
    All,
    /// The last one alone.
    Last,
    /// Those since the state was last saved.
    SinceSave,
}

/// How the state is written and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saving {
    /// Writes the state.
    pub save: StateAction,
    /// Read it, one after the other.
    pub restore: Vec<StateAction>,
    /// Least time between two savings.
    pub every: Duration,
}

/// Something that writes or reads the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateAction {
    /// A tool of the server.
    Tool {
        /// Its own name.
        name: String,
        /// The arguments, as a JSON object with placeholders.
        arguments: Arc<str>,
    },
    /// A program, which only the node's own settings know.
    Command,
}

impl Replay {
    /// The rule for a tool. `says_so` is whether the tool itself says that it sets state.
    #[must_use]
    pub fn rule(&self, tool: &str, says_so: bool) -> Option<(Keep, bool)> {
        let rule = self.rules.iter().find(|rule| fits(&rule.tool, tool));
        rule.map(|rule| (rule.keep, rule.errors)).or_else(|| says_so.then_some((Keep::All, false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_counts_and_then_the_tools_own_word() {
        let rule = |tool: &str, keep, errors| KeepRule { tool: tool.to_owned(), keep, errors };
        let replay = Replay {
            rules: vec![rule("go_back", Keep::All, true), rule("go_*", Keep::Last, false)],
            most_calls: 1,
            max_age: Duration::ZERO,
        };
        assert_eq!(replay.rule("go_back", false), Some((Keep::All, true)));
        assert_eq!(replay.rule("go_to", true), Some((Keep::Last, false)));
        assert_eq!(replay.rule("look", true), Some((Keep::All, false)));
        assert_eq!(replay.rule("look", false), None);
    }
}
