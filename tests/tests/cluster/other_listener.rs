//! Clients without sessions that listen to one conversation at more than one coordinator, or at
//! another one than their calls go to.

use std::process::Command;

use mooring_tests::http::Incoming;
use mooring_tests::orders::{coded, notification, tools};
use mooring_tests::running::Running;
use mooring_tests::{Canned, Pair, RedisServer, Stateless, binaries, eventually};
use serde_json::{Value, json};

const PATHS: [(&str, &str); 2] = [("/mcp/log", ""), ("/mcp", "log-")];

fn talker() -> Canned {
    let capabilities = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}});
    let resources: Vec<Value> =
        ["res://a", "res://b"].iter().map(|uri| json!({"uri": uri, "name": uri})).collect();
    Canned::new()
        .with_capabilities(capabilities)
        .answers("tools/list", tools())
        .answers("resources/list", json!({"resources": resources}))
        .answers("resources/templates/list", json!({"resourceTemplates": []}))
        .answers("resources/subscribe", json!({}))
        .answers("resources/unsubscribe", json!({}))
}

fn pair(what: &str, entries: &Value) -> Option<Pair> {
    let redis = RedisServer::start(what)?;
    let system = json!({"eras": ["legacy", "modern"], "conversations": ["handle"]});
    let pair = Pair::with_system(redis, &system, |_| entries.clone());
    for coordinator in &pair.coordinators {
        let client = Stateless::new(coordinator.address(), "/mcp");
        eventually("its tools are known", || {
            // Not read: a number of one of the servers is too large for this.
            let list = client.send("tools/list", json!({})).text();
            list.contains("\"log-announce\"").then_some(())
        });
    }
    Some(pair)
}

/// The same conversation at each of the coordinators.
fn conversation(pair: &Pair, path: &str) -> [Stateless; 2] {
    let at = |at: usize| Stateless::new(pair.coordinators[at].address(), path);
    let name = at(0).new_conversation();
    [0, 1].map(|index| at(index).conversation(&name))
}

fn listen(client: &Stateless, notifications: Value) -> Incoming {
    let (mut stream, _) =
        client.open("subscriptions/listen", json!({"notifications": notifications}));
    let first = stream.message(|message| message.get("method").is_some());
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    stream
}

fn updated(uri: &str) -> Value {
    notification("notifications/resources/updated", json!({"uri": uri}))
}

fn changed(list: &str) -> Value {
    notification(&format!("notifications/{list}/list_changed"), json!({}))
}

/// Has the server say this during a call, before its answer.
fn say(client: &Stateless, prefix: &str, messages: &[Value]) {
    let arguments = json!({"messages": coded(messages)});
    let name = format!("{prefix}announce");
    let _ = client.answer("tools/call", json!({"name": name, "arguments": arguments}));
}

#[track_caller]
fn hears(stream: &mut Incoming, uri: &str) {
    let told = stream.message(|message| message["method"] == "notifications/resources/updated");
    assert_eq!(told["params"]["uri"], uri, "{told}");
}

#[test]
fn a_listener_hears_what_comes_with_a_call_at_the_other_coordinator() {
    let server = talker();
    let Some(pair) = pair("listeners elsewhere", &json!({"log": server.entry()})) else { return };
    for (path, prefix) in PATHS {
        let [here, there] = conversation(&pair, path);
        // Opened there before anybody listens here, and known there alone.
        say(&there, prefix, &[]);
        let mut stream = listen(&here, json!({"resourceSubscriptions": ["res://a"]}));
        for _ in 0..3 {
            say(&there, prefix, &[updated("res://b"), updated("res://a")]);
            hears(&mut stream, "res://a");
        }
        let mut lists = listen(&here, json!({"toolsListChanged": true}));
        say(&there, prefix, &[changed("tools")]);
        lists.message(|message| message["method"] == changed("tools")["method"]);
    }
}

#[test]
fn clients_listen_to_one_conversation_at_both_coordinators() {
    let server = talker();
    let Some(pair) = pair("listeners at both", &json!({"log": server.entry()})) else { return };
    for (path, prefix) in PATHS {
        let [here, there] = conversation(&pair, path);
        let mut first = listen(&here, json!({"resourceSubscriptions": ["res://a"]}));
        let mut second = listen(&there, json!({"resourceSubscriptions": ["res://a", "res://b"]}));
        for at in [&here, &there] {
            say(at, prefix, &[updated("res://a")]);
            hears(&mut first, "res://a");
            hears(&mut second, "res://a");
        }
        // The last listener there unsubscribes, and the one that is left is subscribed still.
        let before = server.told().len();
        drop(second);
        let is_told = |method: &str| {
            let told = server.told();
            let of_it = |(_, told): &(u32, Value)| {
                told["method"] == method && told["params"]["uri"] == "res://a"
            };
            told[before..].iter().any(of_it).then_some(())
        };
        eventually("the second has left", || is_told("resources/unsubscribe"));
        eventually("the first is subscribed again", || is_told("resources/subscribe"));
        // It is told once that it may have missed something.
        hears(&mut first, "res://a");
        say(&there, prefix, &[updated("res://a")]);
        hears(&mut first, "res://a");
    }
}

/// What belongs to no call has one reader, which is at one of the coordinators.
#[test]
fn what_is_said_outside_of_calls_is_heard_at_both_coordinators() {
    let mut command = Command::new(binaries::program("mooring-verbatim-server"));
    let mut far = Running::start(command.arg("http"));
    let url = format!("http://127.0.0.1:{}/mcp", far.port());
    let Some(pair) = pair("one stream for two", &json!({"log": {"url": url}})) else { return };
    for (path, prefix) in PATHS {
        let [here, there] = conversation(&pair, path);
        let wanted = json!({"toolsListChanged": true, "promptsListChanged": true});
        let mut first = listen(&here, wanted.clone());
        let mut second = listen(&there, wanted);
        // It is opened where the stream is read, and the first message waits for the reader.
        for at in [&there, &here, &there] {
            say(at, prefix, &[changed("tools")]);
            for stream in [&mut first, &mut second] {
                stream.message(|message| message["method"] == changed("tools")["method"]);
            }
        }
        // The one that has waited reads on when the other one has left.
        drop(second);
        for at in [&there, &here] {
            say(at, prefix, &[changed("prompts")]);
            first.message(|message| message["method"] == changed("prompts")["method"]);
        }
    }
}
