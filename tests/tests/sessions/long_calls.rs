//! Slow calls to an upstream that answers with JSON.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mooring_tests::scripted::{Asked, Out, said};
use mooring_tests::{Connection, Scripted, Session, eventually};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, gateway, text};

const CANCELLED: i64 = -31003;

/// An upstream that holds calls with `{"slow": true}` until the test answers them.
struct Slow {
    far: Scripted,
    held: Arc<Mutex<Vec<(Asked, Out)>>>,
}

impl Slow {
    fn start() -> Self {
        let held: Arc<Mutex<Vec<(Asked, Out)>>> = Arc::default();
        let far = Scripted::start({
            let held = Arc::clone(&held);
            move |asked, out| {
                if asked.calls("tools/call") && asked.json()["params"]["arguments"]["slow"] == true
                {
                    held.lock().unwrap().push((asked.clone(), out));
                    return None;
                }
                Some(out)
            }
        });
        Self { far, held }
    }

    fn next(&self) -> (Asked, Out) {
        eventually("the call", || self.held.lock().unwrap().pop())
    }

    fn was_told(&self, session: &str, id: &Value) {
        self.far.wait_for("the cancellation", |asked| {
            asked.calls("notifications/cancelled")
                && asked.session() == session
                && asked.json()["params"]["requestId"] == *id
        });
    }
}

fn slow() -> Value {
    json!({"slow": true})
}

fn cancel(session: &Session, id: &Value) {
    session.notify("notifications/cancelled", json!({"requestId": id})).expect(202);
}

/// Becomes true when the gateway closes the connection.
fn watch(mut out: Out) -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let closed = Arc::clone(&closed);
        move || {
            out.wait_for_end();
            closed.store(true, Ordering::Release);
        }
    });
    closed
}

#[test]
fn a_client_gets_a_stream_that_it_can_come_back_to() {
    let slow_one = Slow::start();
    let gateway = gateway(&slow_one.far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        let (mut stream, id) = session.start(tool, slow(), json!({}));
        assert_eq!(stream.status, 200);
        let first = stream.line().expect("an event to come back to");
        let event_id = first.strip_prefix("id: ").unwrap_or_else(|| panic!("{first}")).to_owned();
        drop(stream);
        let (asked, out) = slow_one.next();
        let mut stream = session.resume(&event_id);
        out.result(&asked, &said("at last"));
        let answer = stream.message(|message| message["id"] == id);
        assert_eq!(text(&answer), "at last", "{path}");
        let calls = slow_one.far.seen();
        let calls =
            calls.iter().filter(|a| a.calls("tools/call") && a.session() == asked.session());
        assert_eq!(calls.count(), 1);
    }
}

/// A response head without a body is not an answer yet.
#[test]
fn an_upstream_that_sends_its_head_first_is_no_other_case() {
    let slow_one = Slow::start();
    let gateway = gateway(&slow_one.far.entry());
    let session = gateway.client("/mcp/far").initialize();
    let (message, id) = session.message("tools/call", json!({"name": "ask", "arguments": slow()}));
    let (has_begun, begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let mut stream = session.post(&message).open(gateway.address());
            let _ = has_begun.send(());
            assert_eq!(stream.header("content-type"), Some("text/event-stream"));
            stream.message(|message| message["id"] == id)
        });
        let (asked, mut out) = slow_one.next();
        out.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n",
        );
        begun.recv().unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": said("late")});
        out.write(answer.to_string().as_bytes());
        drop(out);
        assert_eq!(text(&call.join().unwrap()), "late");
    });
}

#[test]
fn a_call_whose_client_leaves_runs_on() {
    let slow_one = Slow::start();
    let gateway = gateway(&slow_one.far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        let (message, id) =
            session.message("tools/call", json!({"name": tool, "arguments": slow()}));
        let mut connection = Connection::open(gateway.address());
        connection.send_request(&session.post(&message));
        let (asked, out) = slow_one.next();
        drop(connection);
        let closed = watch(out);
        for _ in 0..20 {
            assert_eq!(text(&ask(&session, tool)), "as usual");
        }
        assert!(!closed.load(Ordering::Acquire), "{path}: the upstream was left alone");
        // The call can still be cancelled.
        cancel(&session, &id);
        slow_one.was_told(asked.session(), &asked.json()["id"]);
        eventually("nobody waits any more", || closed.load(Ordering::Acquire).then_some(()));
    }
}

#[test]
fn a_call_is_taken_back_early_and_late() {
    let slow_one = Slow::start();
    let gateway = gateway(&slow_one.far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        for is_early in [true, false] {
            let params = json!({"name": tool, "arguments": slow()});
            let (message, id) = session.message("tools/call", params);
            let (asked, answer, closed) = std::thread::scope(|scope| {
                let (has_begun, begun) = std::sync::mpsc::channel();
                let call = scope.spawn({
                    let (session, message, gateway) = (&session, &message, &gateway);
                    move || {
                        let stream = session.post(message).open(gateway.address());
                        let _ = has_begun.send(());
                        stream.whole().expect(200).messages()
                    }
                });
                let (asked, out) = slow_one.next();
                let closed = watch(out);
                if !is_early {
                    begun.recv().unwrap();
                }
                cancel(&session, &id);
                (asked, call.join().unwrap(), closed)
            });
            let answer = answer.last().unwrap();
            assert_eq!(answer["id"], id);
            assert_eq!(answer["error"]["code"], CANCELLED, "{path}: {answer}");
            slow_one.was_told(asked.session(), &asked.json()["id"]);
            eventually("nobody waits any more", || closed.load(Ordering::Acquire).then_some(()));
        }
        // The id of a cancelled request may be used again.
        assert_eq!(text(&ask(&session, tool)), "as usual");
    }
}

#[test]
fn the_end_of_a_session_takes_its_calls_back() {
    let slow_one = Slow::start();
    let gateway = gateway(&slow_one.far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        let (stream, _) = session.start(tool, slow(), json!({}));
        let (asked, out) = slow_one.next();
        let closed = watch(out);
        session.delete().expect(200);
        slow_one.was_told(asked.session(), &asked.json()["id"]);
        eventually("nobody waits any more", || closed.load(Ordering::Acquire).then_some(()));
        slow_one.far.wait_for("the good-bye", |later| {
            later.method == "DELETE" && later.session() == asked.session()
        });
        let seen = slow_one.far.seen();
        let at = |is_meant: &dyn Fn(&Asked) -> bool| seen.iter().position(is_meant).unwrap();
        let cancelled =
            at(&|a| a.calls("notifications/cancelled") && a.session() == asked.session());
        let ended = at(&|a| a.method == "DELETE" && a.session() == asked.session());
        assert!(cancelled < ended, "{path}");
        drop(stream);
    }
}
