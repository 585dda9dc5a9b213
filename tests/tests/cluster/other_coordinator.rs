//! What belongs to a session and arrives at the other coordinator: streams, answers to questions,
//! resumptions, settings.

use mooring_tests::http::Incoming;
use mooring_tests::orders::{announce, late, notification, tools};
use mooring_tests::{
    Canned, Client, Gateway, Pair, RedisServer, Session, eventually, process, servers,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::sessions::kept_texts::notice;

/// A pair whose nodes have the same servers.
fn pair(what: &str, entries: &Value) -> Option<Pair> {
    let redis = RedisServer::start(what)?;
    Some(Pair::with(redis, &json!({}), |_| entries.clone()))
}

fn able(client: Client) -> Session {
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"form": {}}, "sampling": {}},
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    });
    client.params(params).initialize()
}

#[test]
fn an_answer_to_a_question_reaches_its_server_through_the_other_coordinator() {
    let asker = json!({"command": "mooring-conformance-server", "args": ["stdio"]});
    let Some(pair) = pair("answers elsewhere", &json!({"asker": asker})) else { return };
    for (path, prefix) in [("/mcp/asker", ""), ("/mcp", "asker-")] {
        for at in [0, 1] {
            let session = able(pair.client(at, path));
            let tool = format!("{prefix}test_elicitation");
            let (mut stream, id) = session.start(&tool, json!({"message": "m"}), json!({}));
            let question = stream.message(|message| message["method"] == "elicitation/create");
            let content = json!({"username": "u-elsewhere", "email": "a@b"});
            let there = pair.elsewhere(1 - at, path, &session);
            there.reply(&question["id"], json!({"action": "accept", "content": content}));
            let answer = stream.message(|message| message["id"] == id);
            let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
            assert!(text.contains("u-elsewhere"), "{path}: {answer}");
        }
    }
}

#[test]
fn a_call_that_is_cancelled_at_the_other_coordinator_ends_at_its_server() {
    let Some(pair) = pair("cancels elsewhere", &json!({"clock": servers::clock()})) else { return };
    for (path, prefix) in [("/mcp/clock", ""), ("/mcp", "clock-")] {
        let session = pair.client(0, path).initialize();
        let waiting = |session: &Session| {
            let now = session.call(&format!("{prefix}now"), json!({}));
            now["structuredContent"]["waiting"].as_u64()
        };
        let (mut stream, id) =
            session.start(&format!("{prefix}sleep"), json!({"ms": 50_000}), json!({}));
        let there = pair.elsewhere(1, path, &session);
        eventually("it is under way", || (waiting(&session) == Some(1)).then_some(()));
        there.notify("notifications/cancelled", json!({"requestId": id})).expect(202);
        eventually("it is over", || (waiting(&session) == Some(0)).then_some(()));
        while stream.next_event().is_some() {}
    }
}

#[test]
fn the_stream_of_a_request_is_resumed_at_the_other_coordinator() {
    let Some(pair) = pair("resumptions elsewhere", &json!({"clock": servers::clock()})) else {
        return;
    };
    for (path, prefix) in [("/mcp/clock", ""), ("/mcp", "clock-")] {
        let session = pair.client(0, path).initialize();
        let (steps, tool) = (json!({"steps": 6, "ms": 60}), format!("{prefix}wait_with_progress"));
        let (mut stream, id) = session.start(&tool, steps, json!({"progressToken": "t"}));
        let first = stream.event();
        assert_eq!(first.json()["params"]["progress"], 1);
        drop(stream);
        let there = pair.elsewhere(1, path, &session);
        let mut rest = there.resume(first.id.as_ref().expect("an event id"));
        let seen: Vec<Value> =
            std::iter::from_fn(|| rest.next_event()).map(|event| event.json()).collect();
        let steps: Vec<_> = seen.iter().filter_map(|m| m["params"]["progress"].as_u64()).collect();
        assert_eq!(steps, [2, 3, 4, 5, 6], "{path}");
        assert_eq!(seen.last().unwrap()["id"], id);
        assert_eq!(seen.len(), 6);
    }
}

fn talker() -> Canned {
    Canned::new()
        .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}, "logging": {}}))
        .answers("tools/list", tools())
        .answers("resources/list", json!({"resources": []}))
        .answers("resources/templates/list", json!({"resourceTemplates": []}))
        .answers("resources/subscribe", json!({}))
        .answers("logging/setLevel", json!({}))
}

/// Has the server send something outside of a call.
fn say(session: &Session, prefix: &str, number: u64) {
    let params = json!({"uri": format!("res://{number}")});
    let updated = notification("notifications/resources/updated", params);
    late(session, &format!("{prefix}emit"), &[updated]);
}

/// The number of the next such message, and the id of its event.
fn heard(stream: &mut Incoming) -> (u64, String) {
    loop {
        let event = stream.event();
        if event.data.trim().is_empty() {
            continue;
        }
        let message = event.json();
        let uri = message["params"]["uri"].as_str().unwrap_or_default();
        if let Some(number) = uri.strip_prefix("res://") {
            return (number.parse().unwrap(), event.id.clone().expect("an event id"));
        }
    }
}

const TALKERS: [(&str, &str); 2] = [("/mcp/log", ""), ("/mcp", "log-")];

#[test]
fn a_get_stream_at_the_other_coordinator_hears_what_is_said_by_way_of_the_first() {
    let server = talker();
    let Some(pair) = pair("GET streams elsewhere", &json!({"log": server.entry()})) else { return };
    for (path, prefix) in TALKERS {
        for opens_first in [true, false] {
            let session = pair.client(0, path).initialize();
            let there = pair.elsewhere(1, path, &session);
            if opens_first {
                announce(&session, &format!("{prefix}announce"), &[]);
            }
            let mut stream = there.listen();
            for number in 1..6 {
                say(&session, prefix, number);
            }
            let numbers: Vec<u64> = (1..6).map(|_| heard(&mut stream).0).collect();
            assert_eq!(numbers, [1, 2, 3, 4, 5], "{path} {opens_first}");
        }
    }
}

#[test]
fn a_get_stream_that_changes_its_coordinator_loses_nothing_and_has_nothing_twice() {
    let server = talker();
    let Some(pair) = pair("GET streams move", &json!({"log": server.entry()})) else { return };
    for (path, prefix) in TALKERS {
        let session = pair.client(0, path).initialize();
        announce(&session, &format!("{prefix}announce"), &[]);
        let mut stream = session.listen();
        say(&session, prefix, 0);
        let (first, mut last) = heard(&mut stream);
        assert_eq!(first, 0);
        let mut number = 0;
        for round in 0..4 {
            drop(stream);
            // Nobody listens, and the stream before still feeds.
            for _ in 0..3 {
                number += 1;
                say(&session, prefix, number);
            }
            let at = pair.elsewhere(1 - round % 2, path, &session);
            stream = at.resume(&last);
            for _ in 0..3 {
                number += 1;
                say(&session, prefix, number);
            }
            let mut came: Vec<u64> = Vec::new();
            while came.len() < 6 {
                let (number, id) = heard(&mut stream);
                came.push(number);
                last = id;
            }
            // What was left comes behind what has come meanwhile.
            came.sort_unstable();
            let expected: Vec<u64> = (number - 5..=number).collect();
            assert_eq!(came, expected, "{path}, round {round}");
        }
    }
}

#[test]
fn an_old_connection_to_the_first_coordinator_ends_when_the_client_listens_at_the_other() {
    let server = talker();
    let Some(pair) = pair("one GET stream", &json!({"log": server.entry()})) else { return };
    let session = pair.client(0, "/mcp").initialize();
    announce(&session, "log-announce", &[]);
    // It hangs in a network, and looks open.
    let mut old = session.listen();
    let mut new = pair.elsewhere(1, "/mcp", &session).listen();
    while old.next_event().is_some() {}
    for number in 0..3 {
        say(&session, "log-", number);
        assert_eq!(heard(&mut new).0, number);
    }
}

#[test]
fn what_a_client_has_set_holds_wherever_its_server_is_begun_again() {
    let server = talker();
    let Some(mut pair) = pair("settings elsewhere", &json!({"log": server.entry()})) else {
        return;
    };
    let session = pair.client(0, "/mcp/log").initialize();
    session.request("logging/setLevel", json!({"level": "error"}));
    session.request("resources/subscribe", json!({"uri": "res://kept"}));
    let before = server.told().len();
    // The other coordinator begins it anew, at whichever node is left.
    let pids: Vec<u32> = pair.nodes.iter().map(Gateway::pid).collect();
    let pid = server.told().last().unwrap().0;
    let at = pids.iter().position(|node| process::descendants(*node).contains(&pid));
    pair.nodes[at.expect("a node has it")].kill9();
    let there = pair.elsewhere(1, "/mcp/log", &session);
    there.request("tools/list", json!({}));
    let told = server.told();
    let new: Vec<&Value> =
        told[before..].iter().filter(|(of, _)| *of != pid).map(|(_, told)| told).collect();
    for (method, key, value) in
        [("logging/setLevel", "level", "error"), ("resources/subscribe", "uri", "res://kept")]
    {
        let is_said = |told: &&&Value| told["method"] == method && told["params"][key] == value;
        assert_eq!(new.iter().filter(is_said).count(), 1, "{method}: {new:?}");
    }
}

/// How many notices come until the stream ends.
fn notices_left(mut stream: Incoming) -> usize {
    let events = std::iter::from_fn(move || stream.next_event());
    let messages = events.filter(|event| !event.data.trim().is_empty());
    messages.filter(|event| event.json()["params"]["logger"] == "mooring").count()
}

#[test]
fn a_loss_is_told_once_wherever_it_is_found_and_wherever_the_client_listens() {
    let Some(pair) = pair("one notice", &json!({"counter": servers::counter()})) else { return };
    for (path, prefix) in [("/mcp/counter", ""), ("/mcp", "counter-")] {
        let (count, whoami) = (format!("{prefix}count"), format!("{prefix}whoami"));
        for (finds, listens) in [(0, 0), (0, 1), (1, 0)] {
            let session = pair.client(0, path).initialize();
            session.count(&count);
            let finder = pair.elsewhere(finds, path, &session);
            let lose = |stream: &mut Incoming| {
                let pid = finder.whoami(&whoami).pid;
                process::signal(pid, Signal::KILL);
                eventually("the server is gone", || (!process::runs(pid)).then_some(()));
                assert_eq!(finder.count(&count), 1, "{path} {finds} {listens}");
                let (_, text) = notice(stream);
                assert!(text.contains("was started again"), "{text}");
            };
            let mut stream = pair.elsewhere(listens, path, &session).listen();
            (0..3).for_each(|_| lose(&mut stream));
            // At the other one nothing of it is told again, once it is known that this one has ended.
            drop(stream);
            eventually("the end of the stream is noticed", || {
                let metrics = pair.coordinators[listens].get("/metrics").expect(200).text();
                let open = metrics.lines().filter(|line| line.starts_with("mooring_streams{"));
                let mut open = open.filter_map(|line| line.rsplit(' ').next());
                open.all(|count| count == "0").then_some(())
            });
            let other = pair.elsewhere(1 - listens, path, &session);
            let mut stream = other.listen();
            lose(&mut stream);
            other.delete().expect(200);
            assert_eq!(notices_left(stream), 0, "{path} {finds} {listens}");
            // Nor on a stream that stays.
            let session = pair.client(listens, path).initialize();
            session.count(&count);
            let finder = pair.elsewhere(finds, path, &session);
            let mut stream = session.listen();
            for _ in 0..3 {
                let pid = finder.whoami(&whoami).pid;
                process::signal(pid, Signal::KILL);
                eventually("the server is gone", || (!process::runs(pid)).then_some(()));
                assert_eq!(finder.count(&count), 1);
                notice(&mut stream);
            }
            session.delete().expect(200);
            assert_eq!(notices_left(stream), 0, "{path} {finds} {listens}");
        }
    }
}

/// What a coordinator keeps is written a moment after the call that it is of.
#[track_caller]
fn wait_until_state_is_written(coordinator: &Gateway) {
    eventually("what it keeps is in the store", || {
        let metrics = coordinator.get("/metrics").expect(200).text();
        metrics.lines().any(|line| line == "mooring_state_unwritten 0").then_some(())
    });
}

#[test]
fn state_that_two_coordinators_have_passed_on_is_brought_back_by_either() {
    let mut counter = servers::counter();
    counter["state"] = json!({"replay": ["count"]});
    let Some(pair) = pair("state elsewhere", &json!({"counter": counter})) else { return };
    for (path, prefix) in [("/mcp/counter", ""), ("/mcp", "counter-")] {
        let (count, whoami) = (format!("{prefix}count"), format!("{prefix}whoami"));
        let session = pair.client(0, path).initialize();
        let sessions = [0, 1].map(|at| pair.elsewhere(at, path, &session));
        let kill = || {
            pair.coordinators.iter().for_each(wait_until_state_is_written);
            let pid = session.whoami(&whoami).pid;
            process::signal(pid, Signal::KILL);
            eventually("the server is gone", || (!process::runs(pid)).then_some(()));
        };
        let mut stream = session.listen();
        let mut value = 0;
        // Each has passed on some, and each brings all of them back.
        for round in 0..6 {
            for at in [round % 2, round / 2 % 2] {
                value += 1;
                assert_eq!(sessions[at].count(&count), value, "{path}, round {round}");
            }
            kill();
            value += 1;
            assert_eq!(sessions[(round + 1) % 2].count(&count), value, "{path}, round {round}");
            let (level, text) = notice(&mut stream);
            let calls = format!("{} calls that set its state", value - 1);
            assert!(level == "info" && text.contains(&calls), "{path}: {level} {text}");
        }
        session.delete().expect(200);
        assert_eq!(notices_left(stream), 0, "{path}");
    }
    eventually("nothing is kept of sessions that have ended", || {
        pair.redis.say("KEYS mooring:v:*").starts_with("*0").then_some(())
    });
}

#[test]
fn state_is_brought_back_when_the_coordinator_that_passed_it_on_is_dead() {
    let mut counter = servers::counter();
    counter["state"] = json!({"replay": ["count"]});
    let Some(mut pair) = pair("state of a dead coordinator", &json!({"counter": counter})) else {
        return;
    };
    let session = pair.client(0, "/mcp/counter").initialize();
    let there = pair.elsewhere(1, "/mcp/counter", &session);
    assert_eq!((session.count("count"), session.count("count")), (1, 2));
    let pid = session.whoami("whoami").pid;
    eventually("what it keeps is in the store", || {
        pair.redis.say("KEYS mooring:v:*").starts_with("*1").then_some(())
    });
    wait_until_state_is_written(&pair.coordinators[0]);
    pair.coordinators[0].kill9();
    let mut stream = there.listen();
    process::signal(pid, Signal::KILL);
    eventually("the server is gone", || (!process::runs(pid)).then_some(()));
    assert_eq!(there.count("count"), 3);
    let (level, text) = notice(&mut stream);
    assert!(level == "info" && text.contains("2 calls that set its state"), "{level} {text}");
}

#[test]
fn state_is_said_to_be_missing_where_another_coordinator_keeps_more_than_is_known() {
    let mut counter = servers::counter();
    counter["state"] = json!({"replay": ["count"]});
    let Some(pair) = pair("state that is not known", &json!({"counter": counter})) else { return };
    let session = pair.client(0, "/mcp/counter").initialize();
    let there = pair.elsewhere(1, "/mcp/counter", &session);
    assert_eq!((session.count("count"), there.count("count")), (1, 2));
    eventually("both keep something", || {
        pair.redis.say("KEYS mooring:v:*").starts_with("*2").then_some(())
    });
    let keys = pair.redis.say("KEYS mooring:v:*");
    for key in keys.lines().filter(|line| line.starts_with("mooring:v:")) {
        // What stands there is not what they have written.
        pair.redis.say(&format!("SET {} x", key.trim()));
    }
    let mut stream = session.listen();
    let pid = session.whoami("whoami").pid;
    process::signal(pid, Signal::KILL);
    eventually("the server is gone", || (!process::runs(pid)).then_some(()));
    assert_eq!(session.count("count"), 2);
    let (level, text) = notice(&mut stream);
    assert!(level == "warning" && text.contains("another coordinator"), "{level} {text}");
}
