//! `mcpServers`.

use std::time::Duration;

use super::*;

/// A file with one server `a`, whose entry starts at line 1, column 22.
pub(super) fn server(entry: &str) -> Case {
    file(&format!(r#"{{"mcpServers": {{"a": {entry}}}}}"#))
}

#[track_caller]
pub(super) fn only(config: Config) -> Server {
    assert_eq!(config.servers.len(), 1);
    config.servers.into_iter().next().unwrap()
}

#[test]
fn a_command_without_arguments_is_enough() {
    let server = only(server(r#"{"command": "..."}"#).warns(&[]));
    assert!(server.enabled);
    assert_eq!(server.misconfigured, None);
    assert_eq!(server.on_lost, OnLost::Continue);
    assert_eq!(server.isolation, Isolation::Auto);
    assert_eq!((server.weight, server.warm, server.idle_timeout), (None, 0, None));
    assert_eq!(server.options, RequestOptions::default());
    assert_eq!(
        server.transport,
        Some(Transport::Stdio {
            command: "...".into(),
            args: vec![],
            env: vec![],
            cwd: None,
            proxy: OwnProxy::Usual,
            confinement: ConfinementSettings::default(),
        })
    );
}

#[test]
fn servers_keep_the_order_of_the_file() {
    let config = file(
        r#"{"mcpServers": {"z": {"command": "1"}, "a": {"url": "http://b"}, "m": {"command": "3"}}}"#,
    );
    let servers = config.warns(&[]).servers;
    let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn an_entry_must_say_what_to_run() {
    for (entry, finding) in [
        ("{}", "1:22: mcpServers.a: has neither a command nor a url; add one of the two"),
        (
            r#"{"command": "x", "url": "http://b"}"#,
            "1:22: mcpServers.a: has both a command and a url; add \"type\", or remove one of them",
        ),
        (
            r#"{"type": "sse", "cwd": "x"}"#,
            "1:22: mcpServers.a.url: is required for this type; add \"url\", or change \"type\"",
        ),
        (
            r#"{"type": "stdoi", "command": "x"}"#,
            "1:31: mcpServers.a.type: \"stdoi\" is not a type of server; use one of stdio, \
             streamable-http, sse, openapi, builtin (did you mean \"stdio\"?)",
        ),
        (
            r#"{"command": "", "url": " "}"#,
            "1:22: mcpServers.a: has neither a command nor a url; add one of the two",
        ),
        (
            r#"{"type": "stdio", "command": ""}"#,
            "1:22: mcpServers.a.command: is required for this type; add \"command\", or change \"type\"",
        ),
        (
            r#"{"command": "a\u001bb"}"#,
            "1:34: mcpServers.a.command: contains control characters; remove them",
        ),
        (r#"{"command": []}"#, "1:34: mcpServers.a.command: is empty; give it a value"),
        (
            r#"{"command": 5}"#,
            "1:34: mcpServers.a.command: must be a string, not a number; write it in quotes",
        ),
        (r#"{"command": " x"}"#, "1:34: mcpServers.a.command: has spaces around it; remove them"),
        (
            r#"{"url": "http://b/mcp "}"#,
            "1:30: mcpServers.a.url: has spaces around it; write it like https://example.com/mcp",
        ),
        (
            r#"{"command": "x", "options": {"timeout": 0}}"#,
            "1:62: mcpServers.a.options.timeout: is too small; use a whole number from 1 to 86400000",
        ),
        (
            r#"{"command": "x", "command": "y"}"#,
            "1:39: mcpServers.a.command: is given twice, first at 1:23; keep one of them",
        ),
        ("null", "1:22: mcpServers.a: must be an object, not null; write { … }"),
        (
            r#"{"command": "x", "args": "-y"}"#,
            "1:47: mcpServers.a.args: must be a list, not a string; write [ … ]",
        ),
        (
            r#"{"command": "x", "args": [null]}"#,
            "1:48: mcpServers.a.args[0]: must be a string, not null; write it in quotes",
        ),
        (
            r#"{"command": "x", "args": ["a\u0000"]}"#,
            "1:48: mcpServers.a.args[0]: contains NUL characters; remove them",
        ),
        (
            r#"{"command": "x", "env": {"A=B": "c"}}"#,
            "1:54: mcpServers.a.env[\"A=B\"]: is not a valid variable name; use letters, digits and _",
        ),
        (
            r#"{"command": "x", "enabled": "no"}"#,
            "1:50: mcpServers.a.enabled: must be true or false, not a string; write true or false without quotes",
        ),
        (r#""npx""#, "1:22: mcpServers.a: must be an object, not a string; write { … }"),
        (
            r#"{"url": "ws://b"}"#,
            "1:30: mcpServers.a.url: must begin with http:// or https://; write it like https://example.com/mcp",
        ),
        (
            r#"{"url": "http://b", "headers": {"Content-Length": "1"}}"#,
            "1:72: mcpServers.a.headers.Content-Length: is a header that Mooring sets itself; remove it",
        ),
        (
            r#"{"url": "http://b", "headers": {"a b": "1"}}"#,
            "1:61: mcpServers.a.headers[\"a b\"]: is not a header name; remove it",
        ),
        (
            r#"{"url": "http://b", "headers": {"a": "ü\n"}}"#,
            "1:59: mcpServers.a.headers.a: contains control characters; remove them",
        ),
        (
            r#"{"url": "http://b", "passthroughHeaders": ["mcp-session-id"]}"#,
            "1:65: mcpServers.a.passthroughHeaders[0]: is a header that Mooring sets itself; remove it from the list",
        ),
        (
            r#"{"command": "x", "onLost": "panic"}"#,
            "1:49: mcpServers.a.onLost: \"panic\" is not a reaction to a lost session; use one of continue, fail",
        ),
    ] {
        let loaded = server(entry).load().unwrap_or_else(|report| panic!("{report}"));
        let finding = format!("{finding}; until then this server does not run");
        assert_eq!(lines(&loaded.warnings), std::slice::from_ref(&finding), "{entry}");
        let server = only(loaded.config);
        assert_eq!(server.transport, None, "{entry}");
        // The reason says what is wrong, and where in the entry.
        let reason = server.misconfigured.unwrap();
        let (_, what) = finding.split_once("mcpServers.a").unwrap();
        let what = what.trim_start_matches(['.', ':', ' ']).replacen(": ", " ", 1);
        assert!(what.starts_with(&reason), "{entry}: {reason}");
    }
}

#[test]
fn a_name_that_is_none_stops_its_server_alone() {
    let config = file(
        r#"{"mcpServers": {"a/b": {"command": "x"}, "": {"command": "x"}, "t\u0009": {"command": "x"}}}"#,
    )
    .warns(&[
        "1:46: mcpServers[\"\"]: the server's name is empty; choose a name that fits in URLs and tool \
         names; until then this server does not run",
        "1:75: mcpServers[\"t\\t\"]: the server's name has the character '\\t', which is not allowed \
         here; choose a name that fits in URLs and tool names; until then this server does not run",
    ]);
    assert_eq!(only(config).name.as_str(), "a/b");
}

#[test]
fn a_server_given_twice_does_not_run_and_the_others_do() {
    let config = file(
        r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}, "a": {"command": "z"}}}"#,
    )
    .warns(&[
        "1:68: mcpServers.a: is given twice; keep one of them; until then this server does not run",
    ]);
    let [a, b] = config.servers.as_slice() else { panic!("{config:?}") };
    assert_eq!((a.misconfigured.as_deref(), &a.transport), (Some("is given twice"), &None));
    assert!(b.transport.is_some());
}

#[test]
fn several_mistakes_of_one_entry_are_its_reason_together() {
    let config = server(r#"{"command": " x", "args": "-y", "weight": -1}"#).config();
    assert_eq!(
        only(config).misconfigured.as_deref(),
        Some("command has spaces around it; args must be a list, not a string; weight is negative")
    );
}

#[test]
fn a_disabled_server_cannot_stop_the_others() {
    let config = server(r#"{"enabled": false, "command": "${NOPE}"}"#).warns(&[]);
    assert!(!config.servers[0].enabled);
    let config = server(r#"{"enabled": false, "command": 1}"#)
        .warns(&["1:52: mcpServers.a.command: must be a string, not a number; write it in quotes"]);
    assert_eq!(only(config).misconfigured.as_deref(), Some("the entry has mistakes"));
}

#[test]
fn everything_else_that_can_be_said_about_a_server() {
    let config = server(
        r#"{"command": "x", "weight": 7, "onLost": "fail", "isolation": "principal", "warm": 2, "era": "legacy",
            "idleTimeoutMs": 1000, "maxInstances": 3, "maxLifetimeMs": 60000, "maxMemory": 1048576,
            "startTimeoutMs": 5000, "passthroughHeaders": ["X-Tenant", "x-tenant", "Authorization"],
            "options": {"timeout": 600000, "resetTimeoutOnProgress": true, "maxTotalTimeout": 3600000},
            "tools": {"a-read": {"enabled": false}, "a-write": {"description": "Writes.\nA lot."}},
            "prompts": {"p": {"enabled": true}}, "resources": {"r": {}}}"#,
    )
    .warns(&[]);
    let server = only(config);
    assert_eq!((server.weight, server.warm), (Some(7), 2));
    assert_eq!((server.on_lost, server.isolation), (OnLost::Fail, Isolation::Principal));
    assert_eq!(server.era, ServerEra::Legacy);
    assert_eq!(server.idle_timeout, Some(Duration::from_secs(1)));
    assert_eq!((server.max_instances, server.max_memory), (Some(3), Some(1 << 20)));
    assert_eq!(server.max_lifetime, Some(Duration::from_mins(1)));
    assert_eq!(server.start_timeout, Some(Duration::from_secs(5)));
    assert_eq!(server.passthrough_headers, ["x-tenant", "authorization"]);
    assert_eq!(server.options.timeout, Some(Duration::from_mins(10)));
    assert_eq!(server.options.max_total_timeout, Some(Duration::from_hours(1)));
    assert!(server.options.reset_timeout_on_progress);
    let off = EntrySettings { enabled: false, description: None };
    assert_eq!(server.tools["a-read"], off);
    assert_eq!(server.tools["a-write"].description.as_deref(), Some("Writes.\nA lot."));
    assert!(server.prompts["p"].enabled && server.resources["r"].enabled);
}

#[test]
fn an_era_is_one_of_four_and_fits_the_transport() {
    let era = |entry: &str| only(server(entry).warns(&[])).era;
    assert_eq!(era(r#"{"command": "x"}"#), ServerEra::Auto);
    assert_eq!(era(r#"{"url": "http://b", "era": "modern"}"#), ServerEra::Modern);
    assert_eq!(era(r#"{"url": "http://b", "era": "both"}"#), ServerEra::Both);
    for entry in [
        r#"{"url": "http://b/sse", "type": "sse", "era": "modern"}"#,
        r#"{"url": "http://b/sse", "type": "sse", "era": "both"}"#,
        r#"{"command": "x", "era": "both"}"#,
        r#"{"command": "x", "era": "new"}"#,
    ] {
        assert!(only(server(entry).config()).misconfigured.is_some(), "{entry}");
    }
}

#[test]
fn debug_prints_no_secret() {
    let config =
        server(r#"{"command": "x", "args": ["--key", "hunter2"], "env": {"K": "hunter2"}}"#)
            .env("MOORING_SECRET", "hunter2-hunter2-hunter2")
            .config();
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn who_shares_a_process_can_be_said_in_the_words_of_mcphub() {
    let isolation = |members: &str, warning: Option<&str>| {
        let text = format!(r#"{{"command": "x", {members}}}"#);
        let warnings: Vec<&str> = warning.into_iter().collect();
        only(server(&text).warns(&warnings)).isolation
    };
    assert_eq!(isolation(r#""perSessionClient": true"#, None), Isolation::Session);
    let alone = "1:59: mcpServers.a.perSessionClient: does not share a process; to use one process \
                 for all sessions, write \"isolation\": \"shared\"";
    assert_eq!(isolation(r#""perSessionClient": false"#, Some(alone)), Isolation::Auto);
    let both = r#""perSessionClient": false, "isolation": "shared""#;
    assert_eq!(isolation(both, None), Isolation::Shared);
    let contradiction = "1:59: mcpServers.a.perSessionClient: contradicts \"isolation\", which \
                         takes precedence; remove one of them";
    let both = r#""perSessionClient": true, "isolation": "shared""#;
    assert_eq!(isolation(both, Some(contradiction)), Isolation::Shared);
    let both = r#""perSessionClient": false, "isolation": "session""#;
    assert_eq!(isolation(both, Some(contradiction)), Isolation::Session);
    assert_eq!(isolation(r#""startOnDemand": true"#, None), Isolation::Auto);
    let eager = "1:56: mcpServers.a.startOnDemand: is false, but servers always start when they are \
                 needed; remove it";
    assert_eq!(isolation(r#""startOnDemand": false"#, Some(eager)), Isolation::Auto);
}
