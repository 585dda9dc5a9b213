//! Which state of a server comes along to a new instance: `state`.

use std::time::Duration;

use jsonc_parser::ast::Value;

use crate::config::reader::item::Item;
use crate::config::reader::json;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::model::{Keep, KeepRule, Replay, Saving, StateAction, StatePlan};

use super::lists::refuse_unknown;

/// Rules of one server.
const MAX_RULES: usize = 64;
/// Tools that restore one state.
const MAX_STEPS: usize = 8;
/// Bytes of a tool's name or pattern, and of one tool's arguments.
const MAX_NAME: usize = 256;
const MAX_ARGUMENTS: usize = 64 << 10;
/// Kept calls: default, and the most.
const CALLS: u64 = 100;
const MAX_CALLS: u64 = 10_000;
/// Bytes of kept calls and of saved state: the least, default, and the most.
const MIN_BYTES: u64 = 1024;
const BYTES: u64 = 1 << 20;
const MAX_BYTES: u64 = 16 << 20;
/// Milliseconds of seven days: no session is older.
const MAX_AGE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Milliseconds between two savings: default, the least and the most.
const EVERY_MS: u64 = 5000;
const MIN_EVERY_MS: u64 = 100;
const MAX_EVERY_MS: u64 = 3_600_000;
/// Milliseconds for bringing the state back: default, the least and the most. The session's next
/// call waits for it.
const TIMEOUT_MS: u64 = 30_000;
const MIN_TIMEOUT_MS: u64 = 100;
const MAX_TIMEOUT_MS: u64 = 600_000;

/// The plan, and the programs that it names.
#[derive(Clone, PartialEq, Eq)]
pub struct StateSettings {
    pub plan: StatePlan,
    /// The program that writes the state, with its arguments.
    pub save: Option<Vec<String>>,
    /// The program that reads it.
    pub restore: Option<Vec<String>>,
}

/// What one action is, and the program if it runs one.
type Action = (StateAction, Option<Vec<String>>);

/// Reads `state`, if the entry has it. `word` reads an argument with its variables replaced.
/// `None` also if there is a mistake, which is a finding then.
pub(in crate::config) fn read(
    entry: &Section<'_>,
    is_process: bool,
    mut word: impl FnMut(&Item<'_>) -> Option<String>,
) -> Option<StateSettings> {
    let item = entry.get("state")?;
    let state = item.section();
    state.object?;
    let known = ["replay", "save", "restore", "timeoutMs", "maxCalls", "maxBytes", "maxAgeMs"];
    refuse_unknown(&state, &known);
    let has = |key| state.get(key).is_some();
    if !has("replay") && !has("save") && !has("restore") {
        item.refuse(
            "says of no state how it comes along",
            "add \"replay\", or \"save\" and \"restore\"",
        );
        return None;
    }
    for key in ["maxCalls", "maxAgeMs"] {
        if let Some(item) = state.get(key).filter(|_| !has("replay")) {
            item.refuse("is about \"replay\", which is absent", "add \"replay\", or remove it");
        }
    }
    let mut action = |item: &Item<'_>, is_save| action(item, is_process, is_save, &mut word);
    let save = state.get("save").map(|item| (action(&item, true), every(&item)));
    let restore = state.get("restore").map(|item| restoring(&item, |item| action(item, false)));
    let saving = match (save, restore) {
        (Some((save, every)), Some(restore)) => Some((save?, every, restore?)),
        (None, None) => None,
        (Some(_), None) => {
            let advice = "add \"restore\": what is saved must be read again";
            state.refuse_key("restore", "is missing beside \"save\"", advice);
            return None;
        }
        (None, Some(_)) => {
            let advice = "add \"save\": there is nothing to restore otherwise";
            state.refuse_key("save", "is missing beside \"restore\"", advice);
            return None;
        }
    };
    let replay = match state.get("replay") {
        Some(item) => Some(replay(&state, &item, saving.is_some())?),
        None => None,
    };
    let most_bytes = state.whole("maxBytes", BYTES, MIN_BYTES..=MAX_BYTES);
    let timeout = state.whole("timeoutMs", TIMEOUT_MS, MIN_TIMEOUT_MS..=MAX_TIMEOUT_MS);
    let mut commands = (None, None);
    let saving = saving.map(|((save, program), every, restore)| {
        commands.0 = program;
        let restore = restore.into_iter().map(|(action, program)| {
            commands.1 = program.or(commands.1.take());
            action
        });
        Saving { save, restore: restore.collect(), every }
    });
    let plan = StatePlan {
        replay,
        saving,
        timeout: Duration::from_millis(timeout),
        most_bytes: usize::try_from(most_bytes).unwrap_or(usize::MAX),
    };
    Some(StateSettings { plan, save: commands.0, restore: commands.1 })
}

fn replay(state: &Section<'_>, item: &Item<'_>, is_saved: bool) -> Option<Replay> {
    let rules = match item.value {
        Value::StringLit(text) if text.value == "annotated" => Vec::new(),
        Value::Array(array) if !array.elements.is_empty() => rules(item, is_saved)?,
        Value::Array(_) => {
            item.refuse("is empty", "name the tools that set state, or write \"annotated\"");
            return None;
        }
        _ => {
            let advice = "write [\"a_tool\", \"set_*\"], or \"annotated\"";
            return item.wrong_type("a list of tools", advice);
        }
    };
    let most_calls = state.whole("maxCalls", CALLS, 1..=MAX_CALLS);
    let max_age = state.whole("maxAgeMs", MAX_AGE_MS, 1..=MAX_AGE_MS);
    let most_calls = usize::try_from(most_calls).unwrap_or(usize::MAX);
    Some(Replay { rules, most_calls, max_age: Duration::from_millis(max_age) })
}

fn rules(list: &Item<'_>, is_saved: bool) -> Option<Vec<KeepRule>> {
    let items = list.items();
    if items.len() > MAX_RULES {
        list.refuse(format!("has more than {MAX_RULES} entries"), "use patterns such as \"set_*\"");
        return None;
    }
    let mut rules: Vec<KeepRule> = Vec::new();
    let mut is_whole = true;
    for item in items {
        let Some(rule) = rule(&item, is_saved) else {
            is_whole = false;
            continue;
        };
        if rules.iter().any(|known| known.tool == rule.tool) {
            item.refuse(format!("names {} once more", quote(&rule.tool)), "keep one of them");
            is_whole = false;
        }
        rules.push(rule);
    }
    is_whole.then_some(rules)
}

const KEEP: [(&str, Keep); 3] =
    [("all", Keep::All), ("last", Keep::Last), ("sinceSave", Keep::SinceSave)];

/// `"set_*"`, or `{"tool": "go", "keep": "last", "errors": true}`.
fn rule(item: &Item<'_>, is_saved: bool) -> Option<KeepRule> {
    if matches!(item.value, Value::StringLit(_)) {
        return Some(KeepRule { tool: name(item)?, keep: Keep::All, errors: false });
    }
    let section = item.section();
    section.object?;
    refuse_unknown(&section, &["tool", "keep", "errors"]);
    let Some(tool) = section.get("tool") else {
        section.refuse_key("tool", "is missing", "name a tool, or a pattern such as \"set_*\"");
        return None;
    };
    let keep = match section.get("keep") {
        Some(_) => section.choice("keep", "choice of calls", &KEEP)?,
        None => Keep::All,
    };
    if let Some(item) = section.get("keep").filter(|_| keep == Keep::SinceSave && !is_saved) {
        item.refuse("needs \"save\", which is absent", "add \"save\" and \"restore\"");
        return None;
    }
    let errors = match section.get("errors") {
        Some(item) => item.flag()?,
        None => false,
    };
    Some(KeepRule { tool: name(&tool)?, keep, errors })
}

fn name(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let problem = match text.len() {
        0 => "is empty",
        1..=MAX_NAME => return Some(text),
        _ => "is longer than any tool's name",
    };
    item.refuse(problem, "write the name of a tool of this server");
    None
}

/// How often the state is saved.
fn every(save: &Item<'_>) -> Duration {
    let every = match save.value {
        Value::Object(_) => save.section().whole("everyMs", EVERY_MS, MIN_EVERY_MS..=MAX_EVERY_MS),
        _ => EVERY_MS,
    };
    Duration::from_millis(every)
}

/// One action, or a list of tools.
fn restoring(
    item: &Item<'_>,
    mut action: impl FnMut(&Item<'_>) -> Option<Action>,
) -> Option<Vec<Action>> {
    if !matches!(item.value, Value::Array(_)) {
        return Some(vec![action(item)?]);
    }
    let items = item.items();
    if items.is_empty() {
        item.refuse("is empty", "name the tool that restores the state");
        return None;
    }
    if items.len() > MAX_STEPS {
        item.refuse(format!("has more than {MAX_STEPS} entries"), "use fewer");
        return None;
    }
    let actions: Vec<Option<Action>> = items.iter().map(action).collect();
    let actions: Vec<Action> = actions.into_iter().collect::<Option<_>>()?;
    if actions.len() > 1 && actions.iter().any(|(_, program)| program.is_some()) {
        item.refuse("has a command in a list", "a command stands alone: write { \"command\": … }");
        return None;
    }
    Some(actions)
}

fn action(
    item: &Item<'_>,
    is_process: bool,
    is_save: bool,
    word: &mut impl FnMut(&Item<'_>) -> Option<String>,
) -> Option<Action> {
    let section = item.section();
    section.object?;
    let known: &[&str] = match is_save {
        true => &["tool", "arguments", "command", "args", "everyMs"],
        false => &["tool", "arguments", "command", "args"],
    };
    refuse_unknown(&section, known);
    match (section.get("tool"), section.get("command")) {
        (Some(_), Some(_)) => {
            item.refuse("has both a tool and a command", "keep one of them");
            None
        }
        (None, None) => {
            item.refuse("has neither a tool nor a command", "add one of them");
            None
        }
        (Some(tool), None) => {
            refuse_beside(&section, "args", "tool");
            let arguments = arguments(&section, is_save)?;
            Some((StateAction::Tool { name: name(&tool)?, arguments: arguments.into() }, None))
        }
        (None, Some(command)) => {
            refuse_beside(&section, "arguments", "command");
            if !is_process {
                let advice = "name a tool: a program runs beside a server that is a process";
                command.refuse("cannot be run for a server behind a URL", advice);
                return None;
            }
            let program = word(&command)?;
            if program.trim().is_empty() {
                command.refuse("is empty", "give it a value");
                return None;
            }
            let args: Vec<_> = section.items("args").iter().map(word).collect();
            let args: Vec<String> = args.into_iter().collect::<Option<_>>()?;
            Some((StateAction::Command, Some([vec![program], args].concat())))
        }
    }
}

/// The arguments as JSON. There is no state yet when it is saved.
fn arguments(section: &Section<'_>, is_save: bool) -> Option<String> {
    let Some(item) = section.get("arguments") else { return Some("{}".to_owned()) };
    let object = item.section().object?;
    let text = json::object(Some(object), &[]);
    if text.len() > MAX_ARGUMENTS {
        item.refuse(format!("is longer than {MAX_ARGUMENTS} bytes"), "shorten it");
        return None;
    }
    if is_save && text.contains("{{state") {
        item.refuse("has {{state}}, which is what \"save\" is to find out", "remove it");
        return None;
    }
    Some(text)
}

fn refuse_beside(section: &Section<'_>, key: &str, other: &str) {
    if let Some(item) = section.get(key) {
        item.refuse(format!("has no meaning beside {other:?}"), "remove it");
    }
}
