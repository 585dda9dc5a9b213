//! Clients that leave before their answers: what is kept for them, and what runs on.

use std::sync::{Arc, Mutex};

use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{Connection, Gateway, Scripted, Session, eventually, settings};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, answer_to, ask, text};

const SERVER_LOST: i64 = -31001;
/// Bytes of the text of a large answer.
const LARGE: usize = 50_000;

/// An upstream that holds calls with `{"slow": true}`, and their connections.
struct Held {
    far: Scripted,
    calls: Arc<Mutex<Vec<(Asked, Out)>>>,
}

impl Held {
    fn start() -> Self {
        let calls: Arc<Mutex<Vec<(Asked, Out)>>> = Arc::default();
        let far = Scripted::start({
            let calls = Arc::clone(&calls);
            move |asked, out| {
                if asked.calls("tools/call") && asked.json()["params"]["arguments"]["slow"] == true
                {
                    calls.lock().unwrap().push((asked.clone(), out));
                    return None;
                }
                Some(out)
            }
        });
        Self { far, calls }
    }

    fn next(&self) -> (Asked, Out) {
        eventually("the call", || self.calls.lock().unwrap().pop())
    }

    fn gateway(&self, limits: Value) -> Gateway {
        let base = settings::standalone(json!({"far": self.far.entry()}));
        Gateway::start_with(&settings::merged(base, json!({"systemConfig": {"limits": limits}})))
    }
}

fn gave_way(gateway: &Gateway, limit: &str) -> u64 {
    let page = gateway.get("/metrics").expect(200).text();
    let start = format!("mooring_limit_evictions_total{{limit=\"{limit}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok());
    value.unwrap_or_else(|| panic!("no {start}in {page}"))
}

/// Begins a call whose stream the client leaves at its first event; the answer comes then.
/// Returns that event's id and the id of the request.
fn leave_before_the_answer(held: &Held, session: &Session, tool: &str) -> (String, Value) {
    let (stream, answered) = std::thread::scope(|scope| {
        let call = scope.spawn(|| session.start(tool, json!({"slow": true}), json!({})));
        let (asked, out) = held.next();
        let mut out = out.events();
        let note = json!({"level": "info", "data": "it begins"});
        out.event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": note}));
        (call.join().unwrap(), (asked, out))
    });
    let (mut stream, id) = stream;
    let event = stream.next_event().expect("an event to come back to");
    drop(stream);
    let (asked, mut out) = answered;
    out.event(&answer_to(&asked, &"x".repeat(LARGE)));
    out.wait_for_end();
    (event.id.expect("an id"), id)
}

#[test]
fn answers_that_nobody_reads_give_way_beyond_a_limit() {
    let held = Held::start();
    for (path, tool) in SCOPES {
        let gateway = held.gateway(json!({"line": 65_536, "keptAnswers": 1 << 20}));
        // Each session has fewer than an instance keeps; together they have too much.
        let sessions: Vec<Session> = (0..6).map(|_| gateway.client(path).initialize()).collect();
        let left: Vec<_> = sessions
            .iter()
            .flat_map(|session| (0..5).map(move |_| session))
            .map(|session| (session, leave_before_the_answer(&held, session, tool)))
            .collect();
        let most = (1 << 20) / LARGE;
        let given_up = gave_way(&gateway, "keptAnswers");
        assert!(given_up as usize >= left.len() - most, "{path}: {given_up} gave way");
        gateway.wait_for_log("systemConfig.limits.keptAnswers");
        for ((session, (event, id)), is_there) in [(&left[0], false), (left.last().unwrap(), true)]
        {
            let answer = session.resume(event).message(|message| message["id"] == *id);
            if is_there {
                assert_eq!(text(&answer).len(), LARGE, "{path}");
            } else {
                assert_eq!(answer["error"]["code"], SERVER_LOST, "{path}: {answer}");
            }
        }
        // What is read as it comes is none of that.
        for session in &sessions {
            assert_eq!(text(&ask(session, tool)), "as usual");
        }
    }
}

#[test]
fn calls_that_run_without_their_clients_are_cancelled_beyond_a_limit() {
    let held = Held::start();
    let gateway = held.gateway(json!({}));
    let (path, tool) = SCOPES[1];
    let first = gateway.client(path).initialize();
    let (mut stream, id) = first.start(tool, json!({"slow": true}), json!({}));
    // It has no message yet, only an id.
    let line = stream.line().expect("an event to come back to");
    let event = line.strip_prefix("id: ").unwrap_or_else(|| panic!("{line}")).to_owned();
    drop(stream);
    let (asked, mut first_call) = held.next();
    let sessions: Vec<Session> = (0..2).map(|_| gateway.client(path).initialize()).collect();
    let mut calls = Vec::new();
    for session in sessions.iter().cycle().take(250) {
        let params = json!({"name": tool, "arguments": {"slow": true}});
        let (message, _) = session.message("tools/call", params);
        let mut connection = Connection::open(gateway.address());
        connection.send_request(&session.post(&message));
        calls.push(held.next());
        drop(connection);
    }
    held.far.wait_for("the cancellation of the oldest", |told| {
        told.calls("notifications/cancelled")
            && told.session() == asked.session()
            && told.json()["params"]["requestId"] == asked.json()["id"]
    });
    first_call.wait_for_end();
    let answer = first.resume(&event).message(|message| message["id"] == id);
    assert_eq!(answer["error"]["code"], SERVER_LOST, "{answer}");
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(said.contains("its client had left"), "{said}");
    assert_eq!(gave_way(&gateway, "callsWithoutClient"), 1);
    for session in &sessions {
        assert_eq!(text(&ask(session, tool)), "as usual");
    }
}
