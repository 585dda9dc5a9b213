//! Time limits of calls: `options` of a server's entry.

use std::time::Duration;

use mooring_tests::{Front, Scripted, Session, eventually, servers, settings};
use serde_json::{Value, json};

const TIMED_OUT: i64 = -31004;

fn clock(options: Value) -> Value {
    settings::merged(servers::clock(), json!({"options": options}))
}

fn waiting(session: &Session, prefix: &str) -> i64 {
    let now = session.call(&format!("{prefix}now"), json!({}));
    now["structuredContent"]["waiting"].as_i64().unwrap()
}

/// Checks that the call expires: the error names the option, and the server stops working.
fn expires(session: &Session, prefix: &str, tool: &str, arguments: Value, key: &str) {
    let tool = format!("{prefix}{tool}");
    let meta = json!({"progressToken": "t"});
    let (stream, id) = session.start(&tool, arguments, meta);
    let messages = stream.whole().expect(200).messages();
    let answer = messages.last().unwrap();
    assert_eq!(answer["id"], id);
    assert_eq!(answer["error"]["code"], TIMED_OUT, "{key}: {answer}");
    let says = answer["error"]["message"].as_str().unwrap();
    assert!(says.contains(key) && says.contains("may have run"), "{says}");
    eventually("the server was told to stop", || (waiting(session, prefix) == 0).then_some(()));
}

#[test]
fn a_call_on_a_pipe_takes_no_longer_than_it_may() {
    let servers = json!({
        "short": clock(json!({"timeout": 400})),
        "patient": clock(json!({"timeout": 800, "resetTimeoutOnProgress": true})),
        "capped": clock(json!({
            "timeout": 800, "resetTimeoutOnProgress": true, "maxTotalTimeout": 1500,
        })),
        "total": clock(json!({"maxTotalTimeout": 400})),
    });
    Front::each(&servers, &json!({}), |front| {
        let open = |server: &str| {
            [
                (front.client(&format!("/mcp/{server}")).initialize(), String::new()),
                (front.client("/mcp").initialize(), format!("{server}-")),
            ]
        };
        let slow = || json!({"ms": 600_000});
        let steps = |steps: u64| json!({"steps": steps, "ms": 150});
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (session, prefix) in open("short") {
                    expires(&session, &prefix, "sleep", slow(), "options.timeout");
                    // Progress does not extend this limit.
                    let endless = steps(1000);
                    expires(&session, &prefix, "wait_with_progress", endless, "options.timeout");
                    session.call(&format!("{prefix}sleep"), json!({"ms": 1}));
                }
            });
            scope.spawn(|| {
                for (session, prefix) in open("patient") {
                    let tool = format!("{prefix}wait_with_progress");
                    let (stream, _) = session.start(&tool, steps(12), json!({"progressToken": 1}));
                    let messages = stream.whole().expect(200).messages();
                    let last = messages.last().unwrap();
                    assert_eq!(last["result"]["structuredContent"]["steps"], 12, "{last}");
                    expires(&session, &prefix, "sleep", slow(), "options.timeout");
                }
            });
            scope.spawn(|| {
                for (session, prefix) in open("capped") {
                    let key = "options.maxTotalTimeout";
                    expires(&session, &prefix, "wait_with_progress", steps(1000), key);
                }
                for (session, prefix) in open("total") {
                    expires(&session, &prefix, "sleep", slow(), "options.maxTotalTimeout");
                }
            });
        });
    });
}

/// An upstream that never answers: it sends nothing, or progress for ever.
fn far(talks: bool) -> Scripted {
    Scripted::start(move |asked, mut out| {
        if !asked.calls("tools/call") {
            return Some(out);
        }
        if !talks {
            out.wait_for_end();
            return None;
        }
        let mut out = out.events();
        let token = asked.json()["params"]["_meta"]["progressToken"].clone();
        let progress = json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1},
        });
        while out.event(&progress) {
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    })
}

#[test]
fn a_call_over_http_takes_no_longer_than_it_may() {
    let (mute, talking) = (far(false), far(true));
    let with =
        |far: &Scripted, options: Value| settings::merged(far.entry(), json!({"options": options}));
    let servers = json!({
        "mute": with(&mute, json!({"timeout": 400})),
        "talks": with(&talking, json!({"timeout": 400})),
        "capped": with(&talking, json!({
            "timeout": 600, "resetTimeoutOnProgress": true, "maxTotalTimeout": 1500,
        })),
    });
    Front::each(&servers, &json!({}), |front| {
        for (server, key, far) in [
            ("mute", "options.timeout", &mute),
            ("talks", "options.timeout", &talking),
            ("capped", "options.maxTotalTimeout", &talking),
        ] {
            for (path, tool) in [
                (format!("/mcp/{server}"), "ask".to_owned()),
                ("/mcp".into(), format!("{server}-ask")),
            ] {
                let before = far.seen().len();
                let session = front.client(&path).initialize();
                let (stream, id) = session.start(&tool, json!({}), json!({"progressToken": "t"}));
                let messages = stream.whole().expect(200).messages();
                let answer = messages.last().unwrap();
                assert_eq!(
                    (&answer["id"], &answer["error"]["code"]),
                    (&id, &json!(TIMED_OUT)),
                    "{server} {path}: {answer}"
                );
                let says = answer["error"]["message"].as_str().unwrap();
                assert!(says.contains(key), "{says}");
                eventually("the upstream is told", || {
                    far.seen().into_iter().skip(before).find(|asked| {
                        asked.calls("notifications/cancelled")
                            && asked.json()["params"]["requestId"] == id
                    })
                });
            }
        }
    });
}

#[test]
fn without_options_a_call_takes_what_it_takes_and_is_kept_alive() {
    let far = Scripted::start(|asked, out| {
        if !asked.calls("tools/call") {
            return Some(out);
        }
        std::thread::sleep(Duration::from_millis(2200));
        Some(out)
    });
    let servers = json!({"clock": servers::clock(), "far": far.entry()});
    let system = json!({"limits": {"keepAlive": 100}});
    Front::each(&servers, &system, |front| {
        std::thread::scope(|scope| {
            for (path, tool) in [
                ("/mcp", "clock-sleep"),
                ("/mcp/clock", "sleep"),
                ("/mcp", "far-ask"),
                ("/mcp/far", "ask"),
            ] {
                scope.spawn(move || is_kept_alive(front, path, tool));
            }
        });
        // Streams on which no message arrives get keep-alive comments too.
        let session = front.client("/mcp").initialize();
        for stream in [&mut session.listen(), &mut {
            let s = front.client("/mcp/clock").initialize();
            s.listen()
        }] {
            let comments =
                (0..20).filter(|_| stream.line().is_some_and(|l| l.starts_with(':'))).count();
            assert!(comments >= 5, "{comments}");
        }
    });
}

fn is_kept_alive(front: &Front, path: &str, tool: &str) {
    let session = front.client(path).initialize();
    let (mut stream, id) = session.start(tool, json!({"ms": 2200}), json!({}));
    if stream.header("content-type") != Some("text/event-stream") {
        assert!(tool.ends_with("ask"), "{tool}: an upstream may answer in JSON");
        assert_eq!(stream.whole().json()["id"], id);
        return;
    }
    let mut lines = Vec::new();
    while let Some(line) = stream.line() {
        lines.push(line);
    }
    let comments = lines.iter().filter(|line| line.starts_with(':')).count();
    assert!(comments >= 5, "{path} {tool}: {lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("data: {")), "{lines:?}");
}
