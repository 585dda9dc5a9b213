//! The listen address, the strategy, tool names and limits.

use std::time::Duration;

use mooring_strategies::Settings;

use super::*;
use crate::config::{HOST_KEY, HOST_VARIABLE, PORT_KEY, PORT_VARIABLE};

fn system(section: &str) -> Case {
    file(&format!(r#"{{"systemConfig": {section}}}"#))
}

fn sticky(section: &str) -> Case {
    system(&format!(r#"{{"cluster": {{"stickySession": {section}}}}}"#))
}

#[test]
fn every_default_is_real() {
    let config = file("{}").warns(&[]);
    assert_eq!(config.listen, listen(("127.0.0.1", None), (3000, PORT_KEY)));
    assert_eq!(config.data_dir, Path::new("/srv/data"));
    assert_eq!((config.token, config.secret), (None, None));
    assert_eq!(config.names, Names { separator: "-".into(), prefix: Prefix::Always });
    assert!(config.servers.is_empty() && config.groups.is_empty());
    let limits = config.limits;
    assert_eq!(limits.request_body, 16 << 20);
    assert_eq!(limits.kept_body, 64 << 10);
    assert_eq!(limits.line, 64 << 20);
    assert_eq!(limits.header_block, 64 << 10);
    assert_eq!(limits.sessions_per_principal, 10_000);
    assert_eq!((limits.sessions, limits.children_per_principal), (None, None));
    assert_eq!(limits.in_flight_per_session, 256);
    assert_eq!((limits.buffered_events, limits.buffered_bytes), (1024, 4 << 20));
    assert_eq!((limits.children_per_server, limits.children_per_node), (100, 500));
    assert_eq!(limits.keep_alive, Duration::from_secs(15));
    assert_eq!((limits.connections, limits.connections_per_address), (None, 1000));
    assert_eq!((limits.bodies_in_memory, limits.body_rate), (256 << 20, 1024));
    assert_eq!(limits.kept_answers, 256 << 20);
    let times = [limits.head_timeout, limits.body_timeout, limits.read_timeout];
    assert_eq!(times, [10, 30, 120].map(Duration::from_secs));
    let sticky = config.sticky;
    assert!(sticky.enabled && !sticky.signed);
    assert_eq!(
        (sticky.cookie_name.as_str(), sticky.header_name.as_str()),
        ("MCPHUB_NODE", "X-MCPHub-Node")
    );
    assert_eq!((sticky.strategy.as_str(), sticky.wasi), ("consistent-hash", Wasi::Deny));
    assert_eq!(
        sticky.json,
        r#"{"enabled":true,"strategy":"consistent-hash","cookieName":"MCPHUB_NODE","headerName":"X-MCPHub-Node","signed":false,"wasi":"deny","affinityTimeout":3600000}"#
    );
}

/// An address, and by which key host and port are named.
fn listen(
    (host, host_key): (&str, Option<&'static str>),
    (port, port_key): (u16, &'static str),
) -> Listen {
    let (host, base_path) = (host.to_owned(), String::new());
    Listen { host, host_key, port, port_key, base_path, file: None, tls: None }
}

#[test]
fn only_this_machine_is_served_until_there_is_a_key_or_the_operator_says_otherwise() {
    let key = r#"{"routing": {"enableBearerAuth": true, "bearerAuthKey": "k3y"}}"#;
    let idle = r#"{"routing": {"enableBearerAuth": false, "bearerAuthKey": "k3y"}}"#;
    let coordinator = r#"{"cluster": {"enabled": true, "mode": "coordinator"}}"#;
    let node = r#"{"cluster": {"enabled": true, "mode": "node",
        "node": {"coordinatorUrl": "http://c:3000"}}}"#;
    let off = r#"{"cluster": {"enabled": false, "mode": "coordinator"}}"#;
    for (section, host) in [
        ("{}", "127.0.0.1"),
        (idle, "127.0.0.1"),
        (off, "127.0.0.1"),
        (key, "0.0.0.0"),
        (coordinator, "0.0.0.0"),
        (node, "0.0.0.0"),
    ] {
        let case = || system(section);
        assert_eq!(case().config().listen.host, host, "{section}");
        let opened = case().env("MOORING_HOST", "::").config();
        assert_eq!(
            opened.listen,
            listen(("::", Some(HOST_VARIABLE)), (3000, PORT_KEY)),
            "{section}"
        );
    }
}

#[test]
fn what_neither_key_nor_token_closes_is_told() {
    let doors = |section: &str, host: &str| {
        let config = system(section).env("MOORING_HOST", host).config();
        assert_eq!(open_door_warnings(&config, host).len(), open_doors(&config, host).len());
        open_doors(&config, host).into_iter().map(OpenDoor::as_str).collect::<Vec<_>>().join(" ")
    };
    let key = r#""routing": {"enableBearerAuth": true, "bearerAuthKey": "k3y"}"#;
    let cluster = |more: &str| format!(r#""cluster": {{"enabled": true, {more}}}"#);
    let coordinator = cluster(r#""mode": "coordinator""#);
    let node = |more: &str| {
        cluster(&format!(r#""mode": "node", "node": {{"coordinatorUrl": "http://c:3000"{more}}}"#))
    };
    for (section, host, open) in [
        (String::new(), "127.0.0.1", ""),
        (String::new(), "localhost", ""),
        (String::new(), "::1", ""),
        (String::new(), "0.0.0.0", "clients"),
        (String::new(), "10.0.0.1", "clients"),
        (String::new(), "gateway", "clients"),
        (key.to_owned(), "0.0.0.0", ""),
        (coordinator.clone(), "0.0.0.0", "clients cluster"),
        (coordinator.clone(), "127.0.0.1", ""),
        (format!("{coordinator}, {key}"), "0.0.0.0", "cluster"),
        (node(""), "0.0.0.0", "cluster"),
        (node(r#", "public": true"#), "0.0.0.0", "clients cluster"),
    ] {
        assert_eq!(doors(&format!("{{{section}}}"), host), open, "{section} at {host}");
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    let case = || system(r#"{"listen": {"host": "127.0.0.1", "port": 4000}}"#);
    assert_eq!(case().warns(&[]).listen, listen(("127.0.0.1", Some(HOST_KEY)), (4000, PORT_KEY)));
    let config = case()
        .env("PORT", "0")
        .env("MOORING_HOST", "[::1]")
        .env("MOORING_DATA", "/var/m")
        .warns(&[]);
    assert_eq!(config.listen, listen(("::1", Some(HOST_VARIABLE)), (0, PORT_VARIABLE)));
    assert_eq!(config.data_dir, Path::new("/var/m"));
    assert_eq!(case().env("PORT", "").config().listen.port, 4000);
}

#[test]
fn an_address_that_cannot_be_is_refused() {
    system("{}").env("PORT", "3k").env("MOORING_HOST", "[x]").errors(&[
        "environment: MOORING_HOST: is not an IP address, a host name or unix: with the path of a socket; \
         write it like 127.0.0.1, :: or unix:/run/mooring/socket",
        "environment: PORT: is not a port; use a whole number from 0 to 65535",
    ]);
    // Of an address in the file that is not understood, the narrowest counts.
    let node = r#""cluster": {"enabled": true, "mode": "coordinator"}"#;
    let config = system(&format!(r#"{{{node}, "listen": {{"host": "a b", "port": 65536}}}}"#)).warns(&[
        "1:91: systemConfig.listen.host: is not an IP address, a host name or unix: with the path of a \
         socket; write it like 127.0.0.1, :: or unix:/run/mooring/socket; until then only this machine is served",
        "1:106: systemConfig.listen.port: is too large; use a whole number from 0 to 65535; until then \
         its default counts",
    ]);
    assert_eq!(config.listen, listen(("127.0.0.1", Some(HOST_KEY)), (3000, PORT_KEY)));
    let config = system(&format!(r#"{{{node}, "listen": "0.0.0.0"}}"#)).warns(&[
        "1:82: systemConfig.listen: must be an object, not a string; write { … }; until then its \
         default counts",
    ]);
    assert_eq!(config.listen, listen(("127.0.0.1", Some(HOST_KEY)), (3000, PORT_KEY)));
}

/// A file with the name of a plugin.
fn plugin() -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("mooring-{}-zone.wasm", std::process::id()));
    std::fs::write(&file, "").unwrap();
    file
}

#[test]
fn a_strategy_is_built_in_or_a_file_beside_the_settings() {
    for name in ["consistent-hash", "cookie", "header"] {
        assert_eq!(
            sticky(&format!(r#"{{"strategy": "{name}"}}"#)).warns(&[]).sticky.strategy,
            name
        );
    }
    let file = plugin();
    let named = format!(r#"{{"strategy": "{}"}}"#, file.display());
    assert_eq!(sticky(&named).warns(&[]).sticky.strategy, file.display().to_string());
    for (given, path) in [("s/zone.wasm", "/srv/s/zone.wasm"), ("/s/zone.wasm", "/s/zone.wasm")] {
        sticky(&format!(r#"{{"strategy": "{given}"}}"#)).errors(&[&format!(
            "1:61: systemConfig.cluster.stickySession.strategy: names {path}, which cannot be read: No \
             such file or directory (os error 2); check the path, which starts at the folder of this file"
        )]);
    }
    sticky(r#"{"strategy": "cookies"}"#).errors(&[
        "1:61: systemConfig.cluster.stickySession.strategy: \"cookies\" is not a strategy; use consistent-hash, \
         cookie, header or the path of a .wasm file (did you mean \"cookie\"?)",
    ]);
}

#[test]
fn a_plugin_gets_its_own_settings_and_nobody_questions_them() {
    let file = plugin().display().to_string();
    let config = sticky(&format!(
        r#"{{"strategy": "{file}", "zones": {{"eu": 1.5, "us": [1, null, true]}}, /* x */ "signed": true}}"#,
    ))
    .warns(&[]);
    assert_eq!(
        config.sticky.json.replace(&file, "zone.wasm"),
        r#"{"strategy":"zone.wasm","zones":{"eu":1.5,"us":[1,null,true]},"signed":true,"enabled":true,"cookieName":"MCPHUB_NODE","headerName":"X-MCPHub-Node","wasi":"deny","affinityTimeout":3600000}"#
    );
    sticky(r#"{"strategy": "cookie", "zones": 1}"#).warns(&[
        "1:71: systemConfig.cluster.stickySession.zones: is not a known key; \
         known keys here: enabled, strategy, cookieName, headerName, signed, wasi, \
         credentials",
    ]);
}

#[test]
fn cookie_and_header_names_must_be_possible() {
    let config =
        sticky(r#"{"cookieName": "N", "headerName": "X-N", "enabled": false, "wasi": "sandbox"}"#)
            .warns(&[]);
    assert_eq!(
        (config.sticky.cookie_name.as_str(), config.sticky.header_name.as_str()),
        ("N", "X-N")
    );
    assert_eq!((config.sticky.enabled, config.sticky.wasi), (false, Wasi::Sandbox));
    let until = "until then its default counts";
    sticky(r#"{"cookieName": "a;b", "headerName": "Transfer-Encoding"}"#).warns_until(until, &[
        "1:63: systemConfig.cluster.stickySession.cookieName: \"a;b\" is not a cookie name; \
         use letters, digits, - and _ only",
        "1:84: systemConfig.cluster.stickySession.headerName: \"Transfer-Encoding\" is a header that Mooring \
         sets itself; choose another name, such as X-MCPHub-Node",
    ]);
    sticky(r#"{"headerName": "X: y\r\n", "cookieName": "", "wasi": 1}"#).warns_until(until, &[
        "1:63: systemConfig.cluster.stickySession.headerName: contains control characters; remove them",
        "1:89: systemConfig.cluster.stickySession.cookieName: \"\" is not a cookie name; \
         use letters, digits, - and _ only",
        "1:101: systemConfig.cluster.stickySession.wasi: must be a string, not a number; write it in quotes",
    ]);
    // What would leave a door open, or move sessions, stops the start.
    sticky(r#"{"signed": "yes", "strategy": 1}"#).errors(&[
        "1:59: systemConfig.cluster.stickySession.signed: must be true or false, not a string; \
         write true or false without quotes",
        "1:78: systemConfig.cluster.stickySession.strategy: must be a string, not a number; write it in quotes",
    ]);
    sticky(r#"{"cookieName": "__Host-n"}"#).warns(&[
        "1:63: systemConfig.cluster.stickySession.cookieName: is a cookie that browsers accept over HTTPS only; \
         choose a name without the prefix __Host- or __Secure-",
    ]);
}

/// A mistake that only the plugin finds would have no line in its message.
#[test]
fn what_mooring_accepts_the_built_in_strategies_accept() {
    let long = "n".repeat(64);
    let longer = "n".repeat(65);
    let names = "accept authorization content-type cookie date host location origin set-cookie vary \
                 www-authenticate te proxy-x mcp-x mooring-x content-encoding X-Node !#$ a.b";
    for name in names.split(' ').chain([long.as_str(), &longer]) {
        for key in ["cookieName", "headerName"] {
            let Ok(loaded) = sticky(&format!(r#"{{"{key}": "{name}"}}"#)).load() else {
                continue;
            };
            let json = loaded.config.sticky.json;
            assert!(Settings::parse(&json).is_ok(), "{json}");
        }
    }
    for name in ["Cookie", "Mcp-X", &longer] {
        let loaded = sticky(&format!(r#"{{"headerName": "{name}"}}"#)).load().unwrap();
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert_eq!(loaded.config.sticky.header_name, "X-MCPHub-Node");
    }
    assert_eq!(sticky(&format!(r#"{{"headerName": "{long}"}}"#)).config().sticky.header_name, long);
}

#[test]
fn tool_names_are_composed_as_told() {
    let config = system(r#"{"nameSeparator": "__", "namePrefix": "on-collision"}"#).warns(&[]);
    assert_eq!(config.names, Names { separator: "__".into(), prefix: Prefix::OnCollision });
    system(r#"{"nameSeparator": "a b"}"#).errors(&[
        "1:36: systemConfig.nameSeparator: cannot separate names; use 1 to 8 printable ASCII characters, such as -",
    ]);
    let usual = Names { separator: "-".into(), prefix: Prefix::Always };
    assert_eq!(system(r#"{"nameSeparator": ""}"#).warns(&[]).names, usual);
    let config = system(r#"{"nameSeparator": 5, "namePrefix": "oncollision"}"#);
    let config = config.warns_until(
        "until then its default counts",
        &[
            "1:36: systemConfig.nameSeparator: must be a string, not a number; write it in quotes",
            "1:53: systemConfig.namePrefix: \"oncollision\" is not a prefix mode; \
         use one of always, on-collision, never (did you mean \"on-collision\"?)",
        ],
    );
    assert_eq!(config.names, usual);
}

#[test]
fn the_eras_and_what_names_a_conversation() {
    let config = system("{}").warns(&[]);
    assert_eq!(config.eras, Eras::default());
    assert!(!config.eras.modern, "sessions alone, until the operator says otherwise");
    let config = system(
        r#"{"eras": ["legacy", "modern"], "conversations": ["handle", "header:X-Thread", "meta:a/b", "connection"]}"#,
    )
    .warns(&[]);
    assert!(config.eras.modern);
    let named: Vec<String> = config.eras.conversations.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["handle", "header:x-thread", "meta:a/b", "connection"]);
    let page = describe(&config);
    let line = "eras            legacy and modern, conversations by handle, header:x-thread, meta:a/b, connection";
    assert!(page.lines().any(|found| found == line), "{page}");
    let of = |strategy: &str| {
        let mut config = system(r#"{"eras": ["legacy", "modern"]}"#).config();
        config.sticky.strategy = strategy.to_owned();
        describe(&config)
    };
    assert!(of("header").contains("conversations by handle, cookie, principal"));
    assert!(of("/own.wasm").contains("conversations by plugin, handle, cookie, principal"));
    assert!(system(r#"{"conversations": []}"#).config().eras.conversations.is_empty());
    system(r#"{"eras": ["modern"], "conversations": ["handel", "header:", "meta:", 7]}"#).errors(&[
        "1:27: systemConfig.eras: leaves out legacy: clients with sessions are always served; \
         write [\"legacy\", \"modern\"]",
        "1:57: systemConfig.conversations[0]: \"handel\" does not name a conversation; \
         use plugin, handle, cookie, principal, address, connection, header:NAME, meta:NAME or \
         argument:NAME (did you mean \"handle\"?)",
        "1:67: systemConfig.conversations[1]: names no header; write it like header:X-Conversation-Id",
        "1:78: systemConfig.conversations[2]: names no member of _meta; write it like meta:com.example/thread",
        "1:87: systemConfig.conversations[3]: must be a string, not a number; write it in quotes",
    ]);
    let report = system(r#"{"eras": "modern"}"#).load().unwrap_err().to_string();
    assert!(report.contains("systemConfig.eras: must be a list"), "{report}");
    let report = system(r#"{"eras": ["legacy", "2026-07-28"]}"#).load().unwrap_err().to_string();
    assert!(report.contains("is not an era; use legacy or modern"), "{report}");
}

#[test]
fn limits_move_within_reason() {
    let config = system(
        r#"{"limits": {"requestBody": 1048576, "inFlightPerSession": 1, "keepAlive": 1000}}"#,
    )
    .warns(&[]);
    assert_eq!(config.limits.request_body, 1 << 20);
    assert_eq!(config.limits.in_flight_per_session, 1);
    assert_eq!(config.limits.keep_alive, Duration::from_secs(1));
    let config = system(r#"{"limits": {"requestBody": 2048, "headerBlock": 1, "pageSize": "5"}}"#).warns(&[
        "1:45: systemConfig.limits.requestBody: keptBody is 65536, more than requestBody, and so counts \
         as 2048; lower keptBody or raise requestBody",
        "1:66: systemConfig.limits.headerBlock: is too small; use a whole number from 8192 to 1048576; \
         until then its default counts",
        "1:81: systemConfig.limits.pageSize: must be a number, not a string; use a whole number from 1 to \
         100000; until then its default counts",
    ]);
    assert_eq!((config.limits.kept_body, config.limits.header_block), (2048, 64 << 10));
    assert_eq!(config.limits.page_size, 1000);
}

#[test]
fn the_memory_for_answers_has_room_for_the_largest() {
    let limits = |section: &str| system(&format!(r#"{{"limits": {section}}}"#));
    let config = limits(r#"{"line": 1073741824}"#).warns(&[]);
    assert_eq!(config.limits.kept_answers, 4 << 30);
    let config = limits(r#"{"line": 2097152, "keptAnswers": 1048576}"#).warns(&[
        "1:38: systemConfig.limits.line: line is 2097152, more than keptAnswers, and so counts as 1048576; \
         lower line or raise keptAnswers",
    ]);
    assert_eq!(config.limits.line, 1 << 20);
}

#[test]
fn the_memory_for_bodies_has_room_for_the_largest() {
    let limits = |section: &str| system(&format!(r#"{{"limits": {section}}}"#));
    let config = limits(r#"{"requestBody": 1073741824}"#).warns(&[]);
    assert_eq!(config.limits.bodies_in_memory, 4 << 30);
    let config = limits(r#"{"requestBody": 2097152, "bodiesInMemory": 1048576}"#).warns(&[
        "1:45: systemConfig.limits.requestBody: requestBody is 2097152, more than bodiesInMemory, and so \
         counts as 1048576; lower requestBody or raise bodiesInMemory",
    ]);
    assert_eq!(config.limits.request_body, 1 << 20);
    let limits = limits(r#"{"connections": 0, "headTimeout": 10, "bodyRate": 0}"#);
    limits.warns_until("until then its default counts", &[
        "1:45: systemConfig.limits.connections: is too small; use a whole number from 1 to 10000000",
        "1:63: systemConfig.limits.headTimeout: is too small; use a whole number from 1000 to 3600000",
        "1:79: systemConfig.limits.bodyRate: is too small; use a whole number from 1 to 1048576",
    ]);
}
