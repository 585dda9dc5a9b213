//! The settings of a coordinator and of a node.

use std::time::Duration;

use super::*;
use crate::model::ServerName;

/// A file with this `systemConfig.cluster`, on line 1.
pub(super) fn cluster(section: &str) -> Case {
    file(&format!(r#"{{"systemConfig": {{"cluster": {section}}}}}"#))
}

fn node(section: &str) -> Case {
    cluster(&format!(r#"{{"enabled": true, "mode": "node", "node": {section}}}"#))
}

#[track_caller]
pub(super) fn node_of(config: Config) -> NodeMode {
    match config.mode {
        Mode::Node(node) => node,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_needs_a_coordinator() {
    node("{}")
        .errors(&["1:72: systemConfig.cluster.node.coordinatorUrl: is required in node mode; \
         add \"coordinatorUrl\": \"http://coordinator:3000\" to the node section"]);
    cluster(r#"{"enabled": true, "mode": "node"}"#)
        .errors(&["1:30: systemConfig.cluster.node.coordinatorUrl: is required in node mode; \
         add \"coordinatorUrl\": \"http://coordinator:3000\" to the node section"]);
}

#[test]
fn the_coordinators_address_is_a_plain_http_url() {
    for (url, problem) in [
        ("", "lacks http:// or https:// in front"),
        ("coordinator:3000", "lacks http:// or https:// in front"),
        ("ftp://coordinator", "must begin with http:// or https://"),
        ("http://", "is not a URL"),
        ("http:///x", "is not a URL"),
        ("http://:3000", "has no host"),
        ("http://a b/", "is not a URL"),
        (" http://a", "has spaces around it"),
        ("http://me:pw@a/", "must not carry a user name or password"),
        ("http://a/?x=1", "must not carry a query"),
        ("http://a:0", "has a port that is not a number from 1 to 65535"),
        ("http://a:", "has a port that is not a number from 1 to 65535"),
        ("http://a:99999", "has a port that is not a number from 1 to 65535"),
        ("http://a:x", "has a port that is not a number from 1 to 65535"),
    ] {
        node(&format!(r#"{{"coordinatorUrl": {url:?}}}"#)).errors(&[&format!(
            "1:91: systemConfig.cluster.node.coordinatorUrl: {problem}; \
             write it like http://coordinator:3000"
        )]);
    }
    for url in ["http://a", "https://a.b:1/", "http://[::1]:3000", "http://a/base/"] {
        node(&format!(r#"{{"coordinatorUrl": {url:?}}}"#)).warns(&[]);
    }
}

#[test]
fn a_node_takes_its_facts_from_the_environment() {
    let config = node(
        r#"{"coordinatorUrl": "http://${HEAD}:3000", "id": "${POD}", "name": "${POD}",
            "advertiseUrl": "http://${IP:-10.0.0.7}:3000", "zone": "$ZONE",
            "labels": {"disk": "ssd", "pod": "${POD}"}, "weight": 1000, "public": true,
            "registerOnStartup": false, "heartbeatInterval": 100}"#,
    )
    .env("HEAD", "10.0.0.1")
    .env("POD", "pod-7")
    .env("ZONE", "eu-1")
    .warns(&[]);
    let node = node_of(config);
    assert_eq!(node.coordinator_urls, ["http://10.0.0.1:3000/"]);
    assert_eq!(node.id.as_ref().map(|id| id.as_str()), Some("pod-7"));
    assert_eq!(node.advertise_url.unwrap(), "http://10.0.0.7:3000/");
    assert_eq!(node.zone, "eu-1");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(node.labels, [pair("disk", "ssd"), pair("pod", "pod-7")]);
    assert_eq!((node.weight, node.public), (1000, true));
    assert!(!node.register_on_startup);
    assert_eq!(node.heartbeat_interval, Duration::from_millis(100));
}

#[test]
fn an_optional_fact_may_expand_to_nothing_but_not_be_unset() {
    let case =
        node(r#"{"coordinatorUrl": "http://a", "advertiseUrl": "${URL:-}", "id": "${ID:-}"}"#);
    let node_mode = node_of(case.warns(&[]));
    assert_eq!((node_mode.advertise_url, node_mode.id), (None, None));

    node(r#"{"coordinatorUrl": "http://${HEAD}"}"#).errors(&[
        "1:91: systemConfig.cluster.node.coordinatorUrl: environment variable HEAD is not set; \
         set it, or write ${NAME:-default}",
    ]);
}

#[test]
fn an_id_must_fit_in_a_cookie_and_intervals_in_reason() {
    node(r#"{"coordinatorUrl": "http://a", "id": "a b"}"#).errors(&[
        "1:109: systemConfig.cluster.node.id: has the character ' ', which is not allowed here; \
         leave it out to have one generated",
    ]);
    let config = node(r#"{"coordinatorUrl": "http://a", "heartbeatInterval": 99, "weight": 0}"#)
        .warns_until("until then its default counts", &[
            "1:124: systemConfig.cluster.node.heartbeatInterval: is too small; \
             use a whole number from 100 to 86400000",
            "1:138: systemConfig.cluster.node.weight: is too small; use a whole number from 1 to 1000",
        ]);
    let Mode::Node(node) = config.mode else { panic!() };
    assert_eq!((node.heartbeat_interval, node.weight), (Duration::from_secs(5), 1));
}

#[test]
fn a_duration_is_a_whole_number_of_milliseconds() {
    let advice = "use a whole number from 100 to 86400000";
    for (given, problem) in [
        ("-1", "is negative"),
        ("1.5", "is not a plain whole number"),
        ("15e3", "is not a plain whole number"),
        ("0", "is too small"),
        ("86400001", "is too large"),
        ("99999999999999999999999", "is too large"),
        ("\"15000\"", "must be a number, not a string"),
        ("true", "must be a number, not a boolean"),
        ("[]", "must be a number, not a list"),
    ] {
        let section = format!(
            r#"{{"enabled": true, "mode": "coordinator", "coordinator": {{"nodeTimeout": {given}}}}}"#
        );
        let config = cluster(&section).warns_until(
            "until then its default counts",
            &[&format!("1:102: systemConfig.cluster.coordinator.nodeTimeout: {problem}; {advice}")],
        );
        let Mode::Coordinator(coordinator) = config.mode else { panic!() };
        assert_eq!(coordinator.node_timeout, Duration::from_secs(15), "{given}");
    }
    let config = cluster(r#"{"drainDeadline": "25s", "stickySession": true}"#).warns_until(
        "until then its default counts",
        &[
            "1:48: systemConfig.cluster.drainDeadline: must be a number, not a string; \
             use a whole number from 0 to 86400000",
            "1:72: systemConfig.cluster.stickySession: must be an object, not a boolean; write { … }",
        ],
    );
    assert_eq!(config.drain_deadline, Duration::from_secs(25));
}

#[test]
fn the_affinity_timeout_applies_in_every_mode() {
    let config = cluster(r#"{"coordinator": {"stickySessionTimeout": 60000}}"#).config();
    assert_eq!(config.sticky.affinity_timeout, Duration::from_mins(1));
}

#[test]
fn the_environment_overrides_token_and_secret() {
    let text = r#"{"token": "from-the-file-0123", "secret": "${S}"}"#;
    let config = cluster(text).env("S", "sealed-by-this-0123").warns(&[]);
    assert_eq!(config.token.unwrap().expose(), "from-the-file-0123");
    assert_eq!(config.secret.unwrap().expose(), "sealed-by-this-0123");

    let config = cluster(text)
        .env("MOORING_CLUSTER_TOKEN", "from-the-environment")
        .env("MOORING_SECRET", "from-there-as-well-1")
        .warns(&[]);
    assert_eq!(config.token.unwrap().expose(), "from-the-environment");
    assert_eq!(config.secret.unwrap().expose(), "from-there-as-well-1");
}

#[test]
fn a_secret_is_not_empty_not_guessable_and_may_hold_a_dollar_sign() {
    cluster(r#"{"secret": ""}"#).errors(&[
        "1:41: systemConfig.cluster.secret: is empty; give it a value, or leave the key out",
    ]);
    cluster(r#"{"token": "abc"}"#)
        .warns(&["1:40: systemConfig.cluster.token: is short enough to be guessed; \
         use at least 16 characters, chosen at random"]);
    let config = cluster(r#"{"token": "pa$$word$HOME-and-more"}"#).warns(&[]);
    assert_eq!(config.token.unwrap().expose(), "pa$$word$HOME-and-more");
    cluster("{}").env("MOORING_SECRET", "a\n").errors(&[
        "environment: MOORING_SECRET: contains control characters; remove them; often it is a line break at the end",
    ]);
}

/// A coordinator with this store.
fn coordinator(store: &str) -> Case {
    cluster(&format!(r#"{{"enabled": true, "mode": "coordinator", "store": {store}}}"#))
}

fn redis(config: &Config) -> (String, Option<&str>, &str) {
    let Store::Redis { url, prefix } = &config.store else { panic!("{:?}", config.store) };
    (url.to_string(), url.password.as_ref().map(Secret::expose), prefix)
}

#[test]
fn a_store_is_memory_or_redis() {
    let (plain, default) = ("redis://r:6379/0".to_owned(), "mooring:");
    for memory in [r#""memory""#, r#"{"type": "memory"}"#, "null"] {
        assert_eq!(coordinator(memory).config().store, Store::Memory);
    }
    for (store, expect) in [
        (r#"{"type": "redis", "url": "redis://r"}"#, (plain.clone(), None, default)),
        (r#"{"type": "valkey", "url": "valkey://r"}"#, (plain.clone(), None, default)),
        (r#""redis://:${PW}@r:6379/0""#, (plain.clone(), Some("p@w"), default)),
        (
            r#"{"type": "redis", "url": "rediss://u:${PW}@r/2", "prefix": "{a}:"}"#,
            ("rediss://r:6379/2".to_owned(), Some("p@w"), "{a}:"),
        ),
    ] {
        let config = coordinator(store).env("PW", "p@w").config();
        assert_eq!(redis(&config), expect, "{store}");
        assert!(!format!("{config:?}").contains("p@w"));
        assert!(describe(&config).contains(&expect.0));
    }
    for store in ["null", r#"{"type": "redis"}"#, r#"{"type": "redis", "url": "redis://x"}"#] {
        let config = coordinator(store).env("MOORING_REDIS_URL", "redis://:pw@r").config();
        assert_eq!(redis(&config), (plain.clone(), Some("pw"), default), "{store}");
    }
    let config = coordinator(r#""memory""#).env("MOORING_REDIS_URL", "redis://:pw@r").config();
    assert_eq!(config.store, Store::Memory);
    let node = r#"{"enabled": true, "mode": "node", "node": {"coordinatorUrl": "http://c:1"}}"#;
    let config = cluster(node).env("MOORING_REDIS_URL", "nonsense").config();
    assert_eq!(config.store, Store::Memory, "a node has none");
}

#[test]
fn what_is_no_store_is_refused() {
    let at = "1:80: systemConfig.cluster.store";
    let advice = "write {\"type\": \"redis\", \"url\": \"redis://host:6379\"}, or leave it out \
                  to keep what one coordinator knows in its memory";
    coordinator(r#""etcd""#).errors(&[&format!("{at}: \"etcd\" is not a store; {advice}")]);
    coordinator(r#""redis""#)
        .errors(&[&format!("{at}: names no URL, and MOORING_REDIS_URL is not set; {advice}")]);
    coordinator(r#"{"type": "etcd"}"#).errors(&[
        "1:89: systemConfig.cluster.store.type: \"etcd\" is not a store; use one of memory, redis, valkey",
    ]);
    coordinator(r#"{"type": "redis", "url": "http://r"}"#).errors(&[
        "1:105: systemConfig.cluster.store.url: must begin with redis:// or rediss://; \
         write it like redis://host:6379/0",
    ]);
    coordinator("null")
        .env("MOORING_REDIS_URL", "redis://")
        .errors(&["environment: MOORING_REDIS_URL: has no host that can be reached; \
         write it like redis://host:6379/0"]);
    let with_server = r#"{"mcpServers": {"a": {"command": "x"}}, "systemConfig": {"cluster":
        {"enabled": true, "mode": "coordinator", "store": "redis://r"}}}"#;
    file(with_server).errors(&[
        "2:59: systemConfig.cluster.store: is shared, and this coordinator runs servers of its own \
         (a), which no other coordinator reaches; run them on a node",
    ]);
}

#[test]
fn a_node_has_one_coordinator_or_several() {
    let node = |urls: &str| {
        let node = format!(r#"{{"coordinatorUrl": {urls}}}"#);
        cluster(&format!(r#"{{"enabled": true, "mode": "node", "node": {node}}}"#))
    };
    let urls = |config: Config| {
        let Mode::Node(node) = config.mode else { panic!("a node") };
        node.coordinators()
    };
    assert_eq!(urls(node(r#""http://a:1""#).config()), "http://a:1/");
    let several = node(r#"["http://a:1", "${B}", "http://a:1"]"#).env("B", "http://b:2");
    assert_eq!(urls(several.config()), "http://a:1/ and http://b:2/");
    node("[]").errors(&[
        "1:91: systemConfig.cluster.node.coordinatorUrl: lists 0 coordinators; list 1 to 16 URLs",
    ]);
    node(r#"["http://a:1", "b"]"#).errors(&[
        "1:106: systemConfig.cluster.node.coordinatorUrl[1]: lacks http:// or https:// in front; \
         write it like http://coordinator:3000",
    ]);
}

#[test]
fn a_token_can_be_sent() {
    for token in ["é-0123456789abcdef", " 0123456789abcdef", "0123456789abcdef "] {
        let text = format!(r#"{{"enabled": true, "mode": "coordinator", "token": "{token}"}}"#);
        cluster(&text).errors(&["1:80: systemConfig.cluster.token: cannot be sent in a header; \
             use visible ASCII characters, without spaces around them"]);
    }
    cluster("{}")
        .env("MOORING_CLUSTER_TOKEN", "é-0123456789abcdef")
        .errors(&["environment: MOORING_CLUSTER_TOKEN: cannot be sent in a header; \
         use visible ASCII characters, without spaces around them"]);
}

#[test]
fn a_node_is_not_called_coordinator() {
    let node = r#"{"coordinatorUrl": "http://c:3000", "id": "coordinator"}"#;
    let text = format!(r#"{{"enabled": true, "mode": "node", "node": {node}}}"#);
    cluster(&text)
        .errors(&["1:114: systemConfig.cluster.node.id: is reserved for the coordinator; \
         choose another id, or leave it out to have one generated"]);
}

#[test]
fn a_short_token_keeps_a_process_to_its_machine() {
    let coordinator = |token: &str, host: &str| {
        let listen = format!(r#""listen": {{"host": "{host}"}}"#);
        file(&format!(
            r#"{{"systemConfig": {{{listen}, "cluster": {{"enabled": true, "mode": "coordinator", "token": "{token}"}}}}}}"#
        ))
    };
    let advice = "make one with `openssl rand -hex 32`, and set MOORING_CLUSTER_TOKEN to it on \
                  coordinator and nodes";
    for host in ["0.0.0.0", "::", "10.0.0.1", "gw.example"] {
        let report = coordinator("0123456789abcde", host).load().unwrap_err().to_string();
        assert!(report.contains("systemConfig.cluster.token: is too short: 15 of"), "{report}");
        assert!(report.contains(advice), "{report}");
        coordinator("0123456789abcdef", host).warns(&[]);
    }
    for host in ["127.0.0.1", "127.9.9.9", "::1", "localhost"] {
        let warnings = coordinator("x", host).load().unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.to_string().contains("short")), "{host}");
    }
    let report = cluster(r#"{"enabled": true, "mode": "coordinator"}"#)
        .env("MOORING_CLUSTER_TOKEN", "x")
        .load()
        .unwrap_err()
        .to_string();
    assert!(report.contains("MOORING_CLUSTER_TOKEN: is too short: 1 of"), "{report}");
    // A process without a cluster shows the token to nobody.
    cluster(r#"{"enabled": false}"#).env("MOORING_CLUSTER_TOKEN", "x").config();
}

#[test]
fn a_coordinator_names_the_credentials_that_pass() {
    let passes = |names: &str| {
        cluster(&format!(
            r#"{{"enabled": true, "mode": "coordinator", "coordinator": {{"passthroughHeaders": {names}}}}}"#
        ))
    };
    let config = passes(r#"{"far": ["Authorization", "cookie"]}"#).config();
    let Mode::Coordinator(coordinator) = config.mode else { panic!("a coordinator") };
    let names = &coordinator.passthrough_headers[&ServerName::parse("far").unwrap()];
    assert_eq!(names.iter().map(|n| n.as_str()).collect::<Vec<_>>(), ["authorization", "cookie"]);
    for (wrong, problem) in [
        (r#"{"far": ["Mcp-Session-Id"]}"#, "is a header that Mooring sets itself"),
        (r#"{"far": ["a b"]}"#, "is not a header name"),
        (r#"{"": ["Cookie"]}"#, "name a server of the cluster"),
        (r#"["Cookie"]"#, "must be an object"),
    ] {
        let report = passes(wrong).load().unwrap_err().to_string();
        assert!(report.contains(problem), "{report}");
    }
}

#[test]
fn a_node_is_closed_unless_it_has_a_key_or_is_public() {
    let closed = |node: &str, routing: &str| {
        let text = format!(
            r#"{{"systemConfig": {{"routing": {{{routing}}}, "cluster": {{"enabled": true, "mode": "node", "node": {{"coordinatorUrl": "http://c"{node}}}}}}}}}"#
        );
        let config = file(&text).config();
        (config.is_closed(), describe(&config))
    };
    let key = r#""enableBearerAuth": true, "bearerAuthKey": "0123456789abcdef""#;
    for (node, routing, is_closed, says) in [
        ("", "", true, "own /mcp, /api  closed: clients use the coordinator"),
        ("", key, false, "own /mcp, /api  for clients with the bearer key"),
        (r#", "public": true"#, key, false, "own /mcp, /api  for clients with the bearer key"),
        (r#", "public": true"#, "", false, "own /mcp, /api  open to every client"),
    ] {
        let (closed, page) = closed(node, routing);
        assert_eq!(closed, is_closed);
        assert!(page.contains(says), "{page}");
    }
}

#[test]
fn tls_of_the_cluster_names_its_files_and_variables_go_before_them() {
    let file = r#"{"ca": "ca.pem", "cert": "/tls/own.pem", "key": "own.key"}"#;
    let coordinator = |tls: &str| {
        cluster(&format!(r#"{{"enabled": true, "mode": "coordinator", "tls": {tls}}}"#))
    };
    let config = coordinator(file).config();
    let tls = config.cluster_tls.clone().unwrap();
    assert_eq!(tls.ca, Path::new("/srv/ca.pem"));
    assert_eq!((&*tls.cert, &*tls.key), (Path::new("/tls/own.pem"), Path::new("/srv/own.key")));
    assert_eq!((tls.revoked, tls.optional), (None, false));
    assert!(config.own_files.contains(&tls.key), "servers do not see it");
    assert!(describe(&config).contains("cluster TLS"));
    let config = coordinator("null")
        .env("MOORING_CLUSTER_TLS_CA", "/v/ca")
        .env("MOORING_CLUSTER_TLS_CERT", "cert")
        .env("MOORING_CLUSTER_TLS_KEY", "/v/key")
        .env("MOORING_CLUSTER_TLS_REVOKED", "/v/revoked")
        .config();
    let tls = config.cluster_tls.unwrap();
    assert_eq!((&*tls.ca, &*tls.cert), (Path::new("/v/ca"), Path::new("/srv/cert")));
    assert_eq!(tls.revoked.as_deref(), Some(Path::new("/v/revoked")));
    // A standalone process has no cluster.
    let config = cluster(&format!(r#"{{"tls": {file}}}"#)).config();
    assert_eq!(config.cluster_tls, None);
}

/// Neither a token nor certificates: who is near is believed.
#[test]
fn certificates_close_the_door_of_the_cluster_unless_they_are_optional() {
    let tls = |more: &str| {
        let files = r#""ca": "a", "cert": "b", "key": "c""#;
        let section =
            format!(r#"{{"enabled": true, "mode": "coordinator", "tls": {{{files}{more}}}}}"#);
        open_cluster_warning(&cluster(&section).config()).is_some()
    };
    assert!(!tls(""));
    assert!(tls(r#", "optional": true"#));
}
