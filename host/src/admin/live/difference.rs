//! What has changed between two looks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::protocol::splice::quoted;

/// What is seen in one look: sections of entries, each as JSON under a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LiveState {
    /// What concerns the process as a whole; empty before the first look.
    pub head: Arc<str>,
    pub sections: BTreeMap<&'static str, Section>,
}

pub type Section = BTreeMap<String, Arc<str>>;

/// `{"head":…,"sections":{"nodes":{"set":{key:…},"gone":[key,…]}}}`, without what has not changed.
/// `None` if nothing has.
pub fn difference(before: &LiveState, now: &LiveState) -> Option<String> {
    if now.head.is_empty() {
        return None;
    }
    let none = Section::new();
    let changed = now
        .sections
        .iter()
        .filter(|(name, section)| before.sections.get(*name).unwrap_or(&none) != *section);
    let names: Vec<&'static str> = changed.map(|(name, _)| *name).collect();
    let is_head = before.head != now.head;
    if names.is_empty() && !is_head {
        return None;
    }
    let mut out = String::from("{");
    if is_head {
        // Writing into a string cannot fail.
        let _ = write!(out, "\"head\":{},", now.head);
    }
    out.push_str("\"sections\":{");
    for (at, name) in names.iter().enumerate() {
        let old = before.sections.get(name).unwrap_or(&none);
        let new = now.sections.get(name).unwrap_or(&none);
        let set = new.iter().filter(|(key, entry)| old.get(*key) != Some(*entry));
        let set: Vec<String> = set.map(|(key, entry)| format!("{}:{entry}", quoted(key))).collect();
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        let gone: Vec<String> = gone.map(|key| quoted(key)).collect();
        let comma = if at == 0 { "" } else { "," };
        let (set, gone) = (set.join(","), gone.join(","));
        let _ = write!(out, "{comma}\"{name}\":{{\"set\":{{{set}}},\"gone\":[{gone}]}}");
    }
    out.push_str("}}");
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(head: &str, nodes: &[(&str, &str)]) -> LiveState {
        let section = nodes.iter().map(|(key, entry)| ((*key).to_owned(), (*entry).into()));
        LiveState {
            head: head.into(),
            sections: BTreeMap::from([("nodes", section.collect()), ("log", Section::new())]),
        }
    }

    fn told(before: &LiveState, now: &LiveState) -> Value {
        serde_json::from_str(&difference(before, now).unwrap()).unwrap()
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let (empty, first) = (LiveState::default(), state("1", &[("a", "{}"), ("b\"", "2")]));
        assert_eq!(difference(&empty, &LiveState::default()), None);
        assert_eq!(
            told(&empty, &first),
            json!({"head": 1, "sections": {"nodes": {"set": {"a": {}, "b\"": 2}, "gone": []}}})
        );
        assert_eq!(difference(&first, &state("1", &[("a", "{}"), ("b\"", "2")])), None);
        let later = state("1", &[("a", "{}"), ("c", "3")]);
        assert_eq!(
            told(&first, &later),
            json!({"sections": {"nodes": {"set": {"c": 3}, "gone": ["b\""]}}})
        );
        assert_eq!(
            told(&later, &state("2", &[("a", "{}"), ("c", "3")])),
            json!({"head": 2, "sections": {}})
        );
    }
}
