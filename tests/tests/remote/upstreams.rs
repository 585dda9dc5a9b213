//! Streamable HTTP upstreams that do what the specification allows, and what it forbids.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mooring_tests::scripted::{Asked, Out, said};
use mooring_tests::{Gateway, Scripted, Session, eventually, settings};
use serde_json::{Value, json};

/// Scopes, each with its name of the server's tool.
pub const SCOPES: [(&str, &str); 2] = [("/mcp", "far-ask"), ("/mcp/far", "ask")];

pub fn gateway(far: &Value) -> Gateway {
    Gateway::start_with(&settings::standalone(json!({"far": far})))
}

pub fn ask(session: &Session, tool: &str) -> Value {
    session.answer("tools/call", json!({"name": tool, "arguments": {}}))
}

pub fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// The message of an error answer.
fn wrong(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

pub fn answer_to(asked: &Asked, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": said(text)})
}

#[test]
fn a_session_that_the_upstream_has_forgotten_is_opened_again() {
    let refusals = [
        (
            "400 Bad Request",
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#,
        ),
        ("400 Bad Request", "Invalid session id"),
        (
            "404 Not Found",
            r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
        ),
        ("404 Not Found", ""),
        ("410 Gone", "this session is over"),
    ];
    for (path, tool) in SCOPES {
        for (status, body) in refusals {
            let is_forgotten = Arc::new(AtomicUsize::new(0));
            let far = Scripted::start({
                let is_forgotten = Arc::clone(&is_forgotten);
                move |asked, out| {
                    if asked.session().starts_with("client-")
                        && asked.calls("tools/call")
                        && is_forgotten.fetch_add(1, Ordering::AcqRel) == 1
                    {
                        out.reply(status, &["Content-Type: application/json"], body.as_bytes());
                        return None;
                    }
                    Some(out)
                }
            });
            let gateway = gateway(&far.entry());
            let session = gateway.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual");
            assert_eq!(text(&ask(&session, tool)), "as usual", "{status} {body}");
            let seen = far.seen();
            let opened = seen.iter().filter(|asked| asked.calls("initialize")).count();
            let calls: Vec<&str> =
                seen.iter().filter(|a| a.calls("tools/call")).map(Asked::session).collect();
            assert_eq!((opened, calls.len()), (2, 3), "{path} {status} {body}: {calls:?}");
            assert_eq!(calls[0], calls[1]);
            assert_ne!(calls[1], calls[2]);
            let initialized = |asked: &&Asked| asked.calls("notifications/initialized");
            assert_eq!(seen.iter().filter(initialized).count(), 2);
        }
    }
}

#[test]
fn an_upstream_that_takes_no_good_bye_is_left_nevertheless() {
    let far = Scripted::start(|asked, out| {
        if asked.method == "DELETE" {
            out.reply("405 Method Not Allowed", &[], b"");
            return None;
        }
        Some(out)
    });
    let gateway = gateway(&far.entry());
    let session = gateway.client("/mcp/far").initialize();
    ask(&session, "ask");
    session.delete().expect(200);
    far.wait_for("the good-bye", |asked| asked.method == "DELETE" && asked.is_of_client());
    session.try_request("tools/list", json!({})).expect(404);
}

#[test]
fn a_stream_that_the_upstream_closes_early_is_fetched_and_the_call_not_repeated() {
    for (path, tool) in SCOPES {
        let question: Arc<Mutex<Option<(Asked, Instant)>>> = Arc::default();
        let waited: Arc<Mutex<Option<Duration>>> = Arc::default();
        let far = Scripted::start({
            let (question, waited) = (Arc::clone(&question), Arc::clone(&waited));
            move |asked, out| {
                if asked.calls("tools/call") {
                    let mut out = out.events();
                    *question.lock().unwrap() = Some((asked.clone(), Instant::now()));
                    out.write(b"id: e-1\nretry: 300\ndata: \n\n");
                    return None;
                }
                if asked.method == "GET" && asked.header("last-event-id") == Some("e-1") {
                    let (call, at) = question.lock().unwrap().clone().unwrap();
                    waited.lock().unwrap().get_or_insert(at.elapsed());
                    let mut out = out.events();
                    // Breaks the stream off once more, in the middle.
                    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                        "params": {"progressToken": "t", "progress": 1}});
                    out.write(format!("id: e-2\nretry: 1\n{}", event(&progress)).as_bytes());
                    let _ = call;
                    return None;
                }
                if asked.method == "GET" && asked.header("last-event-id") == Some("e-2") {
                    let (call, _) = question.lock().unwrap().clone().unwrap();
                    let mut out = out.events();
                    out.event(&answer_to(&call, "the rest"));
                    return None;
                }
                Some(out)
            }
        });
        let gateway = gateway(&far.entry());
        let session = gateway.client(path).initialize();
        let (stream, id) = session.start(tool, json!({}), json!({"progressToken": "t"}));
        let messages = stream.whole().expect(200).messages();
        assert_eq!(messages.len(), 2, "{path}: {messages:?}");
        assert_eq!(messages[0]["params"]["progressToken"], "t");
        assert_eq!((&messages[1]["id"], text(&messages[1])), (&id, "the rest"));
        let calls = far.seen().iter().filter(|asked| asked.calls("tools/call")).count();
        assert_eq!(calls, 1, "a call is never posted twice");
        let waited = waited.lock().unwrap().unwrap();
        assert!(waited >= Duration::from_millis(300), "it comes back after `retry`: {waited:?}");
    }
}

#[test]
fn a_stream_that_ends_without_an_answer_is_an_error_and_not_a_hang() {
    for (path, tool) in SCOPES {
        let far = Scripted::start(|asked, out| {
            if asked.calls("tools/call") {
                drop(out.events());
                return None;
            }
            Some(out)
        });
        let gateway = gateway(&far.entry());
        let session = gateway.client(path).initialize();
        let answer = ask(&session, tool);
        assert!(wrong(&answer).contains("may have run"), "{path}: {answer}");
        assert_eq!(far.seen().iter().filter(|asked| asked.calls("tools/call")).count(), 1);
    }
}

/// How an answer may be written on an event stream.
#[test]
fn events_are_read_however_they_are_written() {
    type Write = fn(&Value) -> Vec<u8>;
    let ways: [(&str, Write); 7] = [
        ("CRLF", |m| event(m).replace('\n', "\r\n").into_bytes()),
        ("CR alone", |m| event(m).replace('\n', "\r").into_bytes()),
        ("a byte order mark", |m| format!("\u{feff}{}", event(m)).into_bytes()),
        ("comments", |m| format!(": hello\n\n:\n{}: bye\n\n", event(m)).into_bytes()),
        ("several lines", |m| {
            let pretty = serde_json::to_string_pretty(m).unwrap();
            let lines: String = pretty.lines().map(|line| format!("data: {line}\n")).collect();
            format!("{lines}\n").into_bytes()
        }),
        ("no blanks, and other events between", |m| {
            format!("event:ping\ndata:1\n\nretry:5\n\nid:x\nevent:message\ndata:{m}\n\n")
                .into_bytes()
        }),
        ("a batch", |m| {
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "info", "data": "x"}});
            event(&json!([log, m])).into_bytes()
        }),
    ];
    for (how, write) in ways {
        let far = Scripted::start(move |asked, out| {
            if asked.calls("tools/call") {
                let mut out = out.events();
                let bytes = write(&answer_to(asked, "é\n😀"));
                // In two pieces, cut anywhere.
                let (head, tail) = bytes.split_at(bytes.len() / 2);
                out.write(head);
                std::thread::sleep(Duration::from_millis(5));
                out.write(tail);
                return None;
            }
            Some(out)
        });
        let gateway = gateway(&far.entry());
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "é\n😀", "{how}, {path}");
        }
    }
}

#[test]
fn an_answer_that_is_none_is_an_error_and_not_a_hang() {
    type Reply = fn(Out);
    let ways: [(&str, Reply); 5] = [
        ("202", |out| out.reply("202 Accepted", &[], b"")),
        ("204", |out| out.reply("204 No Content", &[], b"")),
        ("an empty 200", |out| out.reply("200 OK", &["Content-Type: application/json"], b"")),
        ("an empty 200 without a type", |out| out.reply("200 OK", &[], b"")),
        ("500", |out| {
            out.reply("500 Internal Server Error", &["Content-Type: text/html"], b"<p>no</p>")
        }),
    ];
    for (how, reply) in ways {
        let far = Scripted::start(move |asked, out| {
            if asked.calls("tools/call") {
                reply(out);
                return None;
            }
            Some(out)
        });
        let gateway = gateway(&far.entry());
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            let answer = ask(&session, tool);
            assert!(wrong(&answer).contains("far"), "{how}, {path}: {answer}");
            // The session continues.
            session.request("tools/list", json!({}));
        }
    }
}

#[test]
fn an_upstream_that_refuses_the_gateway_says_what_to_look_at() {
    let is_locked = Arc::new(AtomicUsize::new(0));
    let far = Scripted::start({
        let is_locked = Arc::clone(&is_locked);
        move |asked, out| {
            if is_locked.load(Ordering::Acquire) == 1 && asked.is_of_client() {
                let headers = ["WWW-Authenticate: Bearer", "Content-Type: application/json"];
                out.reply("401 Unauthorized", &headers, br#"{"error":"invalid_token"}"#);
                return None;
            }
            Some(out)
        }
    });
    let gateway = gateway(&far.entry());
    let sessions: Vec<(Session, &str)> =
        SCOPES.map(|(path, tool)| (gateway.client(path).initialize(), tool)).into();
    for (session, tool) in &sessions {
        assert_eq!(text(&ask(session, tool)), "as usual");
    }
    is_locked.store(1, Ordering::Release);
    for (session, tool) in &sessions {
        let answer = ask(session, tool);
        let says = wrong(&answer);
        assert!(says.contains("far") && says.contains("needs OAuth"), "{says}");
        assert!(says.contains("headers"), "{says}");
    }
    let refused = gateway.client("/mcp/far").try_initialize();
    assert_ne!(refused.status, 401, "it is not the client who is refused");
    assert!(refused.error_message().contains("needs OAuth"), "{}", refused.text());
    assert_eq!(refused.header("www-authenticate"), None);
}

/// A list that could not be read does not count as an empty one.
#[test]
fn a_list_that_fails_once_is_read_again() {
    type Reply = fn(&Asked, Out);
    let ways: [(&str, Reply); 3] = [
        ("503", |_, out| out.reply("503 Service Unavailable", &[], b"")),
        ("401", |_, out| out.reply("401 Unauthorized", &[], b"")),
        ("an error of the server's", |asked, out| {
            let error = json!({"code": -32603, "message": "my database is away"});
            out.json(&json!({"jsonrpc": "2.0", "id": asked.json()["id"], "error": error}));
        }),
    ];
    for (how, reply) in ways {
        let failures = AtomicUsize::new(0);
        let far = Scripted::start(move |asked, out| {
            if asked.rpc() == "tools/list" && failures.fetch_add(1, Ordering::AcqRel) == 0 {
                reply(asked, out);
                return None;
            }
            Some(out)
        });
        let gateway = gateway(&far.entry());
        let session = gateway.client("/mcp").initialize();
        eventually(how, || (session.tools() == ["far-ask"]).then_some(()));
    }
}

/// Keeps the GET streams of an upstream open, by session.
#[derive(Clone, Default)]
pub struct Listeners(Arc<Mutex<Vec<(String, Out)>>>);

impl Listeners {
    pub fn keep(&self, asked: &Asked, out: Out) {
        self.0.lock().unwrap().push((asked.session().to_owned(), out.events()));
    }

    /// Sends a message on a session's stream.
    pub fn say(&self, session: &str, message: &Value) {
        eventually("its GET stream", || {
            let mut listeners = self.0.lock().unwrap();
            let listener = listeners.iter_mut().find(|(of, _)| of == session);
            listener.map(|(_, out)| assert!(out.event(message), "nobody reads it"))
        });
    }
}

#[test]
fn who_listens_hears_the_session_that_was_opened_again() {
    for (status, body) in [("404 Not Found", ""), ("400 Bad Request", "Invalid session id")] {
        for (path, tool) in SCOPES {
            let (listeners, is_forgotten) = (Listeners::default(), AtomicUsize::new(0));
            let far = Scripted::start({
                let listeners = listeners.clone();
                move |asked, out| {
                    if asked.method == "GET" {
                        listeners.keep(asked, out);
                        return None;
                    }
                    if asked.calls("tools/call") && is_forgotten.fetch_add(1, Ordering::AcqRel) == 1
                    {
                        out.reply(status, &[], body.as_bytes());
                        return None;
                    }
                    Some(out)
                }
            });
            let gateway = gateway(&far.entry());
            let session = gateway.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual");
            let mut stream = session.listen();
            let log = |data: &str| {
                json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": data}})
            };
            let said_by = |number: usize, data: &str| {
                let seen = far.seen();
                let mut calls = seen.iter().filter(|asked| asked.calls("tools/call"));
                listeners.say(calls.nth(number).unwrap().session(), &log(data));
            };
            said_by(0, "before");
            stream.message(|message| message["params"]["data"] == "before");
            assert_eq!(text(&ask(&session, tool)), "as usual");
            said_by(2, "after");
            stream.message(|message| message["params"]["data"] == "after");
        }
    }
}

#[test]
fn a_stream_that_is_refused_for_its_session_tells_that_the_session_is_gone() {
    let far = Scripted::start(|asked, out| {
        if asked.method == "GET" && asked.header("last-event-id").is_none() {
            out.events().write(b"id: e-1\nretry: 1\ndata: \n\n");
            return None;
        }
        if asked.method == "GET" {
            out.reply("400 Bad Request", &[], b"Bad Request: No valid session ID provided");
            return None;
        }
        Some(out)
    });
    let gateway = gateway(&far.entry());
    let session = gateway.client("/mcp/far").initialize();
    let _stream = session.listen();
    eventually("another session", || {
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        let seen = far.seen();
        let calls: Vec<&str> =
            seen.iter().filter(|a| a.calls("tools/call")).map(Asked::session).collect();
        (calls.first() != calls.last()).then_some(())
    });
}

/// Batches of 2025-03-26, which clients of later revisions do not accept.
#[test]
fn a_batch_that_answers_one_message_is_unpacked() {
    let batch = |asked: &Asked, result: &Value| {
        let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": result});
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "info", "data": "x"}});
        (answer, log)
    };
    let far = Scripted::start(move |asked, out| {
        let tools = json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]});
        match asked.rpc().as_str() {
            "tools/list" => out.json(&json!([batch(asked, &tools).0])),
            "tools/call" if asked.json()["params"]["arguments"]["log"] == true => {
                let (answer, log) = batch(asked, &said("with a log"));
                out.json(&json!([log, answer]));
            }
            "tools/call" => out.json(&json!([batch(asked, &said("alone")).0])),
            _ => return Some(out),
        }
        None
    });
    let gateway = gateway(&far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        assert_eq!(session.tools(), [tool]);
        let answer = session.try_request("tools/call", json!({"name": tool, "arguments": {}}));
        assert_eq!(text(&answer.expect(200).json()), "alone", "{path}");
        let (stream, id) = session.start(tool, json!({"log": true}), json!({}));
        let messages = stream.whole().expect(200).messages();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(messages[0]["method"], "notifications/message");
        assert_eq!((&messages[1]["id"], text(&messages[1])), (&id, "with a log"));
    }
}
