//! `inheritEnv`, `install`, and proxies.

use super::*;

fn remote(more: &str) -> Case {
    file(&format!(r#"{{"mcpServers": {{"far": {{"url": "https://far.example/mcp"{more}}}}}}}"#))
}

fn proxy(config: &Config) -> Option<String> {
    match &config.servers[0].transport {
        Some(Transport::HttpOrSse(remote)) => {
            let proxy = remote.proxy.as_ref()?;
            Some(format!("{}:{} {}", proxy.host, proxy.port, proxy.named_by))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn variables_for_servers_are_named_and_mistakes_cost_themselves() {
    let case = file(
        r#"{"systemConfig": {"inheritEnv": ["A", "MOORING_KEY", "B=", 5, "A", "NONE"],
            "install": {"npmRegistry": " https://u:p@npm.example ", "pythonIndexUrl": ""}}}"#,
    );
    let config = case.env("A", "1").warns(&[
        r#"1:39: systemConfig.inheritEnv[1]: "MOORING_KEY" is the gateway's own, so no server gets it; set another variable, or the server's own "env""#,
        r#"1:54: systemConfig.inheritEnv[2]: is not the name of a variable; use letters, digits and _"#,
        r#"1:60: systemConfig.inheritEnv[3]: must be the name of a variable; write it in quotes"#,
        r#"1:68: systemConfig.inheritEnv[5]: "NONE" is not set; set it, or remove it here"#,
    ]);
    let ChildVariables { inherited, npm_registry, python_index } = config.children;
    assert_eq!(inherited, [("A".into(), Some(Secret::new("1"))), ("NONE".into(), None)]);
    assert_eq!(npm_registry, Some(Secret::new("https://u:p@npm.example")));
    assert_eq!(python_index, None);
}

#[test]
fn registries_that_are_no_urls_are_not_handed_over() {
    for (given, problem) in [
        (r#""npm.example""#, "is not an http:// or https:// URL, so servers do not get it"),
        (r#""https://a b""#, "is not an http:// or https:// URL, so servers do not get it"),
        (r#""https://""#, "is not an http:// or https:// URL, so servers do not get it"),
        (r#""${ABSENT}""#, "environment variable ABSENT is not set"),
    ] {
        let text = format!(r#"{{"systemConfig": {{"install": {{"npmRegistry": {given}}}}}}}"#);
        let loaded = file(&text).load().unwrap();
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert_eq!(loaded.warnings[0].message, problem);
        assert_eq!(loaded.config.children.npm_registry, None);
    }
}

#[test]
fn the_environments_proxy_is_that_of_the_scheme_and_small_letters_go_first() {
    let all = [("ALL_PROXY", "all:1"), ("HTTPS_PROXY", "big:2"), ("HTTP_PROXY", "no:3")];
    let with = |more: &[(&str, &str)]| {
        let set = |case: Case, (name, value): &(&str, &str)| case.env(name, value);
        more.iter().fold(remote(""), set).warns(&[])
    };
    assert_eq!(proxy(&with(&all[..1])).as_deref(), Some("all:1 ALL_PROXY"));
    assert_eq!(proxy(&with(&all)).as_deref(), Some("big:2 HTTPS_PROXY"));
    let small = [&all[..], &[("https_proxy", "http://small:4")]].concat();
    assert_eq!(proxy(&with(&small)).as_deref(), Some("small:4 https_proxy"));
    let exempt = [&small[..], &[("NO_PROXY", "x, .EXAMPLE:443")]].concat();
    assert_eq!(proxy(&with(&exempt)), None);
    assert_eq!(proxy(&with(&all[2..])), None);
}

#[test]
fn a_servers_own_proxy_counts_whatever_the_environment_says() {
    let own = |value: &str| {
        let case = remote(&format!(r#", "proxy": {value}"#));
        let case = case.env("HTTPS_PROXY", "env:1").env("NO_PROXY", "far.example");
        proxy(&case.env("USER", "u").env("PASSWORD", "p").warns(&[]))
    };
    let named = |place: &str| Some(format!("{place} its \"proxy\""));
    assert_eq!(own(r#""http://${USER}:${PASSWORD}@own:9""#), named("own:9"));
    assert_eq!(own(r#"{"url": "own:9"}"#), named("own:9"));
    let of_mcphub =
        r#"{"enabled": true, "type": "http", "host": "own", "port": 9, "username": "a@b"}"#;
    assert_eq!(own(of_mcphub), named("own:9"));
    for none in ["false", "\"none\"", "\"direct\""] {
        assert_eq!(own(none), None, "{none}");
    }
    for usual in ["null", "\"\"", r#"{"enabled": false, "host": "own", "port": 9}"#, "{}"] {
        let case = remote(&format!(r#", "proxy": {usual}"#)).env("HTTPS_PROXY", "env:1");
        assert_eq!(proxy(&case.warns(&[])).as_deref(), Some("env:1 HTTPS_PROXY"), "{usual}");
    }
    let local = r#"{"mcpServers": {"far": {"url": "http://127.0.0.1/mcp"}}}"#;
    assert_eq!(proxy(&file(local).env("http_proxy", "env:1").warns(&[])), None);
}

#[test]
fn a_variable_that_names_no_proxy_is_told_where_a_server_is_remote() {
    let told = [
        "environment: HTTPS_PROXY: must begin with http://, https:// or socks5://; until it is right, remote servers are reached without it; write it like http://proxy.example:3128",
    ];
    assert_eq!(proxy(&remote("").env("HTTPS_PROXY", "gopher://p").warns(&told)), None);
    file(r#"{"mcpServers": {"a": {"command": "x"}}}"#).env("HTTPS_PROXY", "gopher://p").warns(&[]);
}

#[test]
fn an_access_token_is_sent_unless_the_server_has_an_authorization() {
    let sent = |more: &str| {
        let config = remote(more).env("TOKEN", "t").load().unwrap().config;
        let Some(Transport::HttpOrSse(remote)) = &config.servers[0].transport else {
            panic!("{config:?}");
        };
        let headers = remote.headers.iter();
        headers.map(|(_, value)| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sent(r#", "oauth": {"accessToken": "${TOKEN}"}"#), ["Bearer t"]);
    assert_eq!(sent(r#", "oauth": {"accessToken": ""}"#), [""; 0]);
    let both = r#", "oauth": {"accessToken": "t"}, "headers": {"AUTHORIZATION": "Basic x"}"#;
    assert_eq!(sent(both), ["Basic x"]);
    let case = remote(r#", "oauth": {"accessToken": "${ABSENT}"}"#);
    let config = case.load().unwrap().config;
    assert_eq!(
        config.servers[0].misconfigured.as_deref(),
        Some("environment variable ABSENT is not set")
    );
}
