//! What clients that listen make the gateway hold is bounded, and is theirs.

use std::net::IpAddr;

use mooring_tests::{Canned, Gateway, Stateless, eventually, orders, process};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::gateway;

/// Questions about resources that the gateway asks for one client at the same time.
const AT_A_TIME: usize = 4;

fn server() -> Canned {
    Canned::new()
        .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}}))
        .answers("tools/list", orders::tools())
        .answers("resources/list", json!({"resources": [{"uri": "a://b", "name": "b"}]}))
        .answers("resources/subscribe", json!({}))
        .answers("resources/unsubscribe", json!({}))
}

/// A client with a conversation of its own, and a session with the server that is open.
fn client(gateway: &Gateway) -> Stateless {
    let client = Stateless::new(gateway.address(), "/mcp/one");
    let name = client.new_conversation();
    let client = client.conversation(&name);
    announce(&client, &[]);
    client
}

/// Has the server send these messages outside of any call.
#[track_caller]
fn announce(client: &Stateless, messages: &[Value]) {
    let messages = orders::coded(messages);
    let _ = client.call("announce", json!({"messages": messages}));
}

fn asked(server: &Canned) -> usize {
    let told = server.told();
    told.iter().filter(|(_, told)| told["method"] == "resources/subscribe").count()
}

/// A list of a few kilobytes is no reason to hold megabytes of questions.
#[test]
fn a_client_that_names_many_resources_has_few_of_them_asked_for_at_a_time() {
    let server = server();
    let gateway = gateway(json!({"one": server.entry()}));
    gateway.wait_until_discovered(&["one"]);
    let client = client(&gateway);
    let (pid, _) = server.wait_for("the call", |_, told| told["method"] == "tools/call");
    process::signal(pid, Signal::STOP);
    let uris: Vec<String> = (0..100).map(|number| format!("a://c/{number}")).collect();
    let wanted = json!({"notifications": {"resourceSubscriptions": uris}});
    let (mut stream, _) = client.open("subscriptions/listen", wanted.clone());
    let first = stream.event().json();
    assert_eq!(first["params"]["notifications"], json!({}), "none is granted in time");
    process::signal(pid, Signal::CONT);
    drop(stream);
    let (mut stream, _) = client.open("subscriptions/listen", wanted);
    let first = stream.event().json();
    let granted = first["params"]["notifications"]["resourceSubscriptions"].as_array();
    assert_eq!(granted.map(Vec::len), Some(100), "a server that answers grants all of them");
    let asked = asked(&server);
    assert!((100..=100 + AT_A_TIME).contains(&asked), "{asked}");
}

/// A notice waits until its client reads it, so that it must be small.
#[test]
fn of_a_large_notice_a_client_hears_that_something_may_have_changed() {
    let server = server();
    let gateway = gateway(json!({"one": server.entry()}));
    gateway.wait_until_discovered(&["one"]);
    let client = client(&gateway);
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["a://b"]});
    let wanted = json!({"notifications": wanted});
    let (mut stream, _) = client.open("subscriptions/listen", wanted);
    stream.message(|told| told["method"] == "notifications/subscriptions/acknowledged");
    let updated = |uri: &str| {
        let method = "notifications/resources/updated";
        json!({"jsonrpc": "2.0", "method": method, "params": {"uri": uri}})
    };
    announce(&client, &[updated("a://b/c")]);
    stream.message(|told| told["params"]["uri"] == "a://b/c");
    let log = json!({"level": "error", "data": "x".repeat(100_000)});
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": log});
    announce(&client, &[log, updated(&format!("a://b/{}", "x".repeat(5000)))]);
    stream.message(|told| {
        let uri = told["params"]["uri"].as_str().unwrap_or_default();
        assert!(uri.len() < 100, "{uri}");
        uri == "a://b"
    });
}

#[test]
fn what_the_clients_of_an_address_listen_to_is_bounded_and_others_have_room() {
    let server = server();
    let gateway = gateway(json!({"one": server.entry()}));
    gateway.wait_until_discovered(&["one"]);
    let client = Stateless::new(gateway.address(), "/mcp/one");
    let name = client.new_conversation();
    let client = client.conversation(&name);
    // A task counts for the questions about it.
    let ids: Vec<String> = (0..64).map(|number| format!("task-{number}")).collect();
    let wanted = json!({"notifications": {"toolsListChanged": true, "taskIds": ids}});
    let listens = |source: Option<IpAddr>| {
        let (request, _) = client.request("subscriptions/listen", wanted.clone());
        let answer = request.from(source).open(gateway.address());
        match answer.status {
            200 => Ok(answer),
            status => Err((status, answer.whole())),
        }
    };
    let mut streams = Vec::new();
    let (status, refusal) = loop {
        match listens(None) {
            Ok(stream) => streams.push(stream),
            Err(refusal) => break refusal,
        }
        assert!(streams.len() < 100, "there is no end");
    };
    assert!(streams.len() > 8, "{}", streams.len());
    assert_eq!(status, 429);
    assert!(refusal.header("retry-after").is_some());
    assert!(refusal.text().contains("subscriptions/listen"), "{}", refusal.text());
    let page = gateway.get("/metrics").expect(200).text();
    assert!(page.contains("mooring_limit_refusals_total{limit=\"listeners\"} 1\n"), "{page}");
    let other = listens(Some([127, 0, 0, 9].into()));
    assert!(other.is_ok(), "another address has its own part");
    streams.pop();
    eventually("room once one has left", || listens(None).ok());
}
