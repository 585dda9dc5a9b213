//! Streams that are open when a reload takes away what let them be opened: a key, a part of what it
//! opens, a group, a server. Those of others go on.

use mooring_tests::http::Incoming;
use mooring_tests::{Gateway, OverSse, Request, eventually, servers, settings};
use serde_json::{Value, json};

const SERVERS: [&str; 2] = ["one", "two"];

fn key(name: &str) -> Value {
    json!({"name": name, "token": format!("token-of-{name}"), "enabled": true, "accessType": "all"})
}

fn bearer(name: &str) -> String {
    format!("Bearer token-of-{name}")
}

/// These servers, keys and groups.
fn with(names: &[&str], keys: &[Value], groups: &[&str]) -> Value {
    let mut all = json!({});
    for name in names {
        all[*name] = servers::counter_named(name);
    }
    let groups: Vec<Value> =
        groups.iter().map(|name| json!({"name": name, "servers": SERVERS})).collect();
    settings::merged(
        settings::roomy(settings::standalone(all)),
        json!({"bearerKeys": keys, "groups": groups}),
    )
}

/// Reads a stream to its end, which must come.
fn ends(mut stream: Incoming) {
    while stream.next_event().is_some() {}
}

/// The streams of a client at these paths: over Streamable HTTP and over HTTP+SSE.
fn streams(gateway: &Gateway, key: &str, paths: &[&str]) -> Vec<(String, Incoming)> {
    let key = bearer(key);
    let mut all = Vec::new();
    for path in paths {
        let session = gateway.client(path).header("Authorization", &key).initialize();
        let _ = session.tools();
        all.push((format!("{key} {path}"), session.listen()));
        let path = path.replace("/mcp", "/sse");
        let headers = [("Authorization", key.as_str())];
        let mut over = OverSse::open_with(gateway.address(), &path, &headers);
        over.begin();
        all.push((format!("{key} {path}"), over.stream));
    }
    all
}

/// Streams of the API: they need a key that opens everything.
fn streams_of_api(gateway: &Gateway, key: &str) -> Vec<Incoming> {
    let open = |path: &str| {
        let request = Request::get(path).header("Authorization", &bearer(key));
        let stream = request.open(gateway.address());
        assert_eq!(stream.status, 200, "{path}");
        stream
    };
    vec![open("/api/events"), open("/api/logs?server=one&follow=true")]
}

/// Whether a session of this key works as it did.
fn works(gateway: &Gateway, key: &str, path: &str, tool: &str) {
    let client = gateway.client(path).header("Authorization", &bearer(key));
    assert_eq!(client.initialize().count(tool), 1);
}

const SCOPES: [&str; 3] = ["/mcp", "/mcp/g", "/mcp/one"];

#[test]
fn all_streams_of_a_key_that_is_gone_end_and_those_of_others_go_on() {
    let gateway = Gateway::start_with(&with(&SERVERS, &[key("a"), key("b")], &["g"]));
    let mut ended = streams(&gateway, "a", &SCOPES);
    ended.extend(streams_of_api(&gateway, "a").into_iter().map(|api| ("api".to_owned(), api)));
    let stays = gateway.client("/mcp").header("Authorization", &bearer("b")).initialize();
    let mut stream = stays.listen();
    gateway.apply(&with(&SERVERS, &[key("b")], &["g"]));
    for (what, stream) in ended {
        eprintln!("{what}");
        ends(stream);
    }
    // What it was not told before, it is told now.
    let three = with(&["one", "two", "three"], &[key("b")], &["g"]);
    gateway.apply(&three);
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    assert_eq!(stays.count("one-count"), 1);
}

#[test]
fn a_key_that_is_replaced_ends_the_streams_of_its_session_and_no_key_at_all_too() {
    let gateway = Gateway::start_with(&with(&SERVERS, &[key("a")], &[]));
    let ended = streams(&gateway, "a", &["/mcp"]);
    gateway.apply(&with(&SERVERS, &[], &[]));
    for (what, stream) in ended {
        eprintln!("{what}");
        ends(stream);
    }
    // A list without a key locks too.
    gateway.client("/mcp").try_initialize().expect(401);
    let opened = json!({"systemConfig": {"routing": {"enableBearerAuth": false}}});
    let file = settings::merged(with(&SERVERS, &[], &[]), opened);
    gateway.rewrite(&file);
    eventually("the gateway is open", || {
        (gateway.client("/mcp").try_initialize().status == 200).then_some(())
    });
    let open = gateway.client("/mcp").initialize();
    let stream = open.listen();
    gateway.apply(&with(&SERVERS, &[key("a")], &[]));
    ends(stream);
    open.try_request("tools/list", json!({})).expect(401);
    works(&gateway, "a", "/mcp", "one-count");
}

#[test]
fn a_key_that_is_narrowed_keeps_the_streams_of_what_it_still_opens() {
    let of = |servers: &[&str]| {
        let narrowed = json!({"accessType": "servers", "allowedServers": servers});
        let key = settings::merged(key("a"), narrowed);
        with(&SERVERS, &[key, super::streams::key("b")], &[])
    };
    let gateway = Gateway::start_with(&of(&SERVERS));
    let ended = streams(&gateway, "a", &["/mcp/two"]);
    let client = |path: &str| gateway.client(path).header("Authorization", &bearer("a"));
    let (one, all) = (client("/mcp/one").initialize(), client("/mcp").initialize());
    assert_eq!((one.count("count"), all.tools().len()), (1, 6));
    let mut stream = all.listen();
    gateway.rewrite(&of(&["one"]));
    Request::post("/api/reload")
        .header("Authorization", &bearer("b"))
        .send(gateway.address())
        .expect(200);
    for (what, stream) in ended {
        eprintln!("{what}");
        ends(stream);
    }
    stream.message(|message| message["method"] == "notifications/tools/list_changed");
    assert_eq!((one.count("count"), all.tools().len()), (2, 3));
    client("/mcp/two").try_initialize().expect(404);
}

#[test]
fn streams_of_a_group_and_of_a_server_that_are_gone_end() {
    let gateway = Gateway::start_with(&with(&SERVERS, &[key("a")], &["g"]));
    let ended = streams(&gateway, "a", &["/mcp/g", "/mcp/two"]);
    let stays = gateway.client("/mcp/one").header("Authorization", &bearer("a")).initialize();
    let (stream, pid) = (stays.listen(), stays.whoami("whoami").pid);
    gateway.apply(&with(&["one"], &[key("a")], &[]));
    for (what, stream) in ended {
        eprintln!("{what}");
        ends(stream);
    }
    assert_eq!(stays.whoami("whoami").pid, pid);
    drop(stream);
}

#[test]
fn a_client_over_http_sse_posts_no_more_to_a_scope_that_was_taken_away() {
    let gateway = Gateway::start_with(&with(&SERVERS, &[key("a")], &["g"]));
    let headers = [("Authorization", bearer("a"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut over = OverSse::open_with(gateway.address(), "/sse/g", &headers);
    over.begin();
    gateway.apply(&with(&SERVERS, &[key("a")], &[]));
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    assert_eq!(over.try_send(&list).status, 404);
}
