//! Files of other clients: their words for what we have, and what is said of the rest.

use super::servers::{only, server};
use super::*;

fn url_of(transport: Option<Transport>) -> (&'static str, String) {
    match transport {
        Some(Transport::Http(remote)) => ("http", remote.url.to_string()),
        Some(Transport::Sse(remote)) => ("sse", remote.url.to_string()),
        Some(Transport::HttpOrSse(remote)) => ("either", remote.url.to_string()),
        Some(Transport::Stdio { .. }) => ("stdio", String::new()),
        None => ("none", String::new()),
    }
}

#[test]
fn an_address_and_a_type_have_many_spellings() {
    for (entry, kind) in [
        (r#"{"serverUrl": "http://b/x"}"#, "either"),
        (r#"{"baseUrl": "http://b/x", "type": "sse"}"#, "sse"),
        (r#"{"httpUrl": "http://b/x"}"#, "http"),
        (r#"{"url": null, "httpUrl": "http://b/x"}"#, "http"),
        (r#"{"url": "http://b/x", "transport": "streamable_http"}"#, "http"),
        (r#"{"url": "http://b/x", "transportType": "SSE"}"#, "sse"),
        (r#"{"type": "remote", "url": "http://b/x"}"#, "either"),
        (r#"{"type": "streamableHttp", "serverUrl": "http://b/x"}"#, "http"),
    ] {
        let made = only(server(entry).warns(&[]));
        assert_eq!(url_of(made.transport), (kind, "http://b/x".to_owned()), "{entry}");
    }
    for entry in [
        r#"{"type": "local", "command": "x"}"#,
        r#"{"type": "STDIO", "command": "x"}"#,
        r#"{"transport": "stdio", "command": "x"}"#,
    ] {
        assert_eq!(url_of(only(server(entry).warns(&[])).transport).0, "stdio", "{entry}");
    }
    let twice = server(r#"{"url": "http://a", "httpUrl": "http://b/x"}"#)
        .warns(&["1:23: mcpServers.a.url: has no effect beside \"httpUrl\"; keep one of them"]);
    assert_eq!(url_of(only(twice).transport), ("http", "http://b/x".to_owned()));
}

#[test]
fn what_a_dashboard_leaves_empty_counts_as_absent() {
    for (entry, kind) in [
        (r#"{"command": "", "url": "http://b/x", "args": {}, "env": []}"#, "either"),
        (r#"{"command": null, "serverUrl": "http://b/x", "url": "", "httpUrl": " "}"#, "either"),
        (r#"{"url": "", "httpUrl": "http://b/x", "type": ""}"#, "http"),
        (r#"{"type": "sse", "command": "", "url": "http://b/x", "headers": []}"#, "sse"),
        (r#"{"type": "", "transport": "sse", "baseUrl": "http://b/x"}"#, "sse"),
        (r#"{"command": "x", "url": "", "baseUrl": "", "cwd": "", "transportType": ""}"#, "stdio"),
        (r#"{"type": "stdio", "command": "x", "url": "", "args": {}, "headers": []}"#, "stdio"),
        (r#"{"command": "x", "tools": [], "prompts": [], "resources": [], "env": []}"#, "stdio"),
    ] {
        let made = only(server(entry).warns(&[]));
        let url = if kind == "stdio" { "" } else { "http://b/x" };
        assert_eq!(url_of(made.transport), (kind, url.to_owned()), "{entry}");
        assert!(made.tools.is_empty() && made.prompts.is_empty(), "{entry}");
    }
    let filled = r#"{"command": "x", "prompts": ["a"]}"#;
    server(filled).warns_until(
        "until then this server does not run",
        &["1:50: mcpServers.a.prompts: must be an object, not a list; write { … }"],
    );
}

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
fn a_command_in_one_list_with_its_arguments() {
    let entry = r#"{"type": "local", "command": ["npx", "-y", 1], "args": ["z"], "environment": {"K": "v"}}"#;
    let made = only(server(entry).warns(&[]));
    assert_eq!(made.shown, "npx -y 1 z");
    let Some(Transport::Stdio { command, args, env, .. }) = made.transport else { panic!() };
    assert_eq!((command.as_str(), args), ("npx", ["-y", "1", "z"].map(String::from).to_vec()));
    assert_eq!((env[0].0.as_str(), env[0].1.expose()), ("K", "v"));
}

#[test]
fn what_is_switched_off_in_any_word_is_off() {
    let contradiction = "1:22: mcpServers.a: is switched on and off by enabled, disabled or isActive, \
                         and so is off; keep one of these keys";
    for (members, enabled, warnings) in [
        (r#""disabled": true"#, false, vec![]),
        (r#""disabled": false"#, true, vec![]),
        (r#""isActive": false"#, false, vec![]),
        (r#""enabled": true, "disabled": false"#, true, vec![]),
        (r#""enabled": false, "disabled": true"#, false, vec![]),
        (r#""enabled": true, "disabled": true"#, false, vec![contradiction]),
        (r#""isActive": true, "disabled": true"#, false, vec![contradiction]),
    ] {
        let config = server(&format!(r#"{{"command": "x", {members}}}"#)).warns(&warnings);
        assert_eq!(only(config).enabled, enabled, "{members}");
    }
    let config = server(r#"{"command": "x", "disabled": "yes"}"#).config();
    let reason = "disabled must be true or false, not a string";
    assert_eq!(only(config).misconfigured.as_deref(), Some(reason));
}

#[test]
fn the_servers_of_an_editor_count_where_there_are_no_others() {
    let text = r#"{"servers": {"a": {"command": "x", "type": "stdoi"}, "b": {"url": "http://b"}}}"#;
    let config = file(text).warns(&[
        "1:44: servers.a.type: \"stdoi\" is not a type of server; use one of stdio, streamable-http, sse, \
         openapi, builtin (did you mean \"stdio\"?); until then this server does not run",
    ]);
    assert_eq!(config.servers.len(), 2);
    assert_eq!(
        config.servers[0].misconfigured.as_deref(),
        Some("type \"stdoi\" is not a type of server")
    );
    let text = r#"{"servers": {"a": {"command": "x"}}, "mcpServers": {"b": {"command": "x"}}}"#;
    let config =
        file(text).warns(&["1:2: servers: has no effect beside \"mcpServers\"; keep one of them"]);
    assert_eq!(only(config).name.as_str(), "b");
    // What restricts users there is seen too.
    let text = r#"{"servers": {"a": {"command": "x", "visibility": "private"}}}"#;
    assert!(file(text).load().is_err());
}

#[test]
fn servers_in_other_places_are_pointed_out() {
    let put = "put it into \"mcpServers\":";
    let advice = "put them into \"mcpServers\"";
    for (text, warning) in [
        (
            r#"{"vision": {"command": "npx"}}"#,
            format!(
                "1:2: vision: is not a known key; it looks like a server: {put} {{ \"vision\": … }}"
            ),
        ),
        (
            r#"{"context_servers": {"a": {"url": "http://b"}}}"#,
            format!(
                "1:2: context_servers: is not a known key; its entries look like servers: {advice}"
            ),
        ),
        (
            r#"{"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}}"#,
            format!(
                "1:2: mcp: is not a known key; the entries of its \"servers\" look like servers: {advice}"
            ),
        ),
    ] {
        let loaded = file(text).load().unwrap();
        assert_eq!(lines(&loaded.warnings), [warning], "{text}");
        assert!(loaded.no_servers.is_some(), "{text}");
    }
    let config = server(r#"{"mcpServers": {"b": {"command": "x"}}}"#).config();
    let reason = only(config).misconfigured.unwrap();
    assert_eq!(reason, "has neither a command nor a url");
}

#[test]
fn a_file_without_servers_says_what_is_in_it() {
    for (text, expect) in [
        ("{}", "0 servers: it has no keys; put servers into \"mcpServers\""),
        (
            r#"{"mcpServers": {}, "users": []}"#,
            "0 servers: its keys are \"mcpServers\", \"users\"; put servers into \"mcpServers\"",
        ),
        (
            r#"{"mcpServers": {"a": {"command": "x", "enabled": false}, "b": {}}}"#,
            "0 of 2 servers in it run: 1 off, 1 misconfigured; mooring check shows why",
        ),
    ] {
        let told = file(text).load().unwrap().no_servers.unwrap().to_string();
        assert_eq!(told, format!("mcp_settings.json: {expect}"));
    }
    assert_eq!(server(r#"{"command": "x"}"#).load().unwrap().no_servers, None);
    let coordinator = r#"{"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator"}}}"#;
    assert_eq!(file(coordinator).load().unwrap().no_servers, None);
}

#[test]
fn each_key_of_a_client_is_warned_of_once() {
    let text = r#"{
  "preferences": {"sidebar": 1},
  "globalShortcut": "", "recent": [], "_comment": "x", "//": "y", "$schema": "z",
  "mcpServers": {
    "_note": "n", "//": "n",
    "a": {"command": "x", "autoApprove": ["t"], "timeout": 60, "trust": true, "_setup": "s", "pretty": "A"},
    "b": {"command": "x", "autoApprove": ["t"], "timeout": 600000, "alwaysAllow": [], "pretty": "B"},
    "c": {"command": "x", "autoApprove": [], "timeout": 5, "options": {"timeout": 7}, "$schema": "s"}
  }
}"#;
    let of_clients = "is a setting of other clients and has no effect here";
    let approval = "clients decide themselves which calls need approval";
    let config = file(text).warns(&[
        "2:3: preferences: is not a known key",
        &format!("6:27: mcpServers.a.autoApprove: {of_clients}, here and in 1 more places; {approval}"),
        "6:49: mcpServers.a.timeout: is read as seconds if it is below 1000, else as milliseconds, here \
         and in 2 more places; write \"options\": { \"timeout\": … }, which is milliseconds",
        &format!("6:64: mcpServers.a.trust: {of_clients}; {approval}"),
        "6:94: mcpServers.a.pretty: is not a known key, here and in 1 more places",
    ]);
    let timeouts: Vec<_> =
        config.servers.iter().map(|server| server.options.timeout.unwrap().as_millis()).collect();
    assert_eq!(timeouts, [60_000, 600_000, 7]);
}

#[test]
fn a_timeout_that_cannot_be_stops_its_server() {
    for (value, reason) in [
        ("0", "timeout is too small"),
        ("-5", "timeout is negative"),
        ("\"60\"", "timeout must be a number, not a string"),
        ("1.5", "timeout is not a plain whole number"),
        ("86400001", "timeout is too large"),
    ] {
        let config = server(&format!(r#"{{"command": "x", "timeout": {value}}}"#)).config();
        assert_eq!(only(config).misconfigured.as_deref(), Some(reason), "{value}");
    }
    for (value, millis) in [("1", 1000), ("999", 999_000), ("1000", 1000), ("86400000", 86_400_000)]
    {
        let config = server(&format!(r#"{{"command": "x", "timeout": {value}}}"#)).config();
        assert_eq!(only(config).options.timeout.unwrap().as_millis(), millis, "{value}");
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
    ] {
        assert_eq!(shown(&format!(r#"{{"command": "x", {members}}}"#)), expect, "{members}");
    }
    let config = server(r#"{"command": "x", "disabledTools": "a"}"#).config();
    let reason = "disabledTools must be a list, not a string";
    assert_eq!(only(config).misconfigured.as_deref(), Some(reason));
}

#[test]
fn an_entry_sees_its_own_variables_first() {
    let entry = r#"{"command": "${BIN}", "args": ["--header", "Authorization:${HEADER}", "${OUTER}"],
        "env": {"HEADER": "Bearer ${KEY}", "BIN": "own", "OUTER": "inner", "PATH": "${PATH}:/opt"}}"#;
    let made = only(
        server(entry)
            .env("KEY", "k")
            .env("OUTER", "outer")
            .env("BIN", "of gateway")
            .env("PATH", "/bin")
            .warns(&[]),
    );
    let Some(Transport::Stdio { command, args, env, .. }) = made.transport else { panic!() };
    assert_eq!(command, "own");
    assert_eq!(args, ["--header", "Authorization:Bearer k", "inner"]);
    assert_eq!(env[3].1.expose(), "/bin:/opt");
    let entry =
        r#"{"url": "http://${H}/x", "headers": {"k": "${env:V}"}, "env": {"H": "own", "V": "v"}}"#;
    let made = only(server(entry).env("H", "outer").warns(&[]));
    let Some(Transport::HttpOrSse(remote)) = made.transport else { panic!() };
    assert_eq!(
        (remote.url.to_string().as_str(), remote.headers[0].1.as_bytes()),
        ("http://own/x", "v".as_bytes())
    );
}

#[test]
fn what_only_windows_has_is_said() {
    for (entry, warning) in [
        (
            r#"{"command": "cmd", "args": ["/c", "npx", "-y", "x"]}"#,
            "1:34: mcpServers.a.command: cmd is a program of Windows, which does not exist here; write \
             the command that it runs, without it and /c",
        ),
        (
            r#"{"command": "node", "args": ["C:\\a\\b.js"]}"#,
            "1:22: mcpServers.a: C: is a drive of Windows, which does not exist here; write the path \
             that the file has on this machine",
        ),
        (
            r#"{"command": "D:/nodejs/npx.cmd"}"#,
            "1:22: mcpServers.a: D: is a drive of Windows, which does not exist here; write the path \
             that the file has on this machine",
        ),
    ] {
        assert!(only(server(entry).warns(&[warning])).transport.is_some(), "{entry}");
    }
}

#[test]
fn variables_of_mcphub_that_do_nothing_are_answered() {
    let case = server(r#"{"command": "x"}"#)
        .env("DB_URL", "postgres://u:hunter2@h/d")
        .env("USE_DB", "true")
        .env("SMART_ROUTING_ENABLED", "false")
        .env("REQUEST_TIMEOUT", "60000");
    let warnings = lines(&case.load().unwrap().warnings);
    let names: Vec<_> = warnings.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(names, ["DB_URL", "USE_DB", "REQUEST_TIMEOUT"]);
    assert!(!warnings.concat().contains("hunter2"), "{warnings:?}");
}

#[test]
fn a_base_path_has_one_slash_in_front() {
    for (given, expect) in [
        ("", ""),
        ("/", ""),
        ("/hub", "/hub"),
        ("hub", "/hub"),
        ("/hub/", "/hub"),
        ("/a/b.c", "/a/b.c"),
    ] {
        assert_eq!(file("{}").env("BASE_PATH", given).config().listen.base_path, expect, "{given}");
    }
    for bad in ["/a b", "/a//b", "/../b", "/a?b", "/ü", "/%41"] {
        file("{}")
            .env("BASE_PATH", bad)
            .errors(&["environment: BASE_PATH: is not a path; write it \
             like /mcphub, with letters, digits and -._~"]);
    }
}
