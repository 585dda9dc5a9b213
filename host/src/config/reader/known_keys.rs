//! Warnings about keys that Mooring does not read: those of MCPHub and of clients, and unknown ones.
//! Every key is optional, so a misspelt one would otherwise go unnoticed.

use std::collections::BTreeMap;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;

use super::finding::Notes;
use super::keys::{ACCEPTED, AMBIGUOUS, IGNORED, USED};
use super::place::Place;
use super::words::nearest::nearest;
use super::words::{server_like, server_words, spellings, strategies, switches, tool_lists};

/// The section that holds a plugin's own settings.
const STRATEGY_SETTINGS: &str = "systemConfig.cluster.stickySession";

/// Most keys that a finding lists; with more it lists none.
const MAX_LISTED: usize = 12;

pub(in crate::config) fn is_used(pattern: &str) -> bool {
    let opaque = |used: &&str| is_below(pattern, used) && children(used).is_empty();
    USED.contains(&pattern) || USED.iter().any(opaque)
}

/// Warns of every key that has no effect, once for each kind of place that it is in.
pub(in crate::config) fn warn_of_unread(root: &Object<'_>, notes: &Notes<'_>) {
    let mut walk = Walk { unread: BTreeMap::new() };
    walk.object(root, &Place::root());
    for Unread { place, message, advice, count } in walk.unread.into_values() {
        let more = match count {
            1 => String::new(),
            n => format!(", here and in {} more places", n - 1),
        };
        notes.warn(&place, format!("{message}{more}"), advice);
    }
}

/// A key to warn of: its first place, and the number of places.
struct Unread {
    place: Place,
    message: String,
    advice: String,
    count: usize,
}

struct Walk {
    /// By pattern.
    unread: BTreeMap<String, Unread>,
}

impl Walk {
    fn object(&mut self, object: &Object<'_>, place: &Place) {
        if is_plugin_settings(object, place) {
            return;
        }
        let children = children(&place.pattern);
        for property in &object.properties {
            let (name, at) = (property.name.as_str(), property.name.start());
            if children.contains(&"*") {
                self.value(&property.value, &place.entry(name, at));
            } else if !(is_note(name) || is_empty(&property.value)) {
                self.property(object, property, place, &children);
            }
        }
    }

    fn property(
        &mut self,
        object: &Object<'_>,
        property: &ObjectProp<'_>,
        place: &Place,
        children: &[&str],
    ) {
        let name = property.name.as_str();
        let mut here = place.key(name, property.name.start());
        if let Some(meant) = spellings::meant(&place.pattern, name) {
            let key = meant.rsplit_once('.').map_or(meant, |(_, key)| key);
            let chosen = spellings::chosen(object, meant, key).map(|chosen| chosen.name.as_str());
            if let Some(chosen) = chosen.filter(|chosen| *chosen != name) {
                let message = format!("has no effect beside {chosen:?}");
                return self.unread(here, message, "keep one of them");
            }
            meant.clone_into(&mut here.pattern);
        }
        let pattern = here.pattern.as_str();
        if USED.contains(&pattern) {
            self.value(&property.value, &here);
            if let Some((_, how, advice)) = AMBIGUOUS.iter().find(|known| known.0 == pattern) {
                self.unread(here, *how, *advice);
            }
        } else if let Some((_, why)) = IGNORED.iter().find(|(ignored, _)| *ignored == pattern) {
            self.unread(here, "is a setting of other clients and has no effect here", *why);
        } else if ACCEPTED.contains(&pattern) {
            if !is_off(&property.value) {
                self.unread(here, "is a setting of MCPHub that is accepted but not used yet", "");
            }
        } else if !is_restriction(place, name, &property.value) {
            let advice = server_like::advice(place, property)
                .unwrap_or_else(|| advice(name, place, children));
            self.unread(here, "is not a known key", advice);
        }
    }

    fn unread(&mut self, place: Place, message: impl Into<String>, advice: impl Into<String>) {
        let (message, advice, count) = (message.into(), advice.into(), 0);
        let entry = self.unread.entry(place.pattern.clone());
        entry.or_insert(Unread { place, message, advice, count }).count += 1;
    }

    fn value(&mut self, value: &Value<'_>, place: &Place) {
        match value {
            Value::Object(object) if !children(&place.pattern).is_empty() => {
                self.object(object, place);
            }
            // A list that is written as an object.
            Value::Object(object) if USED.contains(&format!("{}[]", place.pattern).as_str()) => {
                for property in &object.properties {
                    let (name, at) = (property.name.as_str(), property.value.start());
                    self.value(&property.value, &place.named_index(name, at));
                }
            }
            Value::Array(array) => {
                for (i, element) in array.elements.iter().enumerate() {
                    self.value(element, &place.index(i, element.start()));
                }
            }
            _ => {}
        }
    }
}

/// Whether a key restricts what there is, in words of other clients that are honoured.
fn is_restriction(place: &Place, name: &str, value: &Value<'_>) -> bool {
    match place.pattern.as_str() {
        "" => server_words::of("", name).is_some() || server_words::is_section(name, value),
        "mcpServers.*" => tool_lists::of(name).is_some() || switches::says(name).is_some(),
        "mcpServers.*.tools.*" | "mcpServers.*.prompts.*" | "mcpServers.*.resources.*" => {
            switches::says_of_shown(name).is_some()
        }
        // Of VS Code: a server with them is refused, or has them switched off.
        "mcpServers.*.sandbox" => name == "filesystem",
        _ => false,
    }
}

/// Whether a key is a remark, by the habits of files without comments, or names the schema.
pub(in crate::config) fn is_note(name: &str) -> bool {
    name.starts_with('_') || name.starts_with("//") || name == "$schema"
}

/// Whether a value says nothing. So does one that has empty ones alone in it.
fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::NullKeyword(_) => true,
        Value::StringLit(string) => string.value.trim().is_empty(),
        Value::Array(array) => array.elements.iter().all(is_empty),
        Value::Object(object) => object.properties.iter().all(|entry| is_empty(&entry.value)),
        Value::NumberLit(_) | Value::BooleanLit(_) => false,
    }
}

/// Whether the value is false, or an object with `"enabled": false`.
fn is_off(value: &Value<'_>) -> bool {
    match value {
        Value::BooleanLit(boolean) => !boolean.value,
        Value::Object(object) => {
            object.get_boolean("enabled").is_some_and(|enabled| !enabled.value)
        }
        _ => false,
    }
}

fn advice(name: &str, place: &Place, siblings: &[&str]) -> String {
    if let Some(found) = nearest(name, siblings) {
        format!("did you mean {found:?}?")
    } else if let Some(home) = home_of(name).filter(|_| is_about_the_system(place)) {
        format!("it belongs in {home}")
    } else if siblings.len() <= MAX_LISTED && !place.pattern.is_empty() {
        format!("known keys here: {}", siblings.join(", "))
    } else {
        String::new()
    }
}

/// Whether a misplaced key of `systemConfig` is likely here.
fn is_about_the_system(place: &Place) -> bool {
    place.pattern.is_empty() || place.pattern.starts_with("systemConfig")
}

/// Whether the object holds a plugin's settings, which Mooring cannot know.
fn is_plugin_settings(object: &Object<'_>, place: &Place) -> bool {
    place.pattern == STRATEGY_SETTINGS
        && object
            .get_string("strategy")
            .is_some_and(|strategy| strategies::is_plugin(&strategy.value))
}

/// The key names directly below a pattern, from both tables.
fn children(pattern: &str) -> Vec<&'static str> {
    let below = |known: &&'static str| match pattern {
        "" => Some(*known),
        _ => known.strip_prefix(pattern)?.strip_prefix('.'),
    };
    let mut names: Vec<_> = USED
        .iter()
        .chain(ACCEPTED)
        .filter_map(below)
        .filter(|rest| !rest.contains(['.', '[']))
        .collect();
    names.dedup();
    names
}

/// The section of `systemConfig` that a key belongs in, if there is exactly one.
fn home_of(name: &str) -> Option<&'static str> {
    let mut homes = USED
        .iter()
        .filter_map(|known| known.rsplit_once('.'))
        .filter(|(home, last)| *last == name && home.starts_with("systemConfig"));
    match (homes.next(), homes.next()) {
        (Some((home, _)), None) => Some(home),
        _ => None,
    }
}

fn is_below(pattern: &str, parent: &str) -> bool {
    pattern.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}
