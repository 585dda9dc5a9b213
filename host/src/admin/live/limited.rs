//! What of a look is for a caller to whom the operator's rules leave some servers only.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::model::{Rights, ServerName};

use super::difference::{LiveState, Section};

/// The same look without what the caller may not see. The log, which is of everything, is not there.
pub fn limited(state: &LiveState, rights: &Rights) -> LiveState {
    if state.head.is_empty() {
        return LiveState::default();
    }
    let sections: BTreeMap<&'static str, Section> = state
        .sections
        .iter()
        .filter(|(name, _)| **name != "log")
        .map(|(name, section)| (*name, seen(name, section, rights)))
        .collect();
    let count = |name: &str| sections.get(name).map_or(0, BTreeMap::len);
    let head = changed(&state.head, |head| {
        // Of these it cannot be told what they are about.
        head["problems"] = Value::Array(Vec::new());
        for counted in ["callsPerSecond", "errorsPerSecond"] {
            head[counted] = Value::Null;
        }
        head["hasMoreInstances"] = false.into();
        head["errorsLeftOut"] = 0.into();
        head["servers"] = count("servers").into();
        head["sessions"] = count("sessions").into();
        Some(())
    });
    LiveState { head: head.unwrap_or_default(), sections }
}

fn seen(name: &str, section: &Section, rights: &Rights) -> Section {
    let has = |server: &str| ServerName::parse(server).is_ok_and(|server| rights.has(&server));
    let has_named = |entry: &Value| entry["server"].as_str().is_some_and(has);
    let entry = |key: &str, text: &Arc<str>| match name {
        "servers" => has(key).then(|| Arc::clone(text)),
        "nodes" => changed(text, |entry| {
            // They count what others use too.
            for counted in ["servers", "bindings"] {
                entry[counted] = Value::Null;
            }
            Some(())
        }),
        "sessions" => changed(text, |entry| {
            let servers = entry["servers"].as_array_mut()?;
            servers.retain(has_named);
            let count = servers.len();
            entry["count"] = count.into();
            (count > 0).then_some(())
        }),
        _ => {
            let parsed: Value = serde_json::from_str(text).ok()?;
            has_named(&parsed).then(|| Arc::clone(text))
        }
    };
    section.iter().filter_map(|(key, text)| Some((key.clone(), entry(key, text)?))).collect()
}

/// An entry that was changed; `None` if the change leaves nothing of it.
fn changed(text: &str, change: impl FnOnce(&mut Value) -> Option<()>) -> Option<Arc<str>> {
    let mut entry: Value = serde_json::from_str(text).ok()?;
    change(&mut entry)?;
    Some(entry.to_string().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::{Policy, Rule, RuleEntries, RuleSubject, Who};

    use super::*;

    fn rights(server: &str) -> Rights {
        let rule = Rule {
            name: "r".into(),
            allows: true,
            who: Who::default(),
            servers: vec![server.to_owned()],
            targets: Vec::new(),
            entries: RuleEntries::default(),
            manages: true,
        };
        let policy = Policy { rules: vec![Arc::new(rule)] };
        let holder = RuleSubject { principal: "p", key: None, groups: &[] };
        policy.rights(&policy.numbers(holder))
    }

    #[test]
    fn what_is_of_other_servers_is_left_out() {
        let section = |entries: &[(&str, &str)]| {
            let entry = |(key, text): &(&str, &str)| ((*key).to_owned(), Arc::from(*text));
            entries.iter().map(entry).collect::<Section>()
        };
        let state = LiveState {
            head: r#"{"mode":"standalone","servers":2,"sessions":9,"problems":["of b"],
                "callsPerSecond":7.5}"#
                .into(),
            sections: BTreeMap::from([
                ("nodes", section(&[("n", r#"{"id":"n","servers":2,"bindings":9}"#)])),
                ("servers", section(&[("a", r#"{"name":"a"}"#), ("b", r#"{"name":"b"}"#)])),
                ("instances", section(&[("1", r#"{"server":"a"}"#), ("2", r#"{"server":"b"}"#)])),
                ("decisions", section(&[("1", r#"{"server":"b"}"#)])),
                (
                    "sessions",
                    section(&[
                        ("x", r#"{"servers":[{"server":"a"},{"server":"b"}],"count":2}"#),
                        ("y", r#"{"servers":[{"server":"b"}],"count":1}"#),
                    ]),
                ),
                ("errors", section(&[("1", r#"{"server":"a"}"#), ("2", r#"{"server":""}"#)])),
                ("limits", section(&[("sessions", r#"{"name":"sessions","used":9}"#)])),
                ("log", section(&[("1", r#"{"text":"b"}"#)])),
            ]),
        };
        let seen = limited(&state, &rights("a"));
        let text = format!("{seen:?}");
        assert!(!text.contains(r#"\"b\""#) && !text.contains("of b"), "{text}");
        let head: Value = serde_json::from_str(&seen.head).unwrap();
        assert_eq!([&head["servers"], &head["sessions"]], [1, 1]);
        assert_eq!((&head["mode"], &head["callsPerSecond"]), (&"standalone".into(), &Value::Null));
        assert_eq!((seen.sections["errors"].len(), seen.sections["limits"].len()), (1, 0));
        let entry = |name: &str, key: &str| {
            serde_json::from_str::<Value>(&seen.sections[name][key]).unwrap()
        };
        assert_eq!(entry("sessions", "x"), json!({"servers": [{"server": "a"}], "count": 1}));
        assert_eq!(entry("nodes", "n"), json!({"id": "n", "servers": null, "bindings": null}));
        assert_eq!(seen.sections["instances"].len(), 1);
        assert!(seen.sections["decisions"].is_empty() && !seen.sections.contains_key("log"));
        assert_eq!(limited(&LiveState::default(), &rights("a")), LiveState::default());
    }
}
