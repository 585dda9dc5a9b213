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
        (r#"{"server_url": "http://b/x", "type": "http"}"#, "http"),
        (r#"{"serverURL": "http://b/x"}"#, "either"),
        (r#"{"endpoint": "http://b/x"}"#, "either"),
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
        (r#"{"command": "x", "prompts": [], "resources": [], "env": []}"#, "stdio"),
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
fn servers_run_only_where_the_file_allows_them_to_be() {
    let servers = r#""mcpServers": {"in": {"url": "https://a.example.com/mcp"}, "out": {"url": "http://b/mcp"},
        "off": {"url": "http://b/mcp", "enabled": false}, "own": {"command": "x"}}"#;
    for (domains, running) in [
        (r#"["*.example.com"]"#, vec!["in", "own"]),
        (r#"["b", "*.example.com"]"#, vec!["in", "out", "own"]),
        (r#""b""#, vec!["out", "own"]),
        (r#"["*", 7]"#, vec!["own"]),
        (r#"{"a": 1}"#, vec!["own"]),
        ("[]", vec!["in", "out", "own"]),
        ("null", vec!["in", "out", "own"]),
    ] {
        let text = format!(r#"{{"mcpSettings": {{"allowedDomains": {domains}}}, {servers}}}"#);
        let config = file(&text).config();
        let is_running = |server: &&Server| server.enabled && server.misconfigured.is_none();
        let names = config.servers.iter().filter(is_running).map(|server| server.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), running, "{domains}");
        let why = "is on a host that mcpSettings.allowedDomains does not name";
        let stopped = config.servers.iter().filter_map(|server| server.misconfigured.as_deref());
        assert!(stopped.into_iter().all(|reason| reason.contains(why)), "{domains}");
    }
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
fn the_entries_of_zed_are_read_as_they_are_meant() {
    let text = r#"{"context_servers": {
        "a": {"source": "custom", "enabled": true, "settings": {}, "command":
            {"path": "npx", "args": ["-y", "${X}", 1], "env": {"X": "v", "K": "inner"}},
            "args": ["z"], "env": {"K": "outer"}},
        "b": {"source": "custom", "command": "y", "args": ["1"]}, "c": {"url": "http://b"}
    }}"#;
    let config = file(text).warns(&[]);
    let names: Vec<_> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let first = &config.servers[0];
    assert_eq!((first.enabled, first.shown.as_str()), (true, "npx -y ${X} 1 z"));
    let Some(Transport::Stdio { command, args, env, .. }) = &first.transport else { panic!() };
    assert_eq!(
        (command.as_str(), &args[..]),
        ("npx", &["-y", "v", "1", "z"].map(String::from)[..])
    );
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("X", "v"), ("K", "outer")]);
    let text =
        r#"{"mcpServers": {"a": {"command": "x"}}, "context_servers": {"b": {"command": "x"}}}"#;
    let beside = "1:41: context_servers: has no effect beside \"mcpServers\"; keep one of them";
    assert_eq!(only(file(text).warns(&[beside])).name.as_str(), "a");
    for (command, reason) in [
        (r#"{"args": ["x"]}"#, "command.path is missing in the object"),
        (r#"{"path": ""}"#, "command.path is empty"),
        (r#"{"path": " x "}"#, "command.path has spaces around it"),
        (r#"{"path": 7}"#, "command.path must be a string, not a number"),
        (r#"{"path": "x", "args": "y"}"#, "command.args must be a list, not a string"),
    ] {
        let config = server(&format!(r#"{{"command": {command}}}"#)).config();
        assert_eq!(only(config).misconfigured.as_deref(), Some(reason), "{command}");
    }
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
            r#"{"mcp_servers": {"a": {"url": "http://b"}}}"#,
            format!(
                "1:2: mcp_servers: is not a known key; its entries look like servers: {advice}"
            ),
        ),
        (
            r#"{"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}}"#,
            format!(
                "1:2: mcp: is not a known key; the entries of its \"servers\" look like servers: {advice}"
            ),
        ),
        (
            r#"{"projects": {"/home/x": {"mcpServers": {"a": {"command": "x"}}}}}"#,
            format!(
                "1:2: projects: is not a known key; the entries of its \"/home/x.mcpServers\" look like servers: {advice}"
            ),
        ),
        (
            r#"{"extensions": {"a": {"cmd": "x", "type": "stdio"}}}"#,
            format!("1:2: extensions: is not a known key; its entries look like servers: {advice}"),
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
fn words_of_more_clients_are_read() {
    for (entry, kind) in [
        (r#"{"cmd": "x", "arguments": ["y"], "envs": {"A": "b"}, "type": "stdio"}"#, "stdio"),
        (r#"{"command": "x", "workingDirectory": "w", "type": "process"}"#, "stdio"),
        (r#"{"uri": "http://b/x", "type": "streamable_http"}"#, "http"),
        (r#"{"url": "http://b/x", "transport": "http-only", "http_headers": {"A": "b"}}"#, "http"),
        (r#"{"url": "http://b/x", "transport": "sse-first", "oauth": false}"#, "either"),
        (r#"{"url": "http://b/x", "oauth": [], "static_headers": {"A": "b"}}"#, "either"),
        (r#"{"url": "http://b/x", "type": "server-sent-events", "oauth": ""}"#, "sse"),
    ] {
        let made = only(server(entry).warns(&[]));
        match made.transport.clone() {
            Some(Transport::Stdio { command, args, env, cwd, .. }) => {
                assert_eq!(command, "x");
                assert_eq!((args.len(), env.len()), if cwd.is_some() { (0, 0) } else { (1, 1) });
            }
            Some(Transport::Http(remote) | Transport::HttpOrSse(remote)) => {
                assert_eq!(remote.headers.len(), usize::from(entry.contains("headers")), "{entry}");
            }
            _ => {}
        }
        let url = if kind == "stdio" { "" } else { "http://b/x" };
        assert_eq!(url_of(made.transport), (kind, url.to_owned()), "{entry}");
    }
    server(r#"{"url": "http://b/x", "oauth": true}"#).warns(&[
        "1:53: mcpServers.a.oauth: is true, but the gateway asks nobody for a token; give a token in \
         \"oauth\": { \"accessToken\": … } or in \"headers\"",
    ]);
    let key = r#"{"url": "http://b/x", "headers": {"Authorization": "Bearer {env:KEY}"}}"#;
    let made = only(server(key).env("KEY", "k").warns(&[]));
    let Some(Transport::HttpOrSse(remote)) = made.transport else { panic!() };
    assert_eq!(remote.headers[0].1.as_bytes(), b"Bearer k");
    assert!(only(server(key).config()).misconfigured.is_some_and(|why| why.contains("KEY")));
    let packed = r#"{"command": "x", "env": {"K": "${user_config.api_key}"}}"#;
    let why = only(server(packed).config()).misconfigured.unwrap();
    assert!(why.contains("${user_config.api_key}"), "{why}");
}

#[test]
fn a_list_of_named_servers_is_read() {
    let config = file(
        r#"{"mcpServers": [{"name": "a", "command": "x"}, {"name": "b", "url": "http://b"}, {"command": "y"}]}"#,
    );
    let loaded = config.load().unwrap();
    let names: Vec<&str> = loaded.config.servers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(loaded.config.servers.iter().all(|server| server.misconfigured.is_none()));
    let told = lines(&loaded.warnings);
    assert!(told.len() == 1 && told[0].contains("mcpServers[2]: has no name"), "{told:?}");
}

#[test]
fn a_file_says_which_of_its_servers_run() {
    let runs = |rest: &str| {
        let servers = r#""a": {"command": "x"}, "b": {"url": "http://h"}, "c": {"command": "x"}"#;
        let config = file(&format!(r#"{{"mcpServers": {{{servers}}}, {rest}}}"#)).warns(&[]);
        let on = config.servers.iter().filter(|server| server.enabled);
        on.map(|server| server.name.as_str().to_owned()).collect::<Vec<_>>().join("")
    };
    for (rest, expect) in [
        (r#""mcp": {"allowed": ["a", "b"]}"#, "ab"),
        (r#""mcp": {"excluded": ["b"], "serverCommand": "x"}"#, "ac"),
        (r#""mcp": {"allowed": ["a", "b"], "excluded": ["b", "none"]}"#, "a"),
        (r#""mcp": {"allowed": [], "excluded": null}"#, "abc"),
        (r#""allowMCPServers": ["c"], "excludeMCPServers": ["a"]"#, "c"),
        (r#""allowMCPServers": ["b", "c"], "mcp": {"allowed": ["a", "b"]}"#, "b"),
        (r#""disabledMcpServers": ["a"], "disabledMcpjsonServers": ["c"]"#, "b"),
        (r#""mcp": {"excluded": "c"}"#, "ab"),
        (r#""disabledServers": ["c"]"#, "ab"),
        (r#""permissions": {"deny": ["mcp__a", "mcp__b__*", "mcp__c__x", "Bash(rm:*)"]}"#, "c"),
        (r#""tools": {"exclude": ["a", "b__x"]}"#, "abc"),
    ] {
        assert_eq!(runs(rest), expect, "{rest}");
    }
}

#[test]
fn the_sandbox_of_vs_code_is_not_taken_for_ours() {
    let foreign = r#""sandbox": {"filesystem": {"allowWrite": ["/tmp"]}}"#;
    let domains = r#""sandbox": {"network": {"allowedDomains": ["a.example"]}}"#;
    for entry in [
        format!(r#""sandboxEnabled": true, {foreign}"#),
        format!(r#""sandboxEnabled": true, {domains}"#),
        r#""sandboxEnabled": true"#.to_owned(),
        foreign.to_owned(),
        domains.to_owned(),
    ] {
        let made = only(server(&format!(r#"{{"command": "x", {entry}}}"#)).config());
        assert!(made.misconfigured.is_some_and(|why| why.contains("VS Code")), "{entry}");
    }
    let sandbox = |entry: &str| {
        let made = only(server(&format!(r#"{{"command": "x", {entry}}}"#)).warns(&[]));
        let Some(Transport::Stdio { confinement, .. }) = made.transport else { panic!("{entry}") };
        confinement.sandbox.is_some()
    };
    assert!(!sandbox(&format!(r#""sandboxEnabled": false, {foreign}"#)));
    assert!(!sandbox(r#""sandboxEnabled": false"#));
    assert!(sandbox(r#""sandboxEnabled": true, "sandbox": {"read": ["/"]}"#));
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
        (
            r#"{"command": "node.exe", "args": ["D:\\x"]}"#,
            "1:34: mcpServers.a.command: node.exe is a program of Windows, which does not exist here; \
             write the name that the program has on this machine",
        ),
        (
            r#"{"command": "node", "env": {"X": "%UserProfile%\\x"}}"#,
            "1:22: mcpServers.a: %UserProfile% is a variable of Windows, which does not exist here; \
             write the path that the file has on this machine",
        ),
        (
            r#"{"command": "node", "cwd": "C:\\work"}"#,
            "1:22: mcpServers.a: C: is a drive of Windows, which does not exist here; write the path \
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
