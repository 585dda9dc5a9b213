//! A session's GET stream: what the client gets after the stream was lost, alone or with the
//! session's server, node or gateway.

use mooring_tests::http::Incoming;
use mooring_tests::{Canned, Front, Gateway, Session, Setup, eventually, process, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::sessions::resuming::{SCOPES, came, everything};
use mooring_tests::orders::{announce, late, notification, tools};

/// A server that sends notifications on demand.
fn logging() -> (Canned, Value) {
    let server = Canned::new()
        .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}}))
        .answers("tools/list", tools())
        .answers("resources/list", json!({"resources": []}))
        .answers("resources/templates/list", json!({"resourceTemplates": []}));
    let entries = json!({"log": server.entry()});
    (server, entries)
}

/// A notification that never belongs to a call, even if one is in flight.
fn updated(number: u64) -> Value {
    notification("notifications/resources/updated", json!({"uri": format!("res://{number}")}))
}

fn number_of(message: &Value) -> Option<u64> {
    message["params"]["uri"].as_str()?.strip_prefix("res://")?.parse().ok()
}

fn logged(stream: &mut Incoming) -> (String, u64) {
    loop {
        let came = came(stream).expect("the stream goes on");
        if let Some(number) = number_of(&came.message) {
            return (came.id, number);
        }
    }
}

#[test]
fn the_get_stream_goes_on_where_it_was_lost() {
    let (_server, entries) = logging();
    Front::each(&entries, &json!({}), |front| {
        for (path, tool) in [("/mcp", "log-announce"), ("/mcp/log", "announce")] {
            let session = front.client(path).initialize();
            announce(&session, tool, &[]);
            let mut stream = session.listen();
            say(&session, tool, 1);
            let (last, number) = logged(&mut stream);
            assert_eq!(number, 1, "{path}");
            drop(stream);
            say(&session, tool, 2);
            say(&session, tool, 3);
            let mut stream = session.resume(&last);
            assert_eq!(stream.status, 200);
            assert_eq!(logged(&mut stream).1, 2, "{path}");
            let (last, number) = logged(&mut stream);
            assert_eq!(number, 3, "{path}");
            say(&session, tool, 4);
            assert_eq!(logged(&mut stream).1, 4, "{path}");
            // The client resumes although its old connection still looks open to the gateway.
            let mut again = session.resume(&last);
            assert_eq!(logged(&mut again).1, 4, "{path}");
            say(&session, tool, 5);
            assert_eq!(logged(&mut again).1, 5, "{path}");
        }
    });
}

/// Has the server send a notification after its answer: during a call it would belong to the call's
/// response.
fn say(session: &Session, tool: &str, number: u64) {
    late(session, &tool.replace("announce", "emit"), &[updated(number)]);
}

#[test]
fn who_has_missed_something_on_the_get_stream_reads_its_lists_again() {
    let (_server, entries) = logging();
    let system = json!({"limits": {"bufferedEvents": 4}});
    Front::each(&entries, &system, |front| {
        for (path, tool) in [("/mcp", "log-announce"), ("/mcp/log", "announce")] {
            let session = front.client(path).initialize();
            announce(&session, tool, &[]);
            let mut stream = session.listen();
            say(&session, tool, 0);
            let (mut last, _) = logged(&mut stream);
            drop(stream);
            // Several rounds: a burst that is still being read when the client resumes leaves
            // no gap.
            let is_told_of_a_gap = (0..20).map(|round| round * 100 + 1).any(|first| {
                for number in first..first + 9 {
                    say(&session, tool, number);
                }
                let mut stream = session.resume(&last);
                say(&session, tool, first + 9);
                let (mut seen, mut is_told) = (Vec::new(), false);
                while seen.last() != Some(&(first + 9)) {
                    let came = came(&mut stream).expect("it goes on");
                    is_told |= came.message["method"] == "notifications/resources/list_changed";
                    if let Some(number) = number_of(&came.message) {
                        seen.push(number);
                        last = came.id;
                    }
                }
                assert!(seen.is_sorted(), "{path}: {seen:?}");
                is_told && seen.len() < 10
            });
            assert!(is_told_of_a_gap, "{path}: nine are more than are kept");
            let mut stream = session.resume(&last);
            say(&session, tool, 1000);
            while logged(&mut stream).1 != 1000 {}
        }
    });
}

#[test]
fn a_new_get_stream_takes_over_and_ends_the_one_before() {
    Front::each(&everything(), &json!({}), |front| {
        for (path, prefix) in SCOPES {
            let session = front.client(path).initialize();
            session.call(&format!("{prefix}now"), json!({}));
            let mut streams = [(); 3].map(|()| session.listen());
            for stream in &mut streams {
                assert_eq!(stream.status, 200, "{path}");
            }
            let [one, two, _] = &mut streams;
            while one.next_event().is_some() || two.next_event().is_some() {}
        }
    });
}

/// Checks that the client is notified of the loss, and that its lists may have changed.
fn told_of_loss(stream: &mut Incoming, path: &str) {
    let notice = stream.message(|message| {
        message["method"] == "notifications/message" && message["params"]["logger"] == "mooring"
    });
    let says = notice["params"]["data"].as_str().unwrap();
    assert!(says.contains("log"), "{path}: {says}");
    for list in ["tools", "prompts", "resources"] {
        let method = format!("notifications/{list}/list_changed");
        stream.message(|message| message["method"] == method);
    }
}

#[test]
fn the_get_stream_survives_the_death_of_its_server() {
    let (server, entries) = logging();
    Front::each(&entries, &json!({}), |front| {
        for (path, tool) in [("/mcp", "log-announce"), ("/mcp/log", "announce")] {
            let session = front.client(path).initialize();
            announce(&session, tool, &[]);
            let mut stream = session.listen();
            say(&session, tool, 1);
            assert_eq!(logged(&mut stream).1, 1, "{path}");
            let pid = server.told().last().unwrap().0;
            process::signal(pid, Signal::KILL);
            eventually("the server is gone", || (!process::runs(pid)).then_some(()));
            // The next use opens it again.
            announce(&session, tool, &[]);
            told_of_loss(&mut stream, path);
            say(&session, tool, 2);
            assert_eq!(logged(&mut stream).1, 2, "{path}");
        }
    });
}

#[test]
fn the_get_stream_survives_the_death_of_its_node() {
    for (path, tool) in [("/mcp", "log-announce"), ("/mcp/log", "announce")] {
        let (server, entries) = logging();
        let Front::Cluster(mut cluster) = Front::cluster(&entries, &json!({})) else {
            unreachable!("a cluster")
        };
        let session = cluster.client(path).initialize();
        announce(&session, tool, &[]);
        let mut stream = session.listen();
        say(&session, tool, 1);
        assert_eq!(logged(&mut stream).1, 1, "{path}");
        let pid = server.told().last().unwrap().0;
        let at =
            cluster.nodes.iter().position(|node| process::descendants(node.pid()).contains(&pid));
        cluster.nodes[at.expect("a node has it")].kill9();
        eventually("the other node serves it", || {
            let (message, id) = session.message("tools/call", json!({"name": tool}));
            let answer = session.post(&message).send(session.client.address());
            let answered = answer.status == 200
                && answer.messages().iter().any(|m| m["id"] == id && m.get("result").is_some());
            answered.then_some(())
        });
        told_of_loss(&mut stream, path);
        say(&session, tool, 2);
        assert_eq!(logged(&mut stream).1, 2, "{path}");
    }
}

#[test]
fn after_a_restart_of_the_gateway_the_client_reads_its_lists_again() {
    let (_server, entries) = logging();
    for (path, tool) in [("/mcp", "log-announce"), ("/mcp/log", "announce")] {
        let mut gateway: Gateway = Setup::new(&settings::standalone(entries.clone())).start();
        let session = gateway.client(path).initialize();
        announce(&session, tool, &[]);
        let mut stream = session.listen();
        say(&session, tool, 1);
        let (last, _) = logged(&mut stream);
        drop(stream);
        gateway.restart_after(Signal::KILL);
        let mut stream = session.resume(&last);
        assert_eq!(stream.status, 200, "{path}");
        for list in ["tools", "prompts", "resources"] {
            let method = format!("notifications/{list}/list_changed");
            stream.message(|message| message["method"] == method);
        }
        announce(&session, tool, &[]);
        say(&session, tool, 2);
        assert_eq!(logged(&mut stream).1, 2, "{path}");
    }
}
