//! Sessions at upstreams that the gateway leaves, and sessions that upstreams end by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mooring_tests::scripted::Asked;
use mooring_tests::{Front, Scripted, Session, eventually, settings};
use rustix::process::Signal;
use serde_json::json;

use crate::remote::upstreams::{Listeners, SCOPES, ask, gateway, text};

/// The sessions that were opened and not left.
fn open(far: &Scripted) -> usize {
    let all = far.all();
    let count = |is_meant: &dyn Fn(&&Asked) -> bool| all.iter().filter(is_meant).count();
    let opened = count(&|asked| asked.rpc() == "initialize");
    opened - count(&|asked| asked.method == "DELETE" && !asked.session().is_empty())
}

fn wait_until_left(far: &Scripted) {
    eventually("every session is left", || (open(far) == 0).then_some(()));
}

#[test]
fn every_session_that_is_over_is_left() {
    let far = Scripted::start(|_, out| Some(out));
    Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
        // The discoveries.
        eventually("a discovery", || (!far.all().is_empty()).then_some(()));
        wait_until_left(&far);
        for (path, tool) in SCOPES {
            let session = front.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual");
            assert_eq!(open(&far), 1);
            session.delete().expect(200);
            wait_until_left(&far);
        }
    });
}

#[test]
fn a_session_that_is_idle_is_left_and_opened_again() {
    let far = Scripted::start(|_, out| Some(out));
    let gateway = gateway(&settings::merged(far.entry(), json!({"idleTimeoutMs": 300})));
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        assert_eq!(text(&ask(&session, tool)), "as usual");
        wait_until_left(&far);
        assert_eq!(text(&ask(&session, tool)), "as usual", "{path}");
    }
    wait_until_left(&far);
}

#[test]
fn a_gateway_that_ends_leaves_its_sessions() {
    for is_cluster in [false, true] {
        let far = Scripted::start(|_, out| Some(out));
        let servers = json!({"far": far.entry()});
        let mut front = match is_cluster {
            false => Front::alone(&servers, &json!({})),
            true => Front::cluster(&servers, &json!({})),
        };
        let sessions: Vec<Session> = SCOPES.map(|(path, _)| front.client(path).initialize()).into();
        for (session, (_, tool)) in sessions.iter().zip(SCOPES) {
            assert_eq!(text(&ask(session, tool)), "as usual");
        }
        match &mut front {
            Front::Alone(gateway) => {
                gateway.end_by(Signal::TERM);
            }
            Front::Cluster(cluster) => {
                for node in &mut cluster.nodes {
                    node.end_by(Signal::TERM);
                }
            }
        }
        assert_eq!(open(&far), 0, "cluster: {is_cluster}");
    }
}

/// The server's list never comes.
#[test]
fn a_discovery_that_is_broken_off_leaves_its_session() {
    let is_listed = Arc::new(AtomicBool::new(false));
    let far = Scripted::start({
        let is_listed = Arc::clone(&is_listed);
        move |asked, mut out| {
            if asked.rpc() == "tools/list" {
                is_listed.store(true, Ordering::Release);
                out.wait_for_end();
                return None;
            }
            Some(out)
        }
    });
    let mut gateway = gateway(&far.entry());
    eventually("its list", || is_listed.load(Ordering::Acquire).then_some(()));
    gateway.end_by(Signal::TERM);
    assert_eq!(open(&far), 0);
}

/// As the Python SDK does: a session that was idle for long is unknown.
#[test]
fn a_session_that_the_upstream_has_ended_is_opened_again_without_a_word() {
    let ended = Arc::new(AtomicUsize::new(0));
    let listeners = Listeners::default();
    let far = Scripted::start({
        let (ended, listeners) = (Arc::clone(&ended), listeners.clone());
        move |asked, out| {
            let number = asked.session().rsplit('-').next().and_then(|n| n.parse().ok());
            if number.is_some_and(|number: usize| number <= ended.load(Ordering::Acquire))
                && asked.is_of_client()
            {
                let error = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#;
                out.reply("404 Not Found", &["Content-Type: application/json"], error.as_bytes());
                return None;
            }
            if asked.method == "GET" {
                listeners.keep(asked, out);
                return None;
            }
            Some(out)
        }
    });
    Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
        for (path, tool) in SCOPES {
            let session = front.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual");
            session.request("logging/setLevel", json!({"level": "warning"}));
            let mut stream = session.listen();
            let levels =
                || far.seen().iter().filter(|asked| asked.rpc() == "logging/setLevel").count();
            let (opened, set) = (number_of_last(&far), levels());
            ended.store(opened, Ordering::Release);
            assert_eq!(text(&ask(&session, tool)), "as usual", "{path}");
            assert_eq!(levels(), set + 1, "the settings are restored");
            let calls = far.seen().into_iter().filter(|asked| asked.calls("tools/call"));
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "error", "data": "what comes next"}});
            // A large message cannot be sent twice, so the session is looked for before it.
            ended.store(number_of_last(&far), Ordering::Release);
            std::thread::sleep(std::time::Duration::from_millis(1100));
            let large = json!({"name": tool, "arguments": {"x": "y".repeat(200_000)}});
            assert_eq!(text(&session.answer("tools/call", large)), "as usual", "{path}");
            let calls = calls.chain(far.seen().into_iter().filter(|a| a.calls("tools/call")));
            listeners.say(calls.last().unwrap().session(), &log);
            stream.message(|message| {
                let says = message.to_string();
                assert!(!says.contains("lost") && !says.contains("list_changed"), "{says}");
                message["params"]["data"] == "what comes next"
            });
        }
    });
}

/// The number in the newest session's id.
fn number_of_last(far: &Scripted) -> usize {
    far.all().iter().filter(|asked| asked.rpc() == "initialize").count()
}

/// What was under way is lost, and the client is told.
#[test]
fn a_session_that_is_ended_during_a_call_is_told_of() {
    let is_ended = Arc::new(AtomicBool::new(false));
    let far = Scripted::start({
        let is_ended = Arc::clone(&is_ended);
        move |asked, mut out| {
            if asked.calls("tools/call") && asked.json()["params"]["arguments"]["long"] == true {
                out.wait_for_end();
                return None;
            }
            if asked.calls("tools/call") && is_ended.swap(false, Ordering::AcqRel) {
                out.reply("404 Not Found", &[], b"");
                return None;
            }
            Some(out)
        }
    });
    let gateway = gateway(&far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        let (long, _) = session.start(tool, json!({"long": true}), json!({}));
        is_ended.store(true, Ordering::Release);
        assert_eq!(text(&ask(&session, tool)), "as usual");
        let answer = long.whole();
        assert!(answer.text().contains("error"), "{path}: {}", answer.text());
        session.listen().message(|message| {
            message["params"]["data"].as_str().is_some_and(|data| data.contains("is lost"))
        });
    }
}
