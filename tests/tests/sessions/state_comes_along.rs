//! State that comes along: a new instance of a server gets what the old one held for the session,
//! and the client is told what is back and what is not. Instances are killed without a warning.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mooring_tests::odd_server::answer;
use mooring_tests::{
    Front, Gateway, OddServer, OverSse, Session, Setup, Way, eventually, process, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::kept_texts::{
    Kept, all, by_tools, keeper, kill_all, metric, notice, play, wait_until_saved, with_state,
};

fn counter() -> Value {
    with_state(servers::counter(), json!({"replay": ["count"]}))
}

fn kill(session: &Session, whoami: &str) {
    let pid = session.whoami(whoami).pid;
    process::signal(pid, Signal::KILL);
    eventually("the server is gone", || (!process::runs(pid)).then_some(()));
}

/// Scopes of all servers, a group and one server, with the prefix of the tools of `name`.
fn scopes(name: &str) -> [(String, String); 3] {
    [
        ("/mcp".to_owned(), format!("{name}-")),
        ("/mcp/team".to_owned(), format!("{name}-")),
        (format!("/mcp/{name}"), String::new()),
    ]
}

fn with_group(mut settings: Value, server: &str) -> Value {
    settings["groups"] = json!([{"id": "1", "name": "team", "servers": [server]}]);
    settings
}

#[test]
fn calls_that_set_state_are_repeated_once_and_in_order_and_the_client_is_told() {
    let settings = settings::standalone(json!({"counter": counter()}));
    let gateway = Gateway::start_with(&with_group(settings, "counter"));
    for (path, prefix) in scopes("counter") {
        let session = gateway.client(&path).initialize();
        let (count, whoami) = (format!("{prefix}count"), format!("{prefix}whoami"));
        assert_eq!((session.count(&count), session.count(&count)), (1, 2), "{path}");
        let mut stream = session.listen();
        for before in [2, 3] {
            kill(&session, &whoami);
            assert_eq!(session.count(&count), before + 1, "{path}");
            let (level, text) = notice(&mut stream);
            assert_eq!(level, "info", "{path}: {text}");
            assert!(text.contains(&format!("{before} calls that set its state")), "{path}: {text}");
        }
    }
}

#[test]
fn a_call_too_large_to_be_read_is_not_said_to_be_back() {
    let counter = with_state(servers::counter(), json!({"replay": ["count"], "maxBytes": 4096}));
    let settings = settings::standalone(json!({"counter": counter}));
    let limits = json!({"systemConfig": {"limits": {"keptBody": 1024}}});
    let gateway = Gateway::start_with(&settings::merged(settings, limits));
    let session = gateway.client("/mcp/counter").initialize();
    let mut stream = session.listen();
    assert_eq!(session.count("count"), 1);
    let large = session.call("count", json!({"pad": "x".repeat(100_000)}));
    assert_eq!(large["structuredContent"]["value"], 2);
    kill(&session, "whoami");
    assert_eq!(session.count("count"), 2);
    let (level, text) = notice(&mut stream);
    assert!(
        level == "warning" && text.contains("1 call that set its state was repeated"),
        "{text}"
    );
    assert!(text.contains("1 call not kept (beyond the limits)"), "{text}");
    // It was told, and counts no more.
    kill(&session, "whoami");
    assert_eq!(session.count("count"), 3);
    let (level, text) = notice(&mut stream);
    assert!(level == "info" && text.contains("2 calls that set its state"), "{text}");
}

#[test]
fn calls_that_come_at_once_wait_for_the_one_restoration() {
    let servers = json!({"counter": counter()});
    Front::each(&servers, &json!({}), |front| {
        let session = front.client("/mcp/counter").initialize();
        for _ in 0..20 {
            session.count("count");
        }
        kill(&session, "whoami");
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| session.count("count"))).collect();
            let mut counts: Vec<i64> = calls.into_iter().map(|call| call.join().unwrap()).collect();
            counts.sort_unstable();
            assert_eq!(counts, (21..29).collect::<Vec<i64>>());
        });
    });
}

#[test]
fn state_survives_the_node_that_held_it() {
    let mut named = HashMap::new();
    let servers = json!({"counter": counter()});
    let Front::Cluster(mut cluster) = Front::cluster(&servers, &json!({})) else { unreachable!() };
    for path in ["/mcp/counter", "/mcp"] {
        let prefix = if path == "/mcp" { "counter-" } else { "" };
        let session = cluster.client(path).initialize();
        for _ in 0..3 {
            session.count(&format!("{prefix}count"));
        }
        named.insert(prefix, session);
    }
    let mut over_sse = OverSse::initialize(cluster.coordinator.address(), "/sse/counter");
    over_sse.call("count", json!({}));
    cluster.nodes[0].kill9();
    for (prefix, session) in &named {
        assert_eq!(session.count(&format!("{prefix}count")), 4);
    }
    assert_eq!(over_sse.call("count", json!({}))["value"], 2);
    // Those on the other node as well.
    cluster.add("c", servers);
    // The first may count as active still.
    eventually("node c is there", || cluster.active().into_iter().find(|node| node["id"] == "c"));
    cluster.nodes[1].kill9();
    for (prefix, session) in &named {
        assert_eq!(session.count(&format!("{prefix}count")), 5);
    }
    assert_eq!(over_sse.call("count", json!({}))["value"], 3);
}

#[test]
fn state_survives_the_gateway_sealed_and_goes_with_its_session() {
    let servers = json!({"notes": with_state(servers::notes(), json!({"replay": ["add_*"]}))});
    let mut gateway = Gateway::start_with(&settings::standalone(servers));
    let states = gateway.data_folder().join("states");
    let files = || -> Vec<Vec<u8>> {
        let found = std::fs::read_dir(&states).into_iter().flatten();
        let found = found.filter_map(|file| std::fs::read(file.ok()?.path()).ok());
        found.collect()
    };
    for (path, prefix) in [("/mcp", "notes-"), ("/mcp/notes", "")] {
        let session = gateway.client(path).initialize();
        let texts = ["a very private note", "another one"];
        for text in texts {
            session.call(&format!("{prefix}add_note"), json!({"text": text}));
        }
        eventually("it is written", || (!files().is_empty()).then_some(()));
        for signal in [Signal::TERM, Signal::KILL] {
            if signal == Signal::KILL {
                eventually("it is written", || {
                    (metric(&gateway, "state_unwritten") == 0).then_some(())
                });
            }
            gateway.restart_after(signal);
            let list = format!("{prefix}list_notes");
            let notes = session.call(&list, json!({}));
            assert_eq!(notes["structuredContent"]["notes"], json!(texts), "{path}");
            let (level, text) = notice(&mut session.listen());
            assert!(level == "info" && text.contains("2 calls"), "{level} {text}");
        }
        for file in files() {
            let is_there = |word: &[u8]| file.windows(word.len()).any(|part| part == word);
            assert!(!is_there(b"private") && !is_there(b"add_note"));
        }
        session.delete().expect(200);
        // A writing that was under way removes what it has written.
        eventually("no file is left", || files().is_empty().then_some(()));
        assert!(!gateway.log().contains("private"));
    }
}

#[test]
fn what_a_tool_has_saved_is_restored_though_nobody_was_asked_before_the_end() {
    let kept = Kept::default();
    let server = keeper(Way::Stdio, kept.clone());
    let entries = json!({"odd": with_state(server.entry(), by_tools(100))});
    let gateway = Gateway::start_with(&settings::standalone(entries));
    let session = gateway.client("/mcp/odd").initialize();
    for (text, times) in [("a", 1), ("b", 2)] {
        session.call("push", json!({"text": text}));
        wait_until_saved(&gateway, times);
    }
    let mut stream = session.listen();
    kill_all(&gateway);
    assert_eq!(all(&session), json!(["a", "b"]));
    let (level, text) = notice(&mut stream);
    assert!(level == "info" && text.contains("what it had saved at"), "{level} {text}");
    assert!(text.starts_with("server odd was started again: "), "{text}");
    assert_eq!(metric(&gateway, "state_restored_total"), 1);
    assert!(metric(&gateway, "state_bytes") > 0);
}

#[test]
fn changes_after_the_last_saving_are_named_as_lost() {
    let kept = Kept::default();
    let server = keeper(Way::Stdio, kept.clone());
    let entries = json!({"odd": with_state(server.entry(), by_tools(3_600_000))});
    let gateway = Gateway::start_with(&settings::standalone(entries));
    let session = gateway.client("/mcp/odd").initialize();
    session.call("push", json!({"text": "a"}));
    wait_until_saved(&gateway, 1);
    session.call("push", json!({"text": "b"}));
    kill_all(&gateway);
    assert_eq!(all(&session), json!(["a"]));
    let (level, text) = notice(&mut session.listen());
    assert_eq!(level, "warning", "{text}");
    assert!(text.contains("1 call made after it was last saved"), "{text}");
    assert_eq!(metric(&gateway, "state_failed_total"), 1);
}

#[test]
fn a_saving_that_waits_for_its_time_is_done_before_a_planned_end() {
    let kept = Kept::default();
    let server = keeper(Way::Stdio, kept.clone());
    let entries = json!({"odd": with_state(server.entry(), by_tools(3_600_000))});
    let mut gateway = Gateway::start_with(&settings::standalone(entries));
    let session = gateway.client("/mcp/odd").initialize();
    for text in ["a", "b", "c"] {
        session.call("push", json!({"text": text}));
    }
    gateway.restart_after(Signal::TERM);
    assert_eq!(all(&session), json!(["a", "b", "c"]));
}

#[test]
fn a_repeated_call_that_fails_or_asks_the_client_is_named_and_the_others_count() {
    let kept = Kept::default();
    let server = OddServer::start(Way::Stdio, {
        let kept = kept.clone();
        move |session, message, say| {
            let text = message["params"]["arguments"]["text"].as_str().unwrap_or("");
            match text {
                "once" if kept.0.lock().unwrap().values().flatten().any(|t| t == "once") => {
                    let failed = json!({"isError": true,
                        "content": [{"type": "text", "text": "not twice"}]});
                    say(answer(message, &failed));
                }
                "asks" if kept.0.lock().unwrap().values().flatten().any(|t| t == "asks") => {
                    say(json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create",
                        "params": {"message": "?", "requestedSchema": {"type": "object"}}})
                    .to_string());
                    say(json!({"jsonrpc": "2.0", "method": "notifications/message",
                        "params": {"level": "info", "data": "leak"}})
                    .to_string());
                    say(answer(message, &json!({"content": []})));
                }
                "error" if message["params"]["name"] == "push" => {
                    say(answer(message, &json!({"isError": true, "content": []})));
                }
                _ => play(&kept, session, message, say),
            }
        }
    });
    let entries = json!({"odd": with_state(server.entry(), json!({"replay": ["push"]}))});
    let gateway = Gateway::start_with(&settings::standalone(entries));
    let session = gateway.client("/mcp/odd").initialize();
    for text in ["a", "once", "error", "asks", "b"] {
        session.request("tools/call", json!({"name": "push", "arguments": {"text": text}}));
    }
    let mut stream = session.listen();
    kill_all(&gateway);
    assert_eq!(all(&session), json!(["a", "b"]));
    let first = stream.message(|message| !message["method"].is_null());
    assert_eq!(first["params"]["logger"], "mooring", "{first}");
    let text = first["params"]["data"].as_str().unwrap();
    assert_eq!(first["params"]["level"], "warning", "{text}");
    assert!(text.contains("2 calls that set its state were repeated"), "{text}");
    assert!(text.contains("push (not twice)"), "{text}");
    assert!(text.contains("asked the client"), "{text}");
}

#[test]
fn a_remote_server_that_has_lost_the_session_gets_its_state_again() {
    let kept = Kept::default();
    let lost = Arc::new(Mutex::new(usize::MAX));
    let server = mooring_tests::Scripted::start({
        let (kept, lost, opened) = (kept.clone(), Arc::clone(&lost), Mutex::new(0_usize));
        move |asked, out| {
            if asked.method != "POST" {
                return Some(out);
            }
            let message = asked.json();
            let number = match asked.rpc().as_str() {
                "initialize" => {
                    let mut opened = opened.lock().unwrap();
                    *opened += 1;
                    *opened
                }
                _ => asked.session().rsplit_once('-').map_or(0, |(_, n)| n.parse().unwrap()),
            };
            if number == *lost.lock().unwrap() {
                out.reply("404 Not Found", &[], b"");
                return None;
            }
            let mut said = Vec::new();
            play(&kept, number, &message, &mut |text| said.push(text));
            let Some(text) = said.pop() else {
                out.reply("202 Accepted", &[], b"");
                return None;
            };
            let who = if asked.is_of_client() { "client" } else { "gateway" };
            let session = format!("Mcp-Session-Id: {who}-{number}");
            let mut headers = vec!["Content-Type: application/json"];
            if asked.rpc() == "initialize" {
                headers.push(&session);
            }
            out.reply("200 OK", &headers, text.as_bytes());
            None
        }
    });
    let entry = json!({"type": "streamable-http", "url": server.url("/mcp")});
    let entries = json!({"odd": with_state(entry, json!({"replay": ["push"]}))});
    let gateway = Gateway::start_with(&settings::standalone(entries));
    let session = gateway.client("/mcp/odd").initialize();
    for text in ["a", "b"] {
        session.call("push", json!({"text": text}));
    }
    let (number, _) =
        kept.0.lock().unwrap().iter().next().map(|(n, texts)| (*n, texts.clone())).unwrap();
    *lost.lock().unwrap() = number;
    assert_eq!(all(&session), json!(["a", "b"]));
    let (level, text) = notice(&mut session.listen());
    assert!(level == "info" && text.contains("2 calls"), "{level} {text}");
}

#[test]
fn programs_save_and_restore_without_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("restored");
    let save = json!({"command": "printf", "args": ["%s", "state of $HOME"], "everyMs": 100});
    let restore = json!({"command": "tee", "args": [path.to_str().unwrap()]});
    let state = json!({"save": save, "restore": restore});
    let entries = json!({"counter": with_state(servers::counter(), state)});
    Front::each(&entries, &json!({}), |front| {
        let _ = std::fs::remove_file(&path);
        let session = front.client("/mcp/counter").initialize();
        session.count("count");
        wait_until_saved(front.gateway(), 1);
        kill(&session, "whoami");
        session.count("count");
        // `$HOME` is the gateway's own reference to a variable, replaced when the file is read.
        let read = std::fs::read_to_string(&path).unwrap();
        assert!(read.starts_with("state of /"), "{read}");
        let (_, text) = notice(&mut session.listen());
        assert!(text.contains("what it had saved at"), "{text}");
    });
}

#[test]
fn a_mistake_in_state_is_refused_by_name_and_stops_its_entry_alone() {
    for (state, reason) in [
        (json!({}), "says of no state"),
        (json!({"replay": []}), "state.replay: is empty"),
        (json!({"replay": ["a", "a"]}), "once more"),
        (json!({"replay": [""]}), "is empty"),
        (json!({"replay": "some"}), "must be a list of tools"),
        (json!({"replay": [{"keep": "last"}]}), "is missing"),
        (json!({"replay": [{"tool": "a", "keep": "first"}]}), "choice of calls"),
        (json!({"replay": [{"tool": "a", "keep": "sinceSave"}]}), "needs"),
        (json!({"replay": ["a"], "replays": 1}), "not a known key"),
        (json!({"replay": ["a"], "maxCalls": 0}), "state.maxCalls: is too small"),
        (json!({"save": {"tool": "a"}}), "state.restore: is missing"),
        (json!({"restore": {"tool": "a"}}), "state.save: is missing"),
        (json!({"save": {"tool": "a", "command": "b"}, "restore": {"tool": "a"}}), "both a tool"),
        (json!({"save": {}, "restore": {"tool": "a"}}), "neither a tool nor a command"),
        (
            json!({"save": {"tool": "a", "arguments": {"x": "{{state}}"}}, "restore": {"tool": "b"}}),
            "find out",
        ),
    ] {
        let entries = json!({
            "odd": with_state(servers::counter(), state.clone()),
            "good": servers::counter(),
        });
        let check = Setup::new(&settings::standalone(entries)).run(&["check"]);
        let says = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
        assert!(says.contains("mcpServers.odd") && says.contains(reason), "{state}: {says}");
        assert!(!says.contains("mcpServers.good"), "{state}: {says}");
    }
}
