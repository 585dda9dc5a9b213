//! What other clients' files show and hide of a server's tools, prompts and resources.

use super::servers::{only, server};
use super::*;

#[test]
fn tools_in_a_list_are_those_that_are_shown() {
    for (entry, shown, hidden) in [
        (r#"{"command": "x", "tools": ["*"]}"#, vec!["a", "b"], vec![]),
        (r#"{"command": "x", "tools": ["a", "c"]}"#, vec!["a", "c"], vec!["b"]),
        (r#"{"command": "x", "tools": ["a"], "includeTools": ["b"]}"#, vec![], vec!["a", "b"]),
        (r#"{"command": "x", "tools": ["*"], "disabledTools": ["b"]}"#, vec!["a"], vec!["b"]),
    ] {
        let made = only(server(entry).warns(&[]));
        let is_shown = |name: &str| {
            let tools = &made.tools;
            tools.get(name).or(tools.get("*")).is_none_or(|choice| choice.enabled)
        };
        assert!(shown.iter().all(|name| is_shown(name)), "{entry}");
        assert!(!hidden.iter().any(|name| is_shown(name)), "{entry}");
    }
    let config = server(r#"{"command": "x", "tools": [1]}"#).warns_until(
        "until then this server does not run",
        &["1:49: mcpServers.a.tools[0]: must be a string, not a number; write it in quotes"],
    );
    assert!(!only(config).tools["*"].enabled);
}

#[test]
fn an_empty_list_of_tools_shows_none() {
    let warning = "1:48: mcpServers.a.tools: is an empty list: no tool is shown; remove it, or write {}, \
                   to show them";
    let made = only(server(r#"{"command": "x", "tools": []}"#).warns(&[warning]));
    assert!(made.misconfigured.is_none() && !made.tools["*"].enabled);
    for members in [r#""tools": {}"#, r#""tools": null"#, r#""tools": ["*"]"#] {
        let made = only(server(&format!(r#"{{"command": "x", {members}}}"#)).warns(&[]));
        assert!(made.tools.is_empty(), "{members}");
    }
}

#[test]
fn tags_that_show_or_hide_stop_their_server() {
    for (members, reason) in [
        (r#""include_tags": ["a"]"#, Some("include_tags")),
        (r#""include_tags": []"#, Some("include_tags")),
        (r#""exclude_tags": ["a"]"#, Some("exclude_tags")),
        (r#""exclude_tags": "a""#, Some("exclude_tags")),
        (r#""exclude_tags": []"#, None),
        (r#""include_tags": null"#, None),
    ] {
        let made = only(server(&format!(r#"{{"command": "x", {members}}}"#)).config());
        let says =
            reason.map(|key| format!("{key} shows or hides by tags, which cannot be honoured"));
        assert_eq!(made.misconfigured, says, "{members}");
        let is_hidden = made.tools.get("*").is_some_and(|others| !others.enabled);
        assert_eq!(is_hidden, reason.is_some(), "{members}");
        assert_eq!(made.prompts.contains_key("*"), reason.is_some(), "{members}");
    }
}

#[test]
fn lists_of_tools_become_choices_by_name() {
    let shown = |entry: &str| {
        let server = only(server(entry).config());
        let choices = server.tools.iter().map(|(name, choice)| (name.clone(), choice.enabled));
        choices.collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, bool)]| {
        pairs.iter().map(|(name, enabled)| ((*name).to_owned(), *enabled)).collect::<Vec<_>>()
    };
    for (members, expect) in [
        (r#""disabledTools": ["a", "b"]"#, pairs(&[("a", false), ("b", false)])),
        (r#""excludeTools": ["a(x)"]"#, pairs(&[("a", false)])),
        (r#""includeTools": ["a"]"#, pairs(&[("*", false), ("a", true)])),
        (
            r#""includeTools": ["a", "b"], "excludeTools": ["b"]"#,
            pairs(&[("*", false), ("a", true), ("b", false)]),
        ),
        (
            r#""includeTools": ["a"], "tools": {"a": {"enabled": false}, "c": {"enabled": true}}"#,
            pairs(&[("*", false), ("a", false), ("c", false)]),
        ),
        (r#""includeTools": [], "disabledTools": []"#, pairs(&[])),
        (r#""enabledTools": ["a"]"#, pairs(&[("*", false), ("a", true)])),
        (r#""enabled_tools": ["a"], "disabled_tools": ["b"]"#, {
            pairs(&[("*", false), ("a", true), ("b", false)])
        }),
        (r#""allowedTools": ["a", "b"], "includeTools": ["b"]"#, {
            pairs(&[("*", false), ("a", false), ("b", true)])
        }),
        (r#""allowed_tools": ["a"], "blockedTools": ["a"]"#, {
            pairs(&[("*", false), ("a", false)])
        }),
        (r#""disallowed_tools": ["a"], "hiddenTools": ["b"]"#, {
            pairs(&[("a", false), ("b", false)])
        }),
        (r#""tool_filter": ["a"], "available_tools": []"#, pairs(&[("*", false), ("a", true)])),
        (r#""enabledTools": null, "blocked-tools": ["a"]"#, pairs(&[("a", false)])),
    ] {
        only(server(&format!(r#"{{"command": "x", {members}}}"#)).warns(&[]));
        assert_eq!(shown(&format!(r#"{{"command": "x", {members}}}"#)), expect, "{members}");
    }
    let config = server(r#"{"command": "x", "disabledTools": "a"}"#).config();
    let reason = "disabledTools must be a list, not a string";
    assert_eq!(only(config).misconfigured.as_deref(), Some(reason));
}

#[test]
fn a_list_of_tools_that_cannot_be_read_stops_its_server() {
    for (list, reason) in [
        (r#""enabledTools": "a""#, "enabledTools must be a list, not a string"),
        (r#""allowed_tools": {"a": true}"#, "allowed_tools must be a list, not an object"),
        (r#""disabled_tools": true"#, "disabled_tools must be a list, not a boolean"),
        (r#""toolsDenied": [7]"#, "toolsDenied[0] must be a string, not a number"),
    ] {
        let config = server(&format!(r#"{{"command": "x", {list}}}"#)).config();
        assert_eq!(only(config).misconfigured.as_deref(), Some(reason), "{list}");
    }
    only(server(r#"{"command": "x", "includeTools": ["get_*"]}"#).warns(&[
        "1:56: mcpServers.a.includeTools[0]: is read as a name, not as a pattern; name each tool",
    ]));
    // Never the opposite of what was meant.
    let warnings = server(r#"{"command": "x", "enabeldTools": ["a"]}"#).load().unwrap().warnings;
    let told = lines(&warnings).concat();
    assert!(told.contains("enabeldTools") && !told.contains("disabledTools\"?"), "{told}");
}

#[test]
fn prompts_and_resources_are_listed_like_tools() {
    let made = only(
        server(
            r#"{"command": "x", "disabled_prompts": ["p"], "disabledResources": ["a:b(c)"],
                "disabled_resourceTemplates": ["a:{x}"], "prompts": {"q": {"enabled": false}}}"#,
        )
        .warns(&[]),
    );
    let off = |choices: &crate::config::sections::servers::shown_tools::Selections| {
        let off = choices.iter().filter(|(_, choice)| !choice.enabled);
        off.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(off(&made.prompts), ["p", "q"]);
    assert_eq!(off(&made.resources), ["a:b(c)", "a:{x}"]);
    assert!(made.tools.is_empty());
    let shown = only(server(r#"{"command": "x", "allowed_prompts": ["p"]}"#).warns(&[]));
    assert_eq!(off(&shown.prompts), ["*"]);
    let refused = only(server(r#"{"command": "x", "allowed_resources": ["a:b"]}"#).config());
    let reason = "allowed_resources cannot be honoured for resources";
    assert_eq!(refused.misconfigured.as_deref(), Some(reason));
}

#[test]
fn what_any_word_switches_off_is_off() {
    for (words, is_on) in [
        (r#""active": false"#, false),
        (r#""enable": false"#, false),
        (r#""isEnabled": false"#, false),
        (r#""is_enabled": false"#, false),
        (r#""is_active": false"#, false),
        (r#""isDisabled": true"#, false),
        (r#""disable": true"#, false),
        (r#""Disabled": true"#, false),
        (r#""deactivated": true"#, false),
        (r#""inactive": false, "active": true"#, true),
        (r#""disabled": null, "enabled": null"#, true),
        (r#""_disabled": true"#, true),
    ] {
        let made = only(server(&format!(r#"{{"command": "x", {words}}}"#)).warns(&[]));
        assert_eq!(made.enabled, is_on, "{words}");
    }
    let made = only(server(r#"{"command": "x", "isEnabled": "no"}"#).config());
    assert!(made.misconfigured.is_some());
}

#[test]
fn tools_that_a_file_denies_beside_its_servers_are_hidden() {
    for rest in [
        r#""permissions": {"allow": ["mcp__a__y"], "deny": ["mcp__a__x(1)", "mcp__b__y"]}"#,
        r#""tools": {"exclude": ["a__x", "run_shell_command"]}"#,
        r#""excludeTools": ["a__x"]"#,
    ] {
        let servers = r#""a": {"command": "x", "tools": {"z": {"enabled": true}}}"#;
        let made = only(file(&format!(r#"{{"mcpServers": {{{servers}}}, {rest}}}"#)).warns(&[]));
        let tools = made.tools.iter().map(|(name, choice)| (name.as_str(), choice.enabled));
        assert_eq!(tools.collect::<Vec<_>>(), [("x", false), ("z", true)], "{rest}");
    }
}
