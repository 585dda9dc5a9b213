//! HTTP+SSE: the client reads everything from one stream and posts to a separate address.

use std::io::{Read, Write};
use std::net::TcpStream;

use mooring_tests::{
    Gateway, OverSse, Request, Response, Setup, eventually, process, servers, settings,
};
use serde_json::{Value, json};

fn gateway() -> Gateway {
    with_limits(json!({}))
}

fn with_limits(limits: Value) -> Gateway {
    let settings = json!({
        "mcpServers": {
            "counter": servers::counter(),
            "notes": servers::notes(),
            "clock": servers::clock(),
        },
        "groups": [{"name": "desk", "servers": ["counter", "clock"]}],
        "systemConfig": {"limits": limits},
    });
    // More than one, so that posts reach other workers than the stream.
    Setup::new(&settings).arg("--workers").arg("4").start()
}

fn open(gateway: &Gateway, path: &str) -> OverSse {
    OverSse::open(gateway.address(), path)
}

fn initialize(gateway: &Gateway, path: &str) -> OverSse {
    OverSse::initialize(gateway.address(), path)
}

#[track_caller]
fn wait_until_gone(pid: u32) {
    eventually(&format!("{pid} is gone"), || (!process::runs(pid)).then_some(()));
}

fn ping() -> Value {
    json!({"jsonrpc": "2.0", "id": "p", "method": "ping"})
}

fn post(gateway: &Gateway, path: &str) -> Response {
    gateway.post(path, &ping())
}

#[test]
fn the_stream_names_an_address_and_brings_the_answers() {
    let gateway = gateway();
    let scopes =
        [("/sse", "counter-count"), ("/sse/desk", "counter-count"), ("/sse/counter", "count")];
    for (path, tool) in scopes {
        let mut session = open(&gateway, path);
        let stream = &session.stream;
        assert_eq!(stream.header("content-type"), Some("text/event-stream"), "{path}");
        assert_eq!(stream.header("cache-control"), Some("no-cache, no-transform"), "{path}");
        assert_eq!(stream.header("x-accel-buffering"), Some("no"), "{path}");
        // A path, since clients refuse an address at another origin.
        assert!(session.endpoint.starts_with("/messages?sessionId="), "{}", session.endpoint);
        let result = session.begin();
        assert_eq!(result["protocolVersion"], "2025-11-25", "the transport is no revision");
        assert_eq!(session.call(tool, json!({}))["value"], 1, "{path}");
        assert_eq!(session.call(tool, json!({}))["value"], 2, "{path}");
        let unknown = session.answer("tools/call", json!({"name": "nothing"}));
        assert!(unknown["error"].is_object() || unknown["result"]["isError"] == true, "{unknown}");
    }
}

#[test]
fn a_client_of_the_revision_with_batches_may_send_some() {
    let gateway = gateway();
    for (path, tool) in [("/sse", "counter-count"), ("/sse/counter", "count")] {
        for (revision, status) in [("2025-03-26", 202), ("2025-06-18", 400)] {
            let mut session = open(&gateway, path);
            let first = json!({"protocolVersion": revision, "capabilities": {}});
            let begun = session.request("initialize", first);
            assert_eq!(begun["protocolVersion"], revision, "{path}");
            session.notify("notifications/initialized", json!({}));
            let call = |id: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}});
            let note = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
            let batch = json!([call("one"), note, ping(), call("two")]);
            session.try_send(&batch).expect(status);
            if status == 202 {
                for id in ["one", "two", "p"] {
                    let answer = session.answer_to(&json!(id));
                    assert!(answer["result"].is_object(), "{path}: {answer}");
                }
                session.try_send(&json!([])).expect(400);
                session.try_send(&json!([ping(), 1])).expect(400);
            }
        }
    }
}

#[test]
fn a_client_need_not_wait_between_its_messages() {
    let gateway = gateway();
    for (path, tool) in [("/sse", "counter-count"), ("/sse/counter", "count")] {
        let mut session = open(&gateway, path);
        let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}});
        let first = session.ask("initialize", params);
        session.notify("notifications/initialized", json!({}));
        let calls: Vec<Value> =
            (0..5).map(|_| session.ask("tools/call", json!({"name": tool}))).collect();
        assert_eq!(session.answer_to(&first)["result"]["protocolVersion"], "2024-11-05");
        let mut values: Vec<i64> = calls
            .iter()
            .map(|id| session.answer_to(id)["result"]["structuredContent"]["value"].clone())
            .map(|value| value.as_i64().expect("a count"))
            .collect();
        values.sort_unstable();
        assert_eq!(values, [1, 2, 3, 4, 5], "{path}");
    }
}

#[test]
fn sessions_keep_apart_however_many_connections_they_use() {
    let gateway = gateway();
    let mut sessions: Vec<OverSse> =
        ["/sse/counter"; 6].iter().map(|path| initialize(&gateway, path)).collect();
    let pids: std::collections::BTreeSet<u32> =
        sessions.iter_mut().map(|session| session.pid("whoami")).collect();
    assert_eq!(pids.len(), sessions.len());
    for expected in 1..=10 {
        for session in &mut sessions {
            assert_eq!(session.call("count", json!({}))["value"], expected);
        }
    }
}

#[test]
fn what_a_server_says_comes_on_the_stream() {
    let gateway = gateway();
    let mut notes = initialize(&gateway, "/sse/notes");
    notes.call("add_note", json!({"text": "x"}));
    notes.wait_for(|message| message["method"] == "notifications/resources/list_changed");
    for (path, tool) in [("/sse", "clock-wait_with_progress"), ("/sse/clock", "wait_with_progress")]
    {
        let mut clock = initialize(&gateway, path);
        let id = clock.ask(
            "tools/call",
            json!({"name": tool, "arguments": {"steps": 2, "ms": 1}, "_meta": {"progressToken": 7}}),
        );
        for step in 1..=2 {
            let said = clock.wait_for(|message| message["method"] == "notifications/progress");
            assert_eq!(said["params"]["progress"], step, "{path}: {said}");
        }
        assert_eq!(clock.answer_to(&id)["result"]["structuredContent"]["steps"], 2);
    }
}

#[test]
fn a_server_that_was_restarted_is_heard_again() {
    let gateway = gateway();
    let mut session = initialize(&gateway, "/sse/notes");
    session.call("add_note", json!({"text": "x"}));
    let is_change = |message: &Value| message["method"] == "notifications/resources/list_changed";
    session.wait_for(is_change);
    let before = process::servers(gateway.pid());
    for pid in &before {
        process::signal(*pid, rustix::process::Signal::KILL);
    }
    before.iter().copied().for_each(wait_until_gone);
    session.call("add_note", json!({"text": "y"}));
    session.wait_for(is_change);
}

#[test]
fn closing_the_stream_ends_the_servers_of_its_session_and_no_others() {
    let gateway = gateway();
    let scopes = [("/sse", "counter-whoami", "clock-sleep"), ("/sse/counter", "whoami", "whoami")];
    for (path, whoami, other) in scopes {
        let (mut ended, mut stays) = (initialize(&gateway, path), initialize(&gateway, path));
        let (gone, left) = (ended.pid(whoami), stays.pid(whoami));
        // A call may still be in flight.
        ended.ask("tools/call", json!({"name": other, "arguments": {"ms": 600_000}}));
        let endpoint = ended.endpoint.clone();
        drop(ended);
        wait_until_gone(gone);
        assert_eq!(post(&gateway, &endpoint).expect(404).error_code(), -32001);
        assert!(process::runs(left));
        assert_eq!(stays.pid(whoami), left);
    }
    let ended = |text: String| text.lines().any(|line| line == "mooring_sessions_ended_total 4");
    eventually("all sessions have ended", || ended(gateway.get("/metrics").text()).then_some(()));
}

#[test]
fn an_initialize_that_nobody_waits_for_leaves_no_process() {
    let gateway = gateway();
    for _ in 0..5 {
        let mut session = open(&gateway, "/sse/counter");
        session.ask("initialize", json!({"protocolVersion": "2025-06-18", "capabilities": {}}));
    }
    eventually("the sessions' processes are gone", || {
        process::servers(gateway.pid()).is_empty().then_some(())
    });
}

#[test]
fn an_id_works_for_its_own_stream_only() {
    let (gateway, other) = (gateway(), gateway());
    let mut session = initialize(&gateway, "/sse/counter");
    let id = session.endpoint.rsplit_once('=').unwrap().1.to_owned();
    let http = gateway.client("/mcp/counter").initialize();
    for (path, status) in [
        ("/messages".to_owned(), 400),
        ("/messages?sessionid=x".to_owned(), 400),
        ("/messages?sessionId=".to_owned(), 404),
        ("/messages?sessionId=m1AAAA".to_owned(), 404),
        (format!("/messages?sessionId={}", &id[..id.len() - 1]), 404),
        (format!("/messages?sessionId={}", http.id), 404),
    ] {
        let refused = post(&gateway, &path).expect(status);
        assert!(refused.error_code() < 0, "{path}");
    }
    assert_eq!(post(&other, &session.endpoint).status, 404, "another gateway has another key");
    let as_header = gateway.client("/mcp/counter").post().header("Mcp-Session-Id", &id);
    assert_eq!(as_header.json(&ping()).send(gateway.address()).status, 404);
    assert!(!gateway.log().contains(&id), "a log is no place for ids");
    assert_eq!(session.call("count", json!({}))["value"], 1);
}

#[test]
fn a_post_that_is_no_message_is_refused_and_the_session_goes_on() {
    let gateway = with_limits(json!({"requestBody": 100_000}));
    let mut session = initialize(&gateway, "/sse");
    let send = |request: Request| request.send(gateway.address());
    let to = || Request::post(&session.endpoint);
    send(to().header("Content-Type", "text/plain").body(ping().to_string())).expect(415);
    send(to().body(ping().to_string())).expect(415);
    let json = || to().header("Content-Type", "application/json; charset=utf-8");
    let coded = send(json().header("Content-Encoding", "gzip").json(&ping())).expect(415);
    assert_eq!(coded.header("accept-encoding"), Some("identity"));
    assert!(coded.error_message().contains("Content-Encoding"), "{}", coded.text());
    assert_eq!(send(json().body("{")).expect(400).error_code(), -32700);
    assert_eq!(send(json().body("[]")).expect(400).error_code(), -32600);
    let large = json!({"jsonrpc": "2.0", "method": "x", "params": {"text": "x".repeat(100_000)}});
    assert!(send(json().json(&large)).expect(413).error_message().contains("100000"));
    assert!(send(json().json(&large).chunked()).expect(413).error_message().contains("100000"));
    send(json().json(&ping()).header("MCP-Protocol-Version", "2024-11-05")).expect(202);
    assert_eq!(session.answer_to(&json!("p"))["result"], json!({}));
    assert_eq!(session.call("counter-count", json!({}))["value"], 1);
}

#[test]
fn a_client_that_tries_streamable_http_first_is_told_which_method_works() {
    let gateway = gateway();
    for (request, allowed) in [
        (Request::post("/sse").json(&ping()), "GET"),
        (Request::post("/sse/counter").json(&ping()), "GET"),
        (Request::delete("/sse"), "GET"),
        (Request::get("/messages?sessionId=x"), "POST"),
    ] {
        let refused = request.send(gateway.address()).expect(405);
        assert_eq!(refused.header("allow"), Some(allowed));
    }
    for path in ["/sse/nothing", "/sse/a/b", "/ssee", "/messages/x"] {
        gateway.get(path).expect(404);
    }
    Request::get("/sse").header("Accept", "application/json").send(gateway.address()).expect(406);
}

#[test]
fn a_session_begins_with_initialize_and_once() {
    let gateway = gateway();
    for path in ["/sse", "/sse/counter"] {
        let mut session = open(&gateway, path);
        session.send(&ping());
        assert_eq!(session.answer_to(&json!("p"))["result"], json!({}), "{path}");
        // On both ways, since a proxy in between may hand on one alone.
        let first = json!({"jsonrpc": "2.0", "id": "first", "method": "tools/list"});
        let refused = session.try_send(&first).expect(404);
        let answer = session.answer_to(&json!("first"));
        assert_eq!(refused.json(), answer, "{path}");
        assert_eq!(answer["error"]["code"], -32001, "{path}: {answer}");
        assert_eq!(session.answer("initialize", json!([]))["error"]["code"], -32602, "{path}");
        let early = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        session.try_send(&early).expect(404);
        let result = session.begin();
        assert!(result["serverInfo"].is_object(), "{path}: after a refusal it may try again");
        let again = json!({"jsonrpc": "2.0", "id": "again", "method": "initialize",
            "params": {"protocolVersion": "2025-06-18", "capabilities": {}}});
        let refused = session.try_send(&again).expect(400);
        let answer = session.answer_to(&json!("again"));
        assert_eq!(refused.json(), answer, "{path}");
        assert_eq!(answer["error"]["code"], -32600, "{path}: {answer}");
        assert!(session.request("tools/list", json!({}))["tools"].is_array(), "{path}");
    }
}

#[test]
fn a_server_that_cannot_start_is_an_error_on_the_stream() {
    let gateway = Gateway::start_with(&settings::standalone(json!({"no": servers::missing()})));
    let mut session = open(&gateway, "/sse/no");
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
    let answer = session.answer("initialize", params);
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
}

#[test]
fn a_cancelled_request_is_not_answered() {
    let gateway = gateway();
    for (path, sleep, now) in [("/sse", "clock-sleep", "clock-now"), ("/sse/clock", "sleep", "now")]
    {
        let mut session = initialize(&gateway, path);
        let slow = session.ask("tools/call", json!({"name": sleep, "arguments": {"ms": 600_000}}));
        eventually("the slow call waits", || {
            (session.call(now, json!({}))["waiting"] == 1).then_some(())
        });
        session.notify("notifications/cancelled", json!({"requestId": slow}));
        eventually("the cancelled call waits no more", || {
            (session.call(now, json!({}))["waiting"] == 0).then_some(())
        });
        // An answer to the cancelled call would arrive before the next answer.
        session.send(&ping());
        let next = session.wait_for(|message| message["id"] == slow || message["id"] == "p");
        assert_ne!(next["id"], slow, "{path}: {next}");
    }
}

#[test]
fn requests_beyond_the_limit_of_a_session_are_429() {
    let gateway = with_limits(json!({"inFlightPerSession": 2}));
    let (mut busy, mut other) = (initialize(&gateway, "/sse"), initialize(&gateway, "/sse"));
    let sleep = json!({"name": "clock-sleep", "arguments": {"ms": 600_000}});
    let slow = [busy.ask("tools/call", sleep.clone()), busy.ask("tools/call", sleep)];
    let refused = busy.try_send(&ping()).expect(429);
    assert!(refused.error_message().contains("inFlightPerSession"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    other.request("ping", json!({}));
    for id in slow {
        busy.notify("notifications/cancelled", json!({"requestId": id}));
    }
    busy.request("ping", json!({}));
}

#[test]
fn a_client_that_does_not_read_is_refused_before_much_waits_for_it() {
    let gateway = with_limits(json!({"inFlightPerSession": 4, "bufferedBytes": 65_536}));
    let mut session = initialize(&gateway, "/sse/notes");
    session.call("add_note", json!({"text": "x".repeat(2_000_000)}));
    let list = json!({"name": "list_notes", "arguments": {}});
    let mut accepted = Vec::new();
    for _ in 0..100 {
        let id = json!(format!("list-{}", accepted.len()));
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": list});
        match session.try_send(&message).status {
            202 => accepted.push(id),
            429 => break,
            status => panic!("{status}"),
        }
    }
    assert!(accepted.len() < 100, "nobody has said that the stream is not read");
    // No accepted message is lost.
    for id in accepted {
        let answer = session.answer_to(&id);
        assert!(answer["result"].is_object(), "{answer}");
    }
    session.request("ping", json!({}));
}

#[test]
fn a_silent_stream_is_kept_alive() {
    let gateway = with_limits(json!({"keepAlive": 100}));
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    write!(stream, "GET /sse HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address()).unwrap();
    let mut said = String::new();
    let mut bytes = [0; 1024];
    while said.matches(": keep-alive\n\n").count() < 3 {
        let count = stream.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "it ended: {said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[test]
fn a_key_is_asked_for_at_both_addresses() {
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"counter": servers::counter()},
        "systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": "open-sesame"}},
    }));
    gateway.get("/sse").expect(401);
    let key = [("Authorization", "Bearer open-sesame")];
    let mut session = OverSse::open_with(gateway.address(), "/sse/counter", &key);
    session.begin();
    session.post(&ping()).without("Authorization").send(gateway.address()).expect(401);
    session
        .post(&ping())
        .header("Origin", "http://evil.example")
        .send(gateway.address())
        .expect(403);
    assert_eq!(session.call("count", json!({}))["value"], 1);
}

#[test]
fn a_drain_brings_what_is_under_way_and_ends_the_stream() {
    let mut gateway = gateway();
    let mut session = initialize(&gateway, "/sse/clock");
    let silent = initialize(&gateway, "/sse");
    let id = session.ask("tools/call", json!({"name": "sleep", "arguments": {"ms": 1500}}));
    let began = std::time::Instant::now();
    assert!(gateway.terminate().success());
    // Waiting for streams would take the whole drain time of ten seconds.
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    assert!(session.answer_to(&id)["result"].is_object());
    for mut ended in [session, silent] {
        while ended.stream.next_event().is_some() {}
    }
}
