//! Clients that lose the stream of a request and resume it.

use mooring_tests::http::Incoming;
use mooring_tests::{Front, Gateway, Session, eventually, process, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Scopes, each with the prefix of the clock's tools.
pub const SCOPES: [(&str, &str); 2] = [("/mcp", "clock-"), ("/mcp/clock", "")];

pub fn everything() -> Value {
    json!({"clock": servers::clock(), "counter": servers::counter()})
}

/// An event of a stream, with its id.
pub struct Came {
    pub id: String,
    pub message: Value,
}

pub fn came(stream: &mut Incoming) -> Option<Came> {
    let event = stream.next_event()?;
    let id = event.id.clone().unwrap_or_else(|| panic!("an event without id: {event:?}"));
    Some(Came { id, message: event.json() })
}

fn rest(mut stream: Incoming) -> Vec<Came> {
    std::iter::from_fn(|| came(&mut stream)).collect()
}

/// The step of a progress notification; `None` for the answer.
fn step(message: &Value) -> Option<u64> {
    message["params"]["progress"].as_u64()
}

fn progressing(session: &Session, prefix: &str, steps: u64, ms: u64) -> (Incoming, Value) {
    let arguments = json!({"steps": steps, "ms": ms});
    session.start(&format!("{prefix}wait_with_progress"), arguments, json!({"progressToken": "t"}))
}

#[test]
fn a_stream_begins_with_an_event_to_come_back_to_where_the_revision_has_it() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            for (revision, primes) in [("2025-11-25", true), ("2025-06-18", false)] {
                let session = front.client(path).revision(revision).initialize();
                let (mut stream, _) = progressing(&session, prefix, 2, 20);
                let mut head = Vec::new();
                loop {
                    let line = stream.line().expect("the stream goes on");
                    // A comment arrives as a separate event.
                    if line.is_empty() && !head.is_empty() {
                        break;
                    }
                    if !line.is_empty() && !line.starts_with(':') {
                        head.push(line);
                    }
                }
                let has = |field: &str| head.iter().any(|line| line.starts_with(field));
                assert!(has("id: "), "{path} {revision}: {head:?}");
                assert_eq!(has("retry: "), primes, "{path} {revision}: {head:?}");
                let data: Vec<_> = head.iter().filter_map(|l| l.strip_prefix("data:")).collect();
                assert_eq!(data.iter().all(|d| d.trim().is_empty()), primes, "{head:?}");
                let ids: Vec<String> = rest(stream).into_iter().map(|came| came.id).collect();
                assert!(!ids.is_empty());
            }
        }
    });
}

#[test]
fn who_comes_back_gets_the_rest_and_nothing_twice() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            let session = front.client(path).initialize();
            let (mut stream, id) = progressing(&session, prefix, 6, 60);
            let mut seen = vec![came(&mut stream).unwrap()];
            drop(stream);
            // The stream is lost again in the middle.
            let mut stream = session.resume(&seen[0].id);
            assert_eq!(stream.status, 200, "{path}");
            seen.push(came(&mut stream).unwrap());
            seen.push(came(&mut stream).unwrap());
            drop(stream);
            seen.extend(rest(session.resume(&seen[2].id)));
            let steps: Vec<_> = seen.iter().map(|came| step(&came.message)).collect();
            let expected: Vec<_> = (1..=6).map(Some).chain([None]).collect();
            assert_eq!(steps, expected, "{path}");
            let answer = &seen.last().unwrap().message;
            assert_eq!(answer["id"], id);
            assert_eq!(answer["result"]["structuredContent"]["steps"], 6);
            if !prefix.is_empty() {
                assert!(seen.iter().all(|came| came.id.contains("clock")), "whose stream it is");
            }
            // A stream can be resumed from any event that is kept, any number of times.
            let again: Vec<_> =
                rest(session.resume(&seen[3].id)).iter().map(|came| step(&came.message)).collect();
            assert_eq!(again, [Some(5), Some(6), None]);
            assert_eq!(rest(session.resume(&seen[6].id)).len(), 0, "after the last is nothing");
        }
    });
}

#[test]
fn a_silent_call_can_be_left_and_its_answer_fetched() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            let session = front.client(path).initialize();
            session.call(&format!("{prefix}now"), json!({}));
            let began = std::time::Instant::now();
            let (mut stream, id) =
                session.start(&format!("{prefix}sleep"), json!({"ms": 3000}), json!({}));
            assert!(began.elapsed().as_millis() < 2800, "{:?}", began.elapsed());
            let first = stream.line().unwrap();
            let last = first.strip_prefix("id: ").expect("an event id").to_owned();
            drop(stream);
            let rest = rest(session.resume(&last));
            assert_eq!(rest.len(), 1, "{path}");
            assert_eq!(rest[0].message["id"], id);
            assert_eq!(rest[0].message["result"]["structuredContent"]["ms"], 3000);
        }
    });
}

#[test]
fn only_the_stream_that_was_lost_comes_back() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            let session = front.client(path).initialize();
            let mut calls: Vec<_> = (0..3)
                .map(|number| {
                    let token = json!({"progressToken": number});
                    let tool = format!("{prefix}wait_with_progress");
                    session.start(&tool, json!({"steps": 4, "ms": 50}), token)
                })
                .collect();
            let first: Vec<Came> =
                calls.iter_mut().map(|(stream, _)| came(stream).unwrap()).collect();
            let ids: Vec<Value> = calls.into_iter().map(|(_, id)| id).collect();
            for (number, first) in first.iter().enumerate() {
                let rest = rest(session.resume(&first.id));
                assert_eq!(rest.len(), 4, "{path}");
                for came in &rest[..3] {
                    assert_eq!(came.message["params"]["progressToken"], number);
                }
                assert_eq!(rest[3].message["id"], ids[number]);
            }
        }
    });
}

#[test]
fn another_session_gets_nothing_of_a_stream() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            let (session, other) =
                (front.client(path).initialize(), front.client(path).initialize());
            other.call(&format!("{prefix}now"), json!({}));
            let (mut stream, id) = progressing(&session, prefix, 3, 20);
            let first = came(&mut stream).unwrap();
            drop(stream);
            let mut foreign = other.resume(&first.id);
            if foreign.status == 200 {
                // At most messages of the gateway itself.
                while let Some(event) = foreign.next_event() {
                    let message = event.json();
                    assert!(message.get("result").is_none(), "{path}: {message}");
                    assert_eq!(step(&message), None, "{path}: {message}");
                    if message["method"] == "notifications/resources/list_changed" {
                        break;
                    }
                }
            }
            drop(foreign);
            assert_eq!(rest(session.resume(&first.id)).last().unwrap().message["id"], id);
        }
    });
}

#[test]
fn who_comes_back_after_the_server_is_gone_is_told_so_for_that_request() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            let session = front.client(path).initialize();
            let (mut stream, id) = progressing(&session, prefix, 1000, 50);
            let first = came(&mut stream).unwrap();
            drop(stream);
            for pid in front.processes() {
                if process::command_line(pid).contains("clock") {
                    process::signal(pid, Signal::KILL);
                }
            }
            // Whether or not the gateway has noticed the death.
            let end = rest(session.resume(&first.id)).pop().expect("an answer").message;
            assert_eq!(end["id"], id, "{path}: {end}");
            let says = end["error"]["message"].as_str().unwrap_or_else(|| panic!("{end}"));
            assert!(says.contains("may have run"), "{says}");
            // And later, when another instance runs.
            eventually("it is open again", || {
                let answer = session.answer("tools/call", json!({"name": format!("{prefix}now")}));
                answer.get("result").is_some().then_some(())
            });
            let end = rest(session.resume(&first.id)).pop().expect("an answer").message;
            assert_eq!((&end["id"], end["error"].is_object()), (&id, true), "{path}: {end}");
        }
    });
}

#[test]
fn what_nobody_reads_is_bounded_and_the_answer_is_never_dropped() {
    let system = json!({"limits": {"bufferedEvents": 5}});
    Front::each(&everything(), &system, |front| {
        for (path, prefix) in SCOPES {
            let session = front.client(path).initialize();
            let (mut stream, id) = progressing(&session, prefix, 40, 20);
            let first = came(&mut stream).unwrap();
            drop(stream);
            eventually("the call is over", || {
                let now = session.call(&format!("{prefix}now"), json!({}));
                (now["structuredContent"]["waiting"] == 0).then_some(())
            });
            let rest = rest(session.resume(&first.id));
            assert!((2..=5).contains(&rest.len()), "{path}: {}", rest.len());
            assert_eq!(rest.last().unwrap().message["id"], id, "{path}");
            let steps: Vec<u64> = rest.iter().filter_map(|came| step(&came.message)).collect();
            let expected: Vec<u64> = (41 - steps.len() as u64..=40).collect();
            assert_eq!(steps, expected, "{path}: the newest are kept");
        }
    });
}

#[test]
fn an_answer_that_a_restart_has_lost_is_an_error_for_that_request() {
    for (path, prefix) in SCOPES {
        let mut gateway = Gateway::start_with(&settings::standalone(everything()));
        let session = gateway.client(path).initialize();
        let (mut stream, id) = progressing(&session, prefix, 1000, 50);
        let first = came(&mut stream).unwrap();
        drop(stream);
        gateway.restart_after(Signal::KILL);
        let end = rest(session.resume(&first.id)).pop().expect("an answer").message;
        assert_eq!((&end["id"], end["error"].is_object()), (&id, true), "{path}: {end}");
    }
}
