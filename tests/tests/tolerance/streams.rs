//! The streams of a session: the newest one is heard, progress is for living tokens, and the
//! gateway's own reading makes no news.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mooring_tests::odd_server::{answer, as_usual, initialized};
use mooring_tests::{OddServer, Way};
use serde_json::{Map, Value, json};

use super::{Place, wait_for_tools};

fn progress(token: &Value, progress: u32) -> String {
    let params = json!({"progressToken": token, "progress": progress});
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string()
}

#[test]
fn progress_is_passed_for_requests_in_flight_and_no_others() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::good_but(way, |message, say| {
            if message["method"] != "tools/call" {
                return false;
            }
            let token = &message["params"]["_meta"]["progressToken"];
            for (token, number) in [(token, 1), (&json!("nobodys"), 2)] {
                say(progress(token, number));
            }
            as_usual(message, say);
            for (token, number) in [(token, 98), (&json!("nobodys"), 99)] {
                say(progress(token, number));
            }
            let params = json!({"level": "info", "data": "end"});
            let method = "notifications/message";
            say(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
            true
        });
        (way, server)
    });
    let entries: Map<String, Value> =
        servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        for way in Way::ALL {
            let name = way.name();
            for (path, tool) in [
                ("/mcp".to_owned(), format!("{name}-ask")),
                (format!("/mcp/{name}"), "ask".to_owned()),
            ] {
                let session = place.client(&path).initialize();
                let mut stream = session.listen();
                mooring_tests::eventually("the tool", || {
                    session.tools().contains(&tool).then_some(())
                });
                let (response, id) =
                    session.start(&tool, json!({}), json!({"progressToken": "mine"}));
                let said = response.whole().expect(200).messages();
                assert!(said.iter().any(|said| said["id"] == id), "{path} {said:?}");
                let heard: Vec<&Value> =
                    said.iter().filter_map(|said| said["params"].get("progress")).collect();
                assert_eq!(heard, [&json!(1)], "{path} {name}");
                // A later message shows that nothing came before it.
                stream.message(|told| {
                    assert_ne!(told["method"], "notifications/progress", "{path} {told}");
                    told["params"]["data"] == "end"
                });
            }
        }
    }
}

#[test]
fn the_newest_get_stream_takes_over_from_one_that_is_not_read() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::good_but(way, |message, say| {
            if message["method"] == "initialize" {
                let all = json!({"tools": {}, "resources": {"subscribe": true}});
                say(answer(message, &initialized(message, &all)));
                return true;
            }
            if message["method"] == "tools/call" {
                let params = json!({"uri": "test://a"});
                let method = "notifications/resources/updated";
                say(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
            }
            false
        });
        (way, server)
    });
    // Over HTTP the update comes on the call's own stream.
    let entries: Map<String, Value> = servers[..1]
        .iter()
        .chain(&servers[2..])
        .map(|(way, server)| (way.name().to_owned(), server.entry()))
        .collect();
    for place in Place::each(&entries) {
        for (path, tool) in
            [("/mcp", "stdio-ask"), ("/mcp", "sse-ask"), ("/mcp/stdio", "ask"), ("/mcp/sse", "ask")]
        {
            let session = place.client(path).initialize();
            mooring_tests::eventually("the tool", || {
                session.tools().contains(&tool.to_owned()).then_some(())
            });
            let silent = session.listen();
            assert_eq!(silent.status, 200);
            for _ in 0..2 {
                let mut newest = session.listen();
                assert_eq!(newest.status, 200, "{path}");
                drop(session.answer("tools/call", json!({"name": tool})));
                newest.message(|told| told["method"] == "notifications/resources/updated");
            }
        }
    }
}

/// A server that announces a change of its tools whenever they are read.
#[test]
fn a_list_that_is_announced_as_changed_by_being_read_comes_to_rest() {
    for isolation in ["session", "shared"] {
        let reads = Arc::new(AtomicUsize::new(0));
        let server = OddServer::start(Way::Stdio, {
            let reads = Arc::clone(&reads);
            move |_, message, say| {
                as_usual(message, say);
                if message["method"] == "tools/list" {
                    reads.fetch_add(1, Ordering::AcqRel);
                    let method = "notifications/tools/list_changed";
                    say(json!({"jsonrpc": "2.0", "method": method}).to_string());
                }
            }
        });
        let mut entry = server.entry();
        entry["isolation"] = json!(isolation);
        let place = Place::standalone(&json!({"s": entry}));
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["s-ask"]);
        drop(session.answer("tools/call", json!({"name": "s-ask"})));
        let alone = place.client("/mcp/s").initialize();
        assert_eq!(alone.tools(), ["ask"]);
        let before = reads.load(Ordering::Acquire);
        std::thread::sleep(Duration::from_secs(5));
        let read = reads.load(Ordering::Acquire) - before;
        assert!(read <= 8, "{isolation}: {read} times in 5 s");
    }
}

/// A change that is announced while the gateway reads is told all the same.
#[test]
fn a_change_that_comes_with_a_reading_is_told() {
    let stage = Arc::new(AtomicUsize::new(0));
    let server = OddServer::start(Way::Stdio, {
        let stage = Arc::clone(&stage);
        move |_, message, say| {
            let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            match message["method"].as_str() {
                Some("tools/list") => {
                    let now = stage.load(Ordering::Acquire);
                    let tool = |n: usize| json!({"name": format!("t{n}"), "inputSchema": {"type": "object"}});
                    let tools: Vec<Value> = (0..=now).map(tool).collect();
                    say(answer(message, &json!({"tools": tools})));
                    // The next one comes to be right after the gateway has read these.
                    if (1..3).contains(&now) {
                        stage.fetch_add(1, Ordering::AcqRel);
                        say(changed.to_string());
                    }
                }
                Some("tools/call") => {
                    stage.store(1, Ordering::Release);
                    say(changed.to_string());
                    as_usual(message, say);
                }
                _ => as_usual(message, say),
            }
        }
    });
    let place = Place::standalone(&json!({"s": server.entry()}));
    let session = place.client("/mcp").initialize();
    wait_for_tools(&session, &["s-t0"]);
    let mut stream = session.listen();
    drop(session.answer("tools/call", json!({"name": "s-t0"})));
    stream.message(|told| told["method"] == "notifications/tools/list_changed");
    wait_for_tools(&session, &["s-t0", "s-t1", "s-t2", "s-t3"]);
}
