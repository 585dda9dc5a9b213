//! Servers that are added, changed and removed, and those that stay as they are.

use mooring_tests::{Gateway, Session, eventually, process, servers, settings};
use serde_json::{Value, json};

/// Scopes, each with the prefix of the counter's tools.
const SCOPES: [(&str, &str); 2] = [("/mcp", "counter-"), ("/mcp/counter", "")];

fn with(servers: &Value) -> Value {
    settings::standalone(servers.clone())
}

/// A counter at another machine, reached over Streamable HTTP.
fn remote(upstream: &Gateway, path: &str) -> Value {
    json!({"type": "streamable-http", "url": format!("{}{path}", upstream.url())})
}

/// Two counters for others to reach.
fn upstream() -> Gateway {
    Gateway::start_with(&with(&json!({
        "one": servers::counter_named("one"),
        "two": servers::counter_named("two"),
    })))
}

fn named(session: &Session, tool: &str) -> String {
    session.whoami(tool).name
}

#[test]
fn an_added_server_is_listed_told_of_and_served() {
    let upstream = upstream();
    for server in [servers::counter_named("one"), remote(&upstream, "/mcp/one")] {
        let before = json!({"clock": servers::clock()});
        let gateway = Gateway::start_with(&with(&before));
        let session = gateway.client("/mcp").initialize();
        assert!(!session.tools().contains(&"counter-count".to_owned()));
        let mut stream = session.listen();
        gateway.client("/mcp/counter").try_initialize().expect(404);
        let report = gateway.apply(&with(&settings::merged(before, json!({"counter": server}))));
        assert_eq!(report["added"], json!(["counter"]));
        stream.message(|message| message["method"] == "notifications/tools/list_changed");
        assert!(session.tools().contains(&"counter-count".to_owned()));
        assert_eq!(named(&session, "counter-whoami"), "one");
        let alone = gateway.client("/mcp/counter").initialize();
        assert_eq!(alone.count("count"), 1);
    }
}

#[test]
fn a_session_goes_on_with_the_changed_server_and_its_client_is_told_of_the_loss() {
    let upstream = upstream();
    let pairs = [
        [servers::counter_named("one"), servers::counter_named("two")],
        [remote(&upstream, "/mcp/one"), remote(&upstream, "/mcp/two")],
    ];
    for [one, two] in pairs {
        for (path, prefix) in SCOPES {
            let gateway = Gateway::start_with(&with(&json!({"counter": one})));
            let session = gateway.client(path).initialize();
            let (whoami, count) = (format!("{prefix}whoami"), format!("{prefix}count"));
            assert_eq!((session.count(&count), session.count(&count)), (1, 2));
            let before = session.whoami(&whoami);
            assert_eq!(before.name, "one");
            let mut stream = session.listen();
            let report = gateway.apply(&with(&json!({"counter": two})));
            assert_eq!(report["changed"], json!(["counter"]));
            eventually("it is at the new server", || {
                (session.whoami(&whoami).name == "two").then_some(())
            });
            stream.message(|message| message["params"]["logger"] == "mooring");
            assert_eq!(session.count(&count), 1, "{path}");
            if before.pid != upstream.pid() {
                eventually("the process of before is gone", || {
                    (!process::runs(before.pid)).then_some(())
                });
            }
        }
    }
}

#[test]
fn a_call_under_way_ends_where_it_began() {
    let clock = |name: &str| {
        let mut clock = servers::clock();
        clock["env"] = json!({"MOORING_EXAMPLE_NAME": name});
        json!({"clock": clock})
    };
    let gateway = Gateway::start_with(&with(&clock("one")));
    let session = gateway.client("/mcp/clock").initialize();
    let (mut stream, id) = session.start("sleep", json!({"ms": 2000}), json!({}));
    eventually("the call is under way", || {
        let now = session.call("now", json!({}));
        (now["structuredContent"]["waiting"] == 1).then_some(())
    });
    gateway.apply(&with(&clock("two")));
    let answer = stream.message(|message| message["id"] == id);
    assert_eq!(answer["result"]["structuredContent"]["ms"], 2000, "{answer}");
    session.call("now", json!({}));
}

#[test]
fn a_removed_server_ends_with_its_sessions_and_says_so() {
    let upstream = upstream();
    for server in [servers::counter_named("one"), remote(&upstream, "/mcp/one")] {
        let clock = json!({"clock": servers::clock()});
        let both = settings::merged(clock.clone(), json!({"counter": server}));
        let gateway = Gateway::start_with(&with(&both));
        let (all, alone) =
            (gateway.client("/mcp").initialize(), gateway.client("/mcp/counter").initialize());
        assert_eq!((all.count("counter-count"), alone.count("count")), (1, 1));
        let is_stdio = server.get("command").is_some();
        let pids = [all.whoami("counter-whoami").pid, alone.whoami("whoami").pid];
        let mut stream = all.listen();
        let report = gateway.apply(&with(&clock));
        assert_eq!(report["removed"], json!(["counter"]));
        stream.message(|message| message["method"] == "notifications/tools/list_changed");
        let lists_it = |tools: &[String]| tools.iter().any(|tool| tool.starts_with("counter-"));
        assert!(!lists_it(&all.tools()));
        let answer = all.answer("tools/call", json!({"name": "counter-count", "arguments": {}}));
        assert!(answer["error"]["message"].as_str().unwrap().contains("counter-count"), "{answer}");
        all.call("clock-now", json!({}));
        let refused = alone.try_request("tools/list", json!({})).expect(404);
        assert!(refused.error_message().contains("counter"), "{}", refused.error_message());
        if is_stdio {
            eventually("its processes are gone", || {
                process::survivors(&pids).is_empty().then_some(())
            });
        }
    }
}

#[test]
fn a_server_that_has_not_changed_keeps_process_state_and_stream() {
    let others = |name: &str| json!({"counter": servers::counter_named("same"), "other": servers::counter_named(name)});
    let gateway = Gateway::start_with(&with(&others("one")));
    for (path, prefix) in SCOPES {
        let session = gateway.client(path).initialize();
        let (whoami, count) = (format!("{prefix}whoami"), format!("{prefix}count"));
        assert_eq!(session.count(&count), 1);
        let before = session.whoami(&whoami);
        for (round, name) in ["two", "three", "one"].into_iter().enumerate() {
            gateway.apply(&with(&others(name)));
            assert_eq!(session.count(&count), 2 + round as i64);
            assert_eq!(session.whoami(&whoami), before, "{path}");
        }
    }
}

#[test]
fn what_is_looked_up_at_each_call_applies_without_a_new_process() {
    let hidden =
        settings::merged(servers::counter(), json!({"tools": {"reset": {"enabled": false}}}));
    let gateway = Gateway::start_with(&with(&json!({"counter": servers::counter()})));
    let session = gateway.client("/mcp").initialize();
    let pid = session.whoami("counter-whoami").pid;
    let report = gateway.apply(&with(&json!({"counter": hidden})));
    assert_eq!(report["changed"], json!(["counter"]));
    assert!(!session.tools().contains(&"counter-reset".to_owned()));
    let answer = session.answer("tools/call", json!({"name": "counter-reset", "arguments": {}}));
    assert!(answer["error"].is_object(), "{answer}");
    assert_eq!(session.whoami("counter-whoami").pid, pid);
}

#[test]
fn sessions_of_a_shared_process_move_to_the_next_one_together() {
    let shared =
        |name: &str| json!({"counter": servers::isolated(servers::counter_named(name), "shared")});
    let gateway = Gateway::start_with(&with(&shared("one")));
    let sessions = [0, 1].map(|_| gateway.client("/mcp/counter").initialize());
    let before = sessions[0].whoami("whoami");
    assert_eq!(sessions[1].whoami("whoami"), before);
    gateway.apply(&with(&shared("two")));
    let [first, second] = sessions.each_ref().map(|session| session.whoami("whoami"));
    assert_eq!((first.name.as_str(), &first), ("two", &second));
    eventually("the process of before is gone", || (!process::runs(before.pid)).then_some(()));
}

#[test]
fn spares_are_those_of_the_settings_in_force() {
    let warm = |name: &str, warm: u64| json!({"counter": settings::merged(servers::counter_named(name), json!({"warm": warm}))});
    let gateway = Gateway::start_with(&with(&warm("one", 2)));
    let run = |name: &str, count: usize| {
        eventually(&format!("{count} of {name} run"), || {
            let all = process::with_variable("MOORING_EXAMPLE_NAME", name);
            let below = process::servers(gateway.pid());
            let own = all.iter().filter(|pid| below.contains(pid)).count();
            (own == count).then_some(())
        });
    };
    gateway.wait_until_discovered(&["counter"]);
    run("one", 2);
    gateway.apply(&with(&warm("two", 1)));
    run("one", 0);
    run("two", 1);
    gateway.apply(&with(&warm("two", 0)));
    run("two", 0);
}
