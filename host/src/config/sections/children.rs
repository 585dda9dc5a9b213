//! What child processes get beside their own `env`: `systemConfig.inheritEnv` and
//! `systemConfig.install`.

use crate::config::reader::expand::expand;
use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

/// Variables of the gateway's own: none of them is for servers.
const OWN: &str = "MOORING_";

/// Variables for child processes. `Debug` prints no value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildVariables {
    /// Those of the gateway's environment that the operator names, with their values; `None` if one
    /// is not set.
    pub inherited: Vec<(String, Option<Secret>)>,
    /// The registry from which npx and its like install.
    pub npm_registry: Option<Secret>,
    /// The index from which uvx and its like install.
    pub python_index: Option<Secret>,
}

pub(in crate::config) fn read(system: &Section<'_>, sources: &Sources<'_>) -> ChildVariables {
    // A mistake here costs a variable, not the start.
    let system = &system.clone().lenient_unless(false);
    let install = system.section("install");
    let url = |key| install.get(key).and_then(|item| url(&item, sources));
    ChildVariables {
        inherited: inherited(system, sources),
        npm_registry: url("npmRegistry"),
        python_index: url("pythonIndexUrl"),
    }
}

/// A mistake costs its variable alone.
fn inherited(system: &Section<'_>, sources: &Sources<'_>) -> Vec<(String, Option<Secret>)> {
    let mut found: Vec<(String, Option<Secret>)> = Vec::new();
    for item in system.items("inheritEnv") {
        let Some(name) = item.value.as_string_lit().map(|text| text.value.clone().into_owned())
        else {
            item.warn("must be the name of a variable", "write it in quotes");
            continue;
        };
        if name.is_empty() || name.contains(|c: char| c == '=' || c.is_control()) {
            item.warn("is not the name of a variable", "use letters, digits and _");
        } else if name.starts_with(OWN) {
            let message = format!("{} is the gateway's own, so no server gets it", quote(&name));
            item.warn(message, "set another variable, or the server's own \"env\"");
        } else if !found.iter().any(|(known, _)| *known == name) {
            let value = (sources.env)(&name).map(Secret::new);
            if value.is_none() {
                item.warn(format!("{} is not set", quote(&name)), "set it, or remove it here");
            }
            found.push((name, value));
        }
    }
    found
}

/// A URL that may hold credentials; its variables are replaced. An empty one is none.
fn url(item: &Item<'_>, sources: &Sources<'_>) -> Option<Secret> {
    let written = item.text()?;
    let text = match expand(&written, sources) {
        Ok(text) => text.trim().to_owned(),
        Err(problem) => {
            item.warn(problem.to_string(), "until it is set, servers do not get this URL");
            return None;
        }
    };
    if text.is_empty() {
        return None;
    }
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    if !is_url || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        item.warn("is not an http:// or https:// URL, so servers do not get it", "correct it");
        return None;
    }
    Some(Secret::new(text))
}
