//! How many sessions a client may have: counted by its address, or that of the client behind a
//! proxy, and never at the cost of another client.

use mooring_tests::{
    Connection, Gateway, OverSse, Request, Response, Session, eventually, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::processes::lifecycle::is_refused;

/// Another client on this machine.
const OTHER: &str = "127.0.0.9";
const PATHS: [&str; 3] = ["/mcp", "/mcp/counter", "/mcp/desk"];

fn gateway(sessions: u32, system: Value) -> Gateway {
    let base = json!({
        "mcpServers": {"counter": servers::counter()},
        "groups": [{"name": "desk", "servers": ["counter"]}],
        "systemConfig": {"limits": {"sessionsPerPrincipal": sessions}},
    });
    Gateway::start_with(&settings::merged(base, json!({"systemConfig": system})))
}

/// The id of a session that was begun and not used.
#[track_caller]
fn begun(gateway: &Gateway, path: &str) -> String {
    let response = gateway.client(path).try_initialize().expect(200);
    response.header("mcp-session-id").expect("an id").to_owned()
}

fn metric(gateway: &Gateway, name: &str, limit: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let start = format!("mooring_{name}{{limit=\"{limit}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
    value.unwrap_or_else(|| panic!("no {start}in {text}"))
}

fn sse_stream(source: &str) -> Request {
    let source = source.parse().unwrap();
    Request::get("/sse").header("Accept", "text/event-stream").from(Some(source))
}

#[test]
fn a_client_with_all_its_sessions_keeps_no_other_from_beginning_one() {
    let gateway = gateway(3, json!({}));
    let used: Vec<Session> = PATHS.iter().map(|path| gateway.client(path).initialize()).collect();
    for path in PATHS {
        let refused = gateway.client(path).try_initialize().expect(429);
        let counted = "3 sessions of the address 127.0.0.1 ";
        is_refused(&refused, &[counted, "limits.sessionsPerPrincipal", "DELETE"]);
        gateway.client(path).at(OTHER).initialize().delete().expect(200);
    }
    sse_stream("127.0.0.1").send(gateway.address()).expect(429);
    assert_eq!(sse_stream(OTHER).open(gateway.address()).status, 200);
    assert_eq!(used[0].count("counter-count"), 1);
    assert_eq!(metric(&gateway, "limit_refusals_total", "sessionsPerPrincipal"), 4);
    let said = gateway.log().matches("limits.sessionsPerPrincipal").count();
    assert_eq!(said, 1, "{}", gateway.log());
}

#[test]
fn sessions_that_were_never_used_give_way_and_their_ids_go_on_working() {
    let gateway = gateway(4, json!({}));
    let used = gateway.client("/mcp/counter").initialize();
    assert_eq!(used.count("count"), 1);
    let ids: Vec<String> = (0..12).map(|_| begun(&gateway, "/mcp")).collect();
    assert_eq!(metric(&gateway, "limit_evictions_total", "sessionsPerPrincipal"), 9);
    assert_eq!(used.count("count"), 2, "the one in use is as it was");
    let client = gateway.client("/mcp");
    for id in &ids {
        let session = Session::resumed(&client, id);
        assert!(session.tools().contains(&"counter-count".to_owned()));
    }
    // All of them are used now.
    gateway.client("/mcp").try_initialize().expect(429);
}

#[test]
fn a_session_of_one_server_gives_way_and_its_id_goes_on_working() {
    let gateway = gateway(4, json!({}));
    let single = begun(&gateway, "/mcp/counter");
    let more: Vec<String> = (0..6).map(|_| begun(&gateway, "/mcp")).collect();
    assert_eq!(more.len(), 6);
    assert_eq!(Session::resumed(&gateway.client("/mcp/counter"), &single).count("count"), 1);
}

#[test]
fn a_client_that_changes_its_network_keeps_its_session_and_where_it_counts() {
    let mut gateway = gateway(1, json!({}));
    let session = gateway.client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let moved = Session::resumed(&gateway.client("/mcp/counter").at(OTHER), &session.id);
    assert_eq!(moved.count("count"), 2);
    let own = gateway.client("/mcp").at(OTHER).initialize();
    gateway.client("/mcp").try_initialize().expect(429);
    gateway.client("/mcp").at(OTHER).try_initialize().expect(429);
    moved.delete().expect(200);
    gateway.client("/mcp").initialize().delete().expect(200);
    // After a restart it counts for whoever uses it first.
    gateway.restart_after(Signal::TERM);
    let own = Session::resumed(&gateway.client("/mcp").at("127.0.0.10"), &own.id);
    assert!(!own.tools().is_empty());
    gateway.client("/mcp").at("127.0.0.10").try_initialize().expect(429);
    let _ = gateway.client("/mcp").at(OTHER).initialize();
    own.delete().expect(200);
    let _ = gateway.client("/mcp").at("127.0.0.10").initialize();
}

#[test]
fn streams_of_http_sse_count_before_their_initialize() {
    let gateway = gateway(2, json!({}));
    let one = OverSse::open(gateway.address(), "/sse");
    let two = OverSse::initialize(gateway.address(), "/sse/counter");
    let refused = sse_stream("127.0.0.1").send(gateway.address()).expect(429);
    is_refused(&refused, &["2 sessions", "limits.sessionsPerPrincipal"]);
    gateway.client("/mcp").try_initialize().expect(429);
    let _ = gateway.client("/mcp").at(OTHER).initialize();
    drop(one);
    eventually("the stream that was never initialized is uncounted", || {
        let response = gateway.client("/mcp").try_initialize();
        (response.status == 200).then_some(())
    });
    drop(two);
    eventually("no session of the address is left", || {
        let streams = [(); 1].map(|()| sse_stream("127.0.0.1").open(gateway.address()));
        streams.iter().all(|stream| stream.status == 200).then_some(())
    });
}

#[test]
fn all_sessions_together_are_bounded_and_the_least_used_are_forgotten() {
    let gateway = gateway(100, json!({"limits": {"sessions": 5}}));
    let ids: Vec<String> = (1..=12)
        .map(|last| {
            let client = gateway.client("/mcp").at(&format!("127.0.0.{last}"));
            client.initialize().id
        })
        .collect();
    let text = gateway.get("/metrics").expect(200).text();
    assert!(text.contains("mooring_sessions 5\n"), "{text}");
    assert!(metric(&gateway, "limit_evictions_total", "sessions") >= 7);
    for id in &ids {
        assert!(!Session::resumed(&gateway.client("/mcp"), id).tools().is_empty());
    }
}

// Behind a proxy

fn forwarded(gateway: &Gateway, from: &str, header: (&str, &str)) -> Response {
    let client = gateway.client("/mcp").at(from).header(header.0, header.1);
    let response = client.try_initialize();
    if let Some(id) = response.header("mcp-session-id") {
        let used = Session::resumed(&client, id);
        used.notify("notifications/initialized", json!({})).expect(202);
    }
    response
}

#[test]
fn clients_of_a_trusted_proxy_count_one_by_one() {
    const LIST: &str = "X-Forwarded-For";
    let gateway = gateway(1, json!({"trustedProxies": ["127.0.0.1", "10.0.0.0/8"]}));
    let from_proxy = |header, value| forwarded(&gateway, "127.0.0.1", (header, value)).status;
    for (header, value) in [
        (LIST, "192.0.2.1"),
        (LIST, "6.6.6.6, 192.0.2.2, 10.1.1.1"),
        ("Forwarded", "for=192.0.2.3;proto=https"),
        ("Forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:4711\""),
        (LIST, "the proxy itself"),
    ] {
        assert_eq!(from_proxy(header, value), 200, "{value}");
    }
    for (header, value) in [
        (LIST, "192.0.2.3:80"),
        (LIST, "192.0.2.99, 192.0.2.1"),
        ("Forwarded", "for=192.0.2.2"),
        (LIST, "[2001:db8::ffff]"),
        (LIST, "unknown"),
        ("Forwarded", "for=_hidden"),
    ] {
        assert_eq!(from_proxy(header, value), 429, "{value}");
    }
    let both = gateway.client("/mcp").header("Forwarded", "for=192.0.2.77");
    both.header(LIST, "192.0.2.78").try_initialize().expect(429);
    // Nobody else is believed.
    assert_eq!(forwarded(&gateway, OTHER, (LIST, "192.0.2.50")).status, 200);
    assert_eq!(forwarded(&gateway, OTHER, (LIST, "192.0.2.51")).status, 429);
}

#[test]
fn a_proxy_that_is_not_named_is_told_of() {
    let gateway = gateway(1, json!({}));
    let header = ("X-Forwarded-For", "192.0.2.1");
    assert_eq!(forwarded(&gateway, "127.0.0.1", header).status, 200);
    assert_eq!(forwarded(&gateway, OTHER, header).status, 200);
    for _ in 0..2 {
        let refused = forwarded(&gateway, "127.0.0.1", header).expect(429);
        is_refused(&refused, &["the address 127.0.0.1", "systemConfig.trustedProxies"]);
    }
    let plain = gateway.client("/mcp").try_initialize().expect(429);
    assert!(!plain.error_message().contains("trustedProxies"));
    let log = gateway.log();
    assert_eq!(log.matches("requests come through a proxy").count(), 1, "{log}");
}

#[test]
fn with_a_key_the_credential_counts_wherever_it_comes_from() {
    let routing = json!({"enableBearerAuth": true, "bearerAuthKey": "0123456789abcdef"});
    let gateway = gateway(1, json!({"routing": routing}));
    let client = gateway.client("/mcp").header("Authorization", "Bearer 0123456789abcdef");
    let _ = client.initialize();
    let refused = client.clone().at(OTHER).try_initialize().expect(429);
    is_refused(&refused, &["1 sessions of the credential bearer"]);
}

#[test]
fn a_connection_that_brings_several_sessions_marks_each_as_used() {
    let gateway = gateway(2, json!({}));
    let client = gateway.client("/mcp");
    let mut connection = Connection::open(gateway.address());
    let mut id = || {
        let response = connection.exchange(&client.initialize_request()).expect(200);
        response.header("mcp-session-id").expect("an id").to_owned()
    };
    let ids = [id(), id()];
    for id in &ids {
        let session = Session::resumed(&client, id);
        let (ping, _) = session.message("ping", json!({}));
        assert_eq!(connection.exchange(&session.post(&ping)).status, 200);
    }
    client.try_initialize().expect(429);
}
