//! Warnings about keys that Mooring does not read: those of MCPHub, and unknown ones.
//! Every key is optional, so a misspelt one would otherwise go unnoticed.

use std::collections::BTreeMap;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use super::finding::Notes;
use super::keys::{ACCEPTED, USED};
use super::nearest::nearest;
use super::place::Place;
use super::strategies;

/// The section that holds a plugin's own settings.
const STRATEGY_SETTINGS: &str = "systemConfig.cluster.stickySession";

/// Most keys that a finding lists; with more it lists none.
const MAX_LISTED: usize = 12;

pub(in crate::config) fn is_used(pattern: &str) -> bool {
    let opaque = |used: &&str| is_below(pattern, used) && children(used).is_empty();
    USED.contains(&pattern) || USED.iter().any(opaque)
}

/// Warns of every key that has no effect.
pub(in crate::config) fn warn_of_unread(root: &Object<'_>, notes: &Notes<'_>) {
    let mut walk = Walk { notes, accepted: BTreeMap::new() };
    walk.object(root, &Place::root());
    for (place, count) in walk.accepted.into_values() {
        let more = match count {
            1 => String::new(),
            n => format!(", here and in {} more places", n - 1),
        };
        let message = format!("is a setting of MCPHub that is accepted but not used yet{more}");
        notes.warn(&place, message, "");
    }
}

struct Walk<'w> {
    notes: &'w Notes<'w>,
    /// Accepted keys by pattern: the first place, and the number of places.
    accepted: BTreeMap<String, (Place, usize)>,
}

impl Walk<'_> {
    fn object(&mut self, object: &Object<'_>, place: &Place) {
        if is_plugin_settings(object, place) {
            return;
        }
        let children = children(&place.pattern);
        for property in &object.properties {
            let (name, at) = (property.name.as_str(), property.name.start());
            if children.contains(&"*") {
                self.value(&property.value, &place.entry(name, at));
                continue;
            }
            let here = place.key(name, at);
            if USED.contains(&here.pattern.as_str()) {
                self.value(&property.value, &here);
            } else if ACCEPTED.contains(&here.pattern.as_str()) {
                let first = || (here.clone(), 0);
                let entry = self.accepted.entry(here.pattern.clone());
                entry.or_insert_with(first).1 += 1;
            } else {
                let advice = advice(name, place, &children);
                self.notes.warn(&here, "is not a known key", advice);
            }
        }
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

fn advice(name: &str, place: &Place, siblings: &[&str]) -> String {
    if let Some(found) = nearest(name, siblings) {
        format!("did you mean {found:?}?")
    } else if let Some(home) = home_of(name).filter(|_| is_about_the_system(place)) {
        format!("it belongs in {home}")
    } else if siblings.len() <= MAX_LISTED {
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
