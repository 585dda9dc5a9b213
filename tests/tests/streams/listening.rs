//! Notifications to listening clients, and which of them survive a server's restart.

use std::time::Duration;

use mooring_tests::http::Incoming;
use mooring_tests::{Canned, Front, Session, eventually, process};
use rustix::process::Signal;
use serde_json::{Value, json};

use mooring_tests::orders::{announce, late, notification, tools};

const CHANGED: &str = "notifications/tools/list_changed";

fn server(uri: &str) -> Canned {
    Canned::new()
        .with_capabilities(json!({
            "tools": {"listChanged": true}, "logging": {}, "resources": {"subscribe": true},
        }))
        .answers("tools/list", tools())
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": uri, "name": "r"}, {"uri": format!("{uri}-2"), "name": "r"},
            ]}),
        )
        .answers("resources/templates/list", json!({"resourceTemplates": []}))
        .answers("resources/subscribe", json!({}))
        .answers("resources/unsubscribe", json!({}))
        .answers("logging/setLevel", json!({}))
}

fn two() -> ([Canned; 2], Value) {
    let servers = [server("res://a"), server("res://b")];
    let entries = json!({"one": servers[0].entry(), "two": servers[1].entry()});
    (servers, entries)
}

fn log(logger: Option<&str>, data: &str) -> Value {
    let mut params = json!({"level": "info", "data": data});
    if let Some(logger) = logger {
        params["logger"] = logger.into();
    }
    notification("notifications/message", params)
}

/// The messages that arrive before a log message with this text.
fn until(stream: &mut Incoming, data: &str) -> Vec<Value> {
    let mut came = Vec::new();
    loop {
        let message = stream.event().json();
        if message["params"]["data"] == data {
            return came;
        }
        came.push(message);
    }
}

#[test]
fn a_listener_of_several_servers_hears_each_of_them() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp").initialize();
        let mut stream = session.listen();
        // The servers are opened one after the other while the stream is open.
        for (number, (name, uri)) in [("one", "res://a"), ("two", "res://b")].iter().enumerate() {
            let tool = format!("{name}-emit");
            announce(&session, &format!("{name}-announce"), &[]);
            session.request("resources/subscribe", json!({"uri": uri}));
            servers[number].wait_for("the subscription", |_, told| {
                told["method"] == "resources/subscribe" && told["params"]["uri"] == *uri
            });
            let updated = notification("notifications/resources/updated", json!({"uri": uri}));
            late(&session, &tool, std::slice::from_ref(&updated));
            let came = stream.message(|m| m["method"] == "notifications/resources/updated");
            assert_eq!(came, updated);
            late(&session, &tool, &[log(Some("l"), "named"), log(None, "nameless")]);
            let named = stream.message(|m| m["params"]["data"] == "named");
            assert_eq!(named["params"]["logger"], format!("{name}/l"));
            let nameless = stream.message(|m| m["params"]["data"] == "nameless");
            assert_eq!(nameless["params"]["logger"], *name);
            let complete =
                notification("notifications/elicitation/complete", json!({"elicitationId": "e-1"}));
            late(&session, &tool, std::slice::from_ref(&complete));
            let came = stream.message(|m| m["method"] == "notifications/elicitation/complete");
            assert_eq!(came, complete);
            session.request("resources/unsubscribe", json!({"uri": uri}));
            servers[number].wait_for("the end of the subscription", |_, told| {
                told["method"] == "resources/unsubscribe" && told["params"]["uri"] == *uri
            });
        }
        // Each server gets only its own subscriptions.
        for (server, foreign) in [(&servers[0], "res://b"), (&servers[1], "res://a")] {
            assert!(server.told().iter().all(|(_, told)| told["params"]["uri"] != foreign));
        }
    });
}

#[test]
fn what_one_session_is_told_another_is_not() {
    let (_servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        for (path, tool) in [("/mcp", "one-announce"), ("/mcp/one", "announce")] {
            let sessions = [front.client(path).initialize(), front.client(path).initialize()];
            let mut streams = sessions.each_ref().map(|session| {
                announce(session, tool, &[]);
                session.listen()
            });
            let emit = tool.replace("announce", "emit");
            late(&sessions[0], &emit, &[log(None, "first")]);
            late(&sessions[1], &emit, &[log(None, "second")]);
            until(&mut streams[0], "first");
            let came = until(&mut streams[1], "second");
            assert!(came.iter().all(|m| m["params"]["data"] != "first"), "{path}: {came:?}");
        }
    });
}

fn with_more(name: &str) -> Value {
    let mut tools = tools();
    let more = json!({"name": name, "inputSchema": {"type": "object"}});
    tools["tools"].as_array_mut().unwrap().push(more);
    tools
}

#[test]
fn lists_of_one_session_change_for_it_alone_and_are_new_when_it_is_told() {
    for front in [Front::alone, Front::cluster] {
        let (servers, entries) = two();
        let front = front(&entries, &json!({}));
        let (session, other) =
            (front.client("/mcp").initialize(), front.client("/mcp").initialize());
        announce(&other, "one-announce", &[]);
        announce(&session, "one-announce", &[]);
        let pid = servers[0].told().last().unwrap().0;
        let mut stream = session.listen();
        late(&session, "one-emit", &[log(None, "begin")]);
        until(&mut stream, "begin");
        servers[0].answer(&format!("tools/list.{pid}"), &with_more("own"));
        // Also after a silence.
        std::thread::sleep(Duration::from_millis(300));
        late(&session, "one-emit", &[(); 3].map(|()| notification(CHANGED, json!({}))));
        stream.message(|message| message["method"] == CHANGED);
        assert!(session.tools().contains(&"one-own".to_owned()), "{:?}", session.tools());
        late(&session, "one-emit", &[log(None, "end")]);
        let came = until(&mut stream, "end");
        assert!(came.iter().all(|m| m["method"] != CHANGED), "three are told as one: {came:?}");
        // This session can call the new tool.
        let answer = session.answer("tools/call", json!({"name": "one-own"}));
        assert!(answer.get("result").is_some(), "{answer}");
        assert!(!other.tools().contains(&"one-own".to_owned()), "it is the session's own");
        let answer = other.answer("tools/call", json!({"name": "one-own"}));
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(session.tools().contains(&"one-own".to_owned()), "and stays so");
    }
}

#[test]
fn a_change_for_everybody_is_told_to_everybody() {
    let (servers, entries) = two();
    for front in [Front::alone, Front::cluster] {
        servers[0].answer("tools/list", &tools());
        let front = front(&entries, &json!({}));
        // A node that reads the lists for the first time later has no change to tell of.
        front.wait_until_discovered(&["one", "two"]);
        let (session, other) =
            (front.client("/mcp").initialize(), front.client("/mcp").initialize());
        announce(&session, "one-announce", &[]);
        assert!(!other.tools().contains(&"one-new".to_owned()));
        let mut stream = other.listen();
        servers[0].answer("tools/list", &with_more("new"));
        late(&session, "one-emit", &[notification(CHANGED, json!({}))]);
        stream.message(|message| message["method"] == CHANGED);
        assert!(other.tools().contains(&"one-new".to_owned()), "{:?}", other.tools());
    }
}

#[test]
fn what_a_session_has_set_is_set_again_after_its_server_died() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        for (path, tool) in [("/mcp", "one-announce"), ("/mcp/one", "announce")] {
            let session = front.client(path).initialize();
            announce(&session, tool, &[]);
            session.request("logging/setLevel", json!({"level": "warning"}));
            session.request("resources/subscribe", json!({"uri": "res://a"}));
            session.request("resources/subscribe", json!({"uri": "res://a-2"}));
            session.request("resources/unsubscribe", json!({"uri": "res://a-2"}));
            for _ in 0..2 {
                announce(&session, tool, &[]);
                let before = servers[0].told().last().unwrap().0;
                process::signal(before, Signal::KILL);
                eventually("the server is gone", || (!process::runs(before)).then_some(()));
                announce(&session, tool, &[]);
                let after = servers[0].told().last().unwrap().0;
                assert_ne!(before, after);
                let told: Vec<Value> = servers[0]
                    .told()
                    .into_iter()
                    .filter(|(p, _)| *p == after)
                    .map(|(_, t)| t)
                    .collect();
                let at = |method: &str| told.iter().position(|t| t["method"] == method);
                let level = at("logging/setLevel").unwrap_or_else(|| panic!("{path}: {told:?}"));
                assert_eq!(told[level]["params"]["level"], "warning", "{path}");
                let uris: Vec<&Value> = told
                    .iter()
                    .filter(|t| t["method"] == "resources/subscribe")
                    .map(|t| &t["params"]["uri"])
                    .collect();
                assert_eq!(uris, ["res://a"], "{path}");
                let call = at("tools/call").unwrap();
                assert!(level < call && at("resources/subscribe").unwrap() < call, "{path}");
            }
        }
    });
}

/// A log level applies to every server of the session, whenever it is opened.
#[test]
fn a_level_reaches_servers_that_are_opened_later() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session: Session = front.client("/mcp").initialize();
        session.request("logging/setLevel", json!({"level": "error"}));
        for (server, tool) in servers.iter().zip(["one-announce", "two-announce"]) {
            announce(&session, tool, &[]);
            let pid = server.told().last().unwrap().0;
            server.wait_for("the level", |p, told| {
                p == pid
                    && told["method"] == "logging/setLevel"
                    && told["params"]["level"] == "error"
            });
        }
        let answer = session.answer("logging/setLevel", json!({"level": "loud"}));
        assert_eq!(answer["error"]["code"], -32602);
    });
}

#[test]
fn who_listens_to_a_server_that_is_gone_waits_at_rest() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = front.client("/mcp").initialize();
        let mut stream = session.listen();
        announce(&session, "one-announce", &[]);
        late(&session, "one-emit", &[log(None, "before")]);
        until(&mut stream, "before");
        let pid = servers[0].told().last().unwrap().0;
        process::signal(pid, Signal::KILL);
        eventually("the server is gone", || (!process::runs(pid)).then_some(()));
        let gateway = front.gateway().pid();
        let before = process::processor_time(gateway);
        std::thread::sleep(Duration::from_secs(2));
        let spent = process::processor_time(gateway) - before;
        assert!(spent < Duration::from_millis(500), "{spent:?}");
        announce(&session, "one-announce", &[]);
        late(&session, "one-emit", &[log(None, "after")]);
        until(&mut stream, "after");
    });
}
