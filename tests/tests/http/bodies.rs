//! Bodies of requests: how large they may be before there is a session, that they have to go on,
//! and how they share the memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mooring_tests::{
    Cluster, Connection, Front, Gateway, OverSse, Session, eventually, servers, settings,
};
use serde_json::{Value, json};

fn all() -> Value {
    json!({"counter": servers::counter(), "notes": servers::notes()})
}

fn gateway(limits: Value) -> Gateway {
    Gateway::start_with(&json!({
        "mcpServers": all(), "systemConfig": {"limits": limits},
    }))
}

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("mooring_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// The head of a POST with a body of so many bytes.
fn head(path: &str, session: Option<&str>, length: usize) -> String {
    let session = session.map_or_else(String::new, |id| format!("Mcp-Session-Id: {id}\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{session}Content-Length: {length}\r\n\r\n"
    )
}

/// A call of `add_note` whose message has about so many bytes.
fn note(session: &Session, tool: &str, size: usize) -> Vec<u8> {
    let params = json!({"name": tool, "arguments": {"text": "x".repeat(size)}});
    session.message("tools/call", params).0.to_string().into_bytes()
}

#[test]
fn without_a_session_a_body_may_have_what_initialize_may_have() {
    let gateway = gateway(json!({}));
    for path in ["/mcp", "/mcp/counter"] {
        for chunked in [false, true] {
            let mut large = gateway.client(path).post().body(vec![b' '; 80_000]);
            if chunked {
                large = large.chunked();
            }
            let says = large.send(gateway.address()).expect(413).error_message();
            assert!(says.contains("initialize") && says.contains("69632"), "{says}");
        }
        let mut announced = Connection::open(gateway.address());
        announced.send_raw(head(path, None, 16_000_000).as_bytes());
        assert_eq!(announced.read_head().unwrap().status, 413, "before it is sent");
        // A client whose session is over learns that first.
        let mut lost = Connection::open(gateway.address());
        lost.send_raw(head(path, Some("no-such-session"), 16_000_000).as_bytes());
        assert_eq!(lost.read_head().unwrap().status, 404);
    }
    let mut session = OverSse::open(gateway.address(), "/sse");
    let post = |session: &OverSse| {
        let mut message = session.post(&json!({})).body(vec![b' '; 80_000]);
        message = message.header("Content-Type", "application/json");
        message.send(gateway.address())
    };
    assert_eq!(post(&session).status, 413);
    session.begin();
    assert_eq!(post(&session).status, 400, "it is read, and no message");
}

/// Sends the body in pieces with pauses; the response's status and text.
fn slowly(
    mut connection: Connection,
    head: &str,
    body: &[u8],
    piece: usize,
    pause: Duration,
) -> (u16, String) {
    connection.send_raw(head.as_bytes());
    for piece in body.chunks(piece) {
        connection.send_raw(piece);
        std::thread::sleep(pause);
        if connection.is_readable() {
            break;
        }
    }
    let response = connection.read_head().expect("a response").whole();
    (response.status, response.text())
}

#[test]
fn a_body_that_does_not_go_on_is_408_and_a_slow_one_that_does_is_taken() {
    let limits = json!({"limits": {"bodyTimeout": 2000}});
    Front::each(&all(), &limits, |front| {
        let gateway = front.gateway();
        let to = gateway.address();
        let session_of = |path: &str| gateway.client(path).initialize();
        // Each takes seconds, in which nothing happens.
        std::thread::scope(|scope| {
            for (path, tool) in [("/mcp", "notes-add_note"), ("/mcp/notes", "add_note")] {
                // The second is streamed to its server.
                for length in [40_000, 200_000] {
                    let session = session_of(path);
                    scope.spawn(move || {
                        let body = note(&session, tool, length);
                        let began = Instant::now();
                        let mut stuck = Connection::open(to);
                        stuck.send_raw(head(path, Some(&session.id), body.len()).as_bytes());
                        stuck.send_raw(&body[..body.len() - 9]);
                        let pause = Duration::from_millis(900);
                        let (status, text) = slowly(stuck, "", &[b' '; 9], 1, pause);
                        assert_eq!(status, 408, "{path} {length}: {text}");
                        assert!(text.contains("limits.bodyRate"), "{text}");
                        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
                    });
                }
                let session = session_of(path);
                scope.spawn(move || {
                    let body = note(&session, tool, 30_000);
                    let head = head(path, Some(&session.id), body.len());
                    let pause = Duration::from_millis(400);
                    let taken = slowly(Connection::open(to), &head, &body, 2000, pause);
                    assert_eq!(taken.0, 200, "{path}: {}", taken.1);
                });
            }
            // Before there is a session.
            scope.spawn(|| {
                let head = head("/mcp", None, 1000);
                let pause = Duration::from_millis(400);
                let (status, text) = slowly(Connection::open(to), &head, &[b' '; 30], 1, pause);
                assert_eq!(status, 408, "{text}");
            });
        });
        assert!(metric(gateway, "bodies_stalled_total") >= 3);
    });
}

#[test]
fn a_message_of_a_node_has_to_go_on_too() {
    let coordinator = settings::coordinator(json!({}));
    let limits = json!({"systemConfig": {"limits": {"bodyTimeout": 1000}}});
    let coordinator = Gateway::start_with(&settings::merged(coordinator, limits));
    let mut stuck = Connection::open(coordinator.address());
    stuck.send_raw(head("/api/cluster/register", None, 1000).as_bytes());
    stuck.send_raw(b"{");
    let status = stuck.read_head().unwrap().status;
    assert_eq!(status, 408);
}

/// Begins bodies from these addresses that are never ended.
fn unfinished(
    to: SocketAddr,
    path: &str,
    session: &str,
    strangers: std::ops::RangeInclusive<u8>,
    each: (usize, usize),
) -> Vec<Connection> {
    let (count, size) = each;
    let all = strangers.flat_map(|last| std::iter::repeat_n(last, count));
    let opened = all.map(|last| {
        let mut connection = Connection::open_from(from(last), to);
        connection.send_raw(head(path, Some(session), size + 1000).as_bytes());
        connection.send_raw(&vec![b' '; size]);
        connection
    });
    opened.collect()
}

#[test]
fn strangers_share_the_memory_and_an_honest_slow_upload_succeeds() {
    let limits = json!({"bodiesInMemory": 16 << 20, "requestBody": 1 << 20});
    for path in ["/mcp", "/mcp/notes"] {
        let gateway = gateway(limits.clone());
        let to = gateway.address();
        let tool = if path == "/mcp" { "notes-add_note" } else { "add_note" };
        let session = gateway.client(path).initialize();
        let strangers = unfinished(to, path, &session.id, 2..=6, (12, 512 << 10));
        let body = note(&session, tool, (1 << 20) - 4096);
        let head = head(path, Some(&session.id), body.len());
        let honest = Connection::open(to);
        let (status, text) = slowly(honest, &head, &body, 16 << 10, Duration::from_millis(40));
        assert_eq!(status, 200, "{path}: {text}");
        let refused = strangers.into_iter().filter_map(|mut stranger| {
            let answer = stranger.is_readable().then(|| stranger.read_head().ok()).flatten()?;
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.header("retry-after").is_some());
            let says = answer.whole().text();
            assert!(says.contains("limits.bodiesInMemory"), "{says}");
            Some(())
        });
        assert!(refused.count() > 10, "{path}");
        assert!(metric(&gateway, "bodies_refused_total") > 10);
        eventually("the memory comes back", || {
            (metric(&gateway, "bodies_bytes") == 0).then_some(())
        });
        let lines = gateway.log().matches("refused a request body").count();
        assert_eq!(lines, 1, "the log says it once");
    }
}

#[test]
fn bodies_over_http_sse_share_the_memory() {
    let gateway = gateway(json!({"bodiesInMemory": 4 << 20, "requestBody": 1 << 20}));
    let session = OverSse::initialize(gateway.address(), "/sse");
    let to = gateway.address();
    let path = session.endpoint.clone();
    let strangers = unfinished(to, &path, "", 2..=2, (8, 1 << 19));
    eventually("some are refused", || {
        let refused = strangers.iter().filter(|stranger| stranger.is_readable()).count();
        (refused >= 4).then_some(())
    });
    assert!(metric(&gateway, "bodies_bytes") <= 2 << 20, "half of it for one");
}

#[test]
fn a_body_that_nobody_reads_is_not_read() {
    let gateway = gateway(json!({}));
    for path in ["/nowhere", "/mcp/nobody", "/health"] {
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(head(path, None, 1 << 30).as_bytes());
        let answer = connection.read_head().unwrap().whole();
        assert!(answer.status >= 400, "{path}");
        let mut sent = 0;
        eventually("it is closed", || {
            for _ in 0..16 {
                connection.send_raw(&[b' '; 65_536]);
                sent += 65_536;
            }
            connection.is_closed().then_some(())
        });
        assert!(sent < 64 << 20, "{path}: {sent}");
    }
}

#[test]
fn a_client_that_sends_all_of_a_refused_body_can_read_the_refusal() {
    let gateway = gateway(json!({}));
    let mut connection = Connection::open(gateway.address());
    let body = vec![b' '; 12 << 20];
    connection.send_raw(head("/mcp", None, body.len()).as_bytes());
    connection.try_send_raw(&body).expect("it is taken, and discarded");
    assert_eq!(connection.read_head().unwrap().status, 413);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"notes": servers::notes()},
        "systemConfig": {"limits": {"readTimeout": 1000}},
    }));
    let session = gateway.client("/mcp/notes").initialize();
    session.call("add_note", json!({"text": "x".repeat(15 << 20)}));
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(gateway.address());
        connection.send_request(
            &session.post(
                &session
                    .message(
                        "tools/call",
                        json!({
                            "name": "list_notes", "arguments": {},
                        }),
                    )
                    .0,
            ),
        );
        connections.push(connection);
    }
    eventually("they are cut off", || {
        (metric(&gateway, "answers_unread_total") >= 2).then_some(())
    });
    eventually("their answers are gone", || (metric(&gateway, "answers_bytes") == 0).then_some(()));
    // One that reads gets all of it.
    assert!(session.call("list_notes", json!({})).to_string().len() > 15 << 20);
}

#[test]
fn a_coordinator_streams_no_more_than_its_node_may_keep() {
    let system = json!({"systemConfig": {"limits": {
        "bodiesInMemory": 2 << 20, "requestBody": 1 << 20,
    }}});
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let node =
        settings::node(coordinator.port(), json!({"id": "n"}), json!({"notes": servers::notes()}));
    let node = Gateway::start_with(&settings::merged(node, system));
    let cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    let session = cluster.client("/mcp/notes").initialize();
    let to = cluster.coordinator.address();
    let stuck = unfinished(to, "/mcp/notes", &session.id, 2..=2, (4, 1 << 19));
    eventually("some are refused", || stuck.iter().any(Connection::is_readable).then_some(()));
    assert!(metric(&cluster.nodes[0], "bodies_bytes") <= 2 << 20);
}
