//! `systemConfig.policy`: the table of who may use what.
//!
//! A mistake refuses the start, as does a member that is not known: it may be meant to narrow a rule.

use std::collections::HashSet;

use jsonc_parser::ast::Value;

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::model::{RuleEntries, Who};

use super::lists::{names, refuse_unknown};

/// Rules of one table.
const MAX_RULES: usize = 1000;
/// Bytes of a rule's name.
const MAX_NAME: usize = 128;

pub(in crate::config) const MEMBERS: [&str; 9] =
    ["name", "effect", "who", "servers", "groups", "tools", "prompts", "resources", "management"];
pub(in crate::config) const WHO: [&str; 3] = ["principals", "keys", "groups"];

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// What logs call it; unique.
    pub name: String,
    /// Whether it allows; otherwise it denies.
    pub allows: bool,
    pub who: Who,
    /// Patterns of servers.
    pub servers: Vec<String>,
    /// Names or ids of groups of servers.
    pub groups: Vec<String>,
    pub entries: RuleEntries,
    /// Whether it is about the management API.
    pub manages: bool,
}

/// Reads the table; `None` if there is none, and everything may be used.
pub(in crate::config) fn read(
    system: &Section<'_>,
    sources: &Sources<'_>,
) -> Option<Vec<PolicyRule>> {
    let item = system.get("policy")?;
    if !matches!(item.value, Value::Array(_)) {
        return item.wrong_type("a list of rules", "write [ { \"effect\": \"allow\", … } ]");
    }
    let items = item.items();
    if items.len() > MAX_RULES {
        item.refuse(format!("has more than {MAX_RULES} rules"), "use patterns, with *");
        return None;
    }
    if items.is_empty() {
        let advice = "add a rule with \"effect\": \"allow\", or remove the table";
        item.warn("is empty, so that nobody may use anything", advice);
    }
    let mut known = HashSet::new();
    let mut rules = Vec::new();
    for (item, number) in items.iter().zip(1..) {
        let Some(rule) = rule(item, number, sources) else { continue };
        if known.insert(rule.name.clone()) {
            rules.push(rule);
        } else {
            let message = format!("is called {}, as an earlier rule", quote(&rule.name));
            item.refuse(message, "give it a name of its own");
        }
    }
    Some(rules)
}

fn rule(item: &Item<'_>, number: usize, sources: &Sources<'_>) -> Option<PolicyRule> {
    let section = item.section();
    section.object?;
    refuse_unknown(&section, &MEMBERS);
    let effects = [("allow", true), ("deny", false)];
    if section.get("effect").is_none() {
        section.refuse_key("effect", "is missing", "write \"allow\" or \"deny\"");
    }
    let allows = section.choice("effect", "kind of effect", &effects)?;
    let name = match section.get("name") {
        Some(item) => {
            let text = item.text()?;
            if text.is_empty() || text.len() > MAX_NAME {
                item.refuse("is empty or too long", format!("use up to {MAX_NAME} bytes"));
                return None;
            }
            text
        }
        None => format!("rule {number}"),
    };
    let list = |key: &str| names(&section, key, sources);
    let (servers, groups) = (list("servers")?, list("groups")?);
    let entries = RuleEntries {
        tools: list("tools")?,
        prompts: list("prompts")?,
        resources: list("resources")?,
    };
    let manages = section.flag("management", false);
    let is_about_servers = entries != RuleEntries::default() || !manages;
    // A rule that names neither is about all servers; one for the management API alone is not.
    let all = || match groups.is_none() && is_about_servers {
        true => vec!["*".to_owned()],
        false => Vec::new(),
    };
    Some(PolicyRule {
        name,
        allows,
        who: who(&section, sources)?,
        servers: servers.unwrap_or_else(all),
        groups: groups.unwrap_or_default(),
        entries,
        manages,
    })
}

/// Whom a rule is for: everybody, unless it says so.
pub(in crate::config) fn who(rule: &Section<'_>, sources: &Sources<'_>) -> Option<Who> {
    let Some(item) = rule.get("who") else { return Some(Who::default()) };
    let section = item.section();
    section.object?;
    refuse_unknown(&section, &WHO);
    let list = |key: &str| names(&section, key, sources);
    Some(Who { principals: list("principals")?, keys: list("keys")?, groups: list("groups")? })
}
