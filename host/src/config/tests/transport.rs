//! How a server is reached, and which mistakes of the environment stop it.

use super::servers::{only, server};
use super::*;

#[track_caller]
fn stdio(config: Config) -> (String, Vec<String>, Vec<(String, String)>) {
    match only(config).transport {
        Some(Transport::Stdio { command, args, env, .. }) => {
            let plain = |(name, value): (String, Secret)| (name, value.expose().to_owned());
            (command, args, env.into_iter().map(plain).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_type_decides_and_a_bare_url_leaves_it_open() {
    let remote = || Remote {
        url: "https://b/mcp?k=1".parse().unwrap(),
        headers: vec![],
        proxy: None,
        tls: None,
        tokens: None,
        login: None,
    };
    for (given, expected) in [
        ("", Transport::HttpOrSse(remote())),
        (r#""type": "sse","#, Transport::Sse(remote())),
        (r#""type": "http","#, Transport::Http(remote())),
        (r#""type": "streamable-http","#, Transport::Http(remote())),
        (r#""type": "streamableHttp","#, Transport::Http(remote())),
    ] {
        let config = server(&format!(r#"{{{given} "url": "https://b/mcp?k=1"}}"#)).warns(&[]);
        assert_eq!(only(config).transport, Some(expected));
    }
}

#[test]
fn variables_expand_in_every_string_of_an_entry() {
    let config = server(
        r#"{"command": "${BIN}", "args": ["--port", 8080, true, "$PORT_", "${X:-a b}"],
            "env": {"Z": "${KEY}", "A": "1\n2", "N": 5}, "cwd": "work/${DIR}"}"#,
    )
    .env("BIN", "uvx")
    .env("PORT_", "9")
    .env("KEY", "s3cret")
    .env("DIR", "d")
    .warns(&[]);
    let Some(Transport::Stdio { cwd, .. }) = &config.servers[0].transport else {
        panic!("{config:?}");
    };
    assert_eq!(cwd.as_deref(), Some(Path::new("/srv/work/d")));
    let (command, args, env) = stdio(config);
    assert_eq!(command, "uvx");
    assert_eq!(args, ["--port", "8080", "true", "9", "a b"]);
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(env, [pair("Z", "s3cret"), pair("A", "1\n2"), pair("N", "5")]);

    let config =
        server(r#"{"url": "https://${HOST_}/mcp", "headers": {"Authorization": "Bearer ${KEY}"}}"#)
            .env("HOST_", "b")
            .env("KEY", "s3cret")
            .warns(&[]);
    let Some(Transport::HttpOrSse(remote)) = only(config).transport else {
        panic!("not a remote");
    };
    assert_eq!(remote.url, "https://b/mcp");
    assert_eq!(remote.headers[0].0, "authorization");
    assert_eq!(remote.headers[0].1, "Bearer s3cret");
}

#[test]
fn an_unset_variable_stops_its_server_and_no_other() {
    let advice = "set it, or write ${NAME:-default}; until then this server does not run";
    let both = "environment variables ONE, TWO are not set";
    let config = file(
        r#"{"mcpServers": {
            "a": {"command": "x", "args": ["${ONE}", "$TWO ${ONE}"], "env": {"K": "${ONE}"}},
            "b": {"command": "y"}}}"#,
    )
    .warns(&[&format!("2:18: mcpServers.a: {both}; {advice}")]);
    let [a, b] = config.servers.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(a.misconfigured.as_deref(), Some(both));
    assert_eq!(a.transport, None);
    assert_eq!((&b.misconfigured, b.transport.is_some()), (&None, true));
}

#[test]
fn a_value_spoilt_by_the_environment_stops_its_server_only() {
    for (entry, reason) in [
        (r#"{"url": "${V}"}"#, "url has spaces around it once expanded"),
        (
            r#"{"url": "http://b", "headers": {"k": "${V}"}}"#,
            "headers.k contains control characters once expanded",
        ),
        (r#"{"command": "${V}"}"#, "command contains control characters once expanded"),
    ] {
        let value = if entry.contains("{\"url\": \"$") { " http://b" } else { "a\n" };
        let case = server(entry).env("V", value);
        assert_eq!(only(case.config()).misconfigured.as_deref(), Some(reason), "{entry}");
    }
    let config = server(r#"{"command": "${V}"}"#).env("V", "").config();
    assert_eq!(only(config).misconfigured.as_deref(), Some("command is empty once expanded"));
}

#[test]
fn openapi_servers_are_listed_but_not_run() {
    for entry in
        [r#"{"type": "openapi", "openapi": {"url": "x"}}"#, r#"{"openapi": {"schema": {"a": 1}}}"#]
    {
        let config = server(entry)
            .warns(&["1:22: mcpServers.a: openapi servers are not supported; \
             remove it or add \"enabled\": false; until then this server does not run"]);
        let server = only(config);
        assert_eq!(server.misconfigured.as_deref(), Some("openapi servers are not supported"));
        assert_eq!(server.transport, None);
    }
}

#[test]
fn what_the_type_does_not_use_is_pointed_out() {
    server(r#"{"type": "stdio", "command": "x", "url": "http://b"}"#)
        .warns(&["1:63: mcpServers.a.url: is not used by a server of this type; remove it"]);
}
