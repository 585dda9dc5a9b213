//! What a client listens to goes on when the process or the node that it came from does not, and each
//! thing is told once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mooring_tests::http::Incoming;
use mooring_tests::{Front, Gateway, Stateless, eventually, servers};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::both;
use super::upstreams::{Far, near};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const LISTS: &str = "notifications/tools/list_changed";
const UPDATED: &str = "notifications/resources/updated";

fn system() -> Value {
    both(&json!(["handle"]))
}

/// A client at the URL of one server, once that is passed on.
#[track_caller]
fn client(gateway: &Gateway, path: &str) -> Stateless {
    let client = Stateless::new(gateway.address(), path);
    eventually("the server's own answer", || {
        let result = client.result("server/discover", json!({}));
        (result["cacheScope"] == "public").then_some(())
    });
    client
}

#[track_caller]
fn listen(client: &Stateless, wanted: Value) -> (Incoming, Value) {
    let (mut stream, id) = client.open("subscriptions/listen", json!({"notifications": wanted}));
    let first = stream.event().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    (stream, first["params"]["notifications"].clone())
}

fn touch(client: &Stateless, uri: Option<&str>) {
    let arguments = uri.map_or(json!({}), |uri| json!({"uri": uri}));
    let _ = client.call("touch", arguments);
}

/// A server refuses to tell of a task that another node has; the client is told of each by its own.
#[test]
fn each_task_is_heard_of_from_the_node_that_holds_it() {
    let front = Front::cluster(&json!({"near": near(&[])}), &system());
    front.wait_until_discovered(&["near"]);
    let client = client(front.gateway(), "/mcp/near")
        .able(json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}));
    // An id has the process that holds the task in it.
    let mut of_process: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..64 {
        let task = client.call("job", json!({"outcome": "done"}));
        let id = task["taskId"].as_str().expect("a task").to_owned();
        let process = id.split('-').nth(1).expect("a process").to_owned();
        of_process.entry(process).or_insert(id);
        if of_process.len() == 2 {
            break;
        }
    }
    let ids: Vec<String> = of_process.into_values().collect();
    assert_eq!(ids.len(), 2, "each node has one");
    let (mut stream, granted) = listen(&client, json!({"taskIds": ids, "toolsListChanged": true}));
    let mut known: Vec<&str> =
        granted["taskIds"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    known.sort_unstable();
    assert_eq!(known, ids);
    for id in &ids {
        let done = eventually("the task's end", || {
            let task = client.result("tasks/get", json!({"taskId": id}));
            (task["status"] == "completed").then_some(task)
        });
        let told = stream.message(|told| {
            let task = &told["params"];
            told["method"] == "notifications/tasks"
                && task["taskId"] == **id
                && task["status"] == "completed"
        });
        assert_eq!(told["params"]["result"], done["result"]);
    }
    // The lists of both are heard, too.
    for _ in 0..8 {
        touch(&client, None);
        stream.message(|told| told["method"] == LISTS);
    }
    let unknown =
        client.answer("subscriptions/listen", json!({"notifications": {"taskIds": ["task-0-0"]}}));
    assert_eq!(unknown["error"]["code"], -32602, "no node has it: {unknown}");
}

/// Two nodes with one server behind a URL hear the same twice.
#[test]
fn what_two_nodes_hear_of_one_server_is_told_once() {
    let far = Far::start(&[]);
    Front::each(&json!({"far": far.entry()}), &system(), |front| {
        front.wait_until_discovered(&["far"]);
        let client = client(front.gateway(), "/mcp/far");
        let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["far://a"]});
        let (mut stream, _) = listen(&client, wanted);
        for _ in 0..4 {
            for (uri, expected) in [(Some("far://a"), UPDATED), (None, LISTS)] {
                touch(&client, uri);
                let told = stream.event().json();
                assert_eq!(told["method"], expected, "{told}");
            }
        }
    });
}

/// It says so to the gateway's own session with it, too, a moment later.
#[test]
fn what_a_server_on_a_url_of_several_says_is_told_once() {
    let servers = json!({"near": near(&[]), "counter": servers::counter()});
    let front = Front::alone(&servers, &system());
    front.wait_until_discovered(&["near", "counter"]);
    let client = Stateless::new(front.gateway().address(), "/mcp");
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["near://a"]});
    let (mut stream, _) = listen(&client, wanted);
    for _ in 0..2 {
        let _ = client.call("near-touch", json!({}));
        stream.message(|told| told["method"] == LISTS);
        let told = Instant::now();
        while told.elapsed() < Duration::from_millis(500) {
            let _ = client.call("near-touch", json!({"uri": "near://a"}));
            assert_eq!(stream.event().json()["method"], UPDATED);
        }
    }
}

#[test]
fn a_process_that_is_started_anew_is_listened_to_again() {
    Front::each(&json!({"near": near(&[])}), &system(), |front| {
        front.wait_until_discovered(&["near"]);
        let client = client(front.gateway(), "/mcp/near");
        let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["near://a"]});
        let (mut stream, _) = listen(&client, wanted);
        for _ in 0..2 {
            let died = client.answer("tools/call", json!({"name": "die"}));
            assert!(died["error"].is_object(), "{died}");
            // Nobody knows what has changed meanwhile.
            stream.message(|told| told["method"] == LISTS);
            let told = stream.message(|told| told["method"] == UPDATED);
            assert_eq!(told["params"]["uri"], "near://a");
            touch(&client, Some("near://a"));
            stream.message(|told| told["method"] == UPDATED);
        }
    });
}

#[test]
fn a_node_that_takes_the_place_of_another_is_listened_to() {
    let servers = json!({"near": near(&[])});
    let mut front = Front::cluster(&servers, &system());
    front.wait_until_discovered(&["near"]);
    let client = client(front.gateway(), "/mcp/near");
    let (mut stream, _) = listen(&client, json!({"toolsListChanged": true}));
    let Front::Cluster(cluster) = &mut front else { panic!("it is a cluster") };
    let _ = cluster.nodes[0].terminate();
    cluster.add("c", servers);
    // What it told before it was listened to is not known.
    stream.message(|told| told["method"] == LISTS);
    for _ in 0..8 {
        touch(&client, None);
        stream.message(|told| told["method"] == LISTS);
    }
}

/// The client is told that nothing more comes, and comes back to the next process.
#[test]
fn a_gateway_that_leaves_ends_what_is_listened_to() {
    let settings = json!({"mcpServers": {"near": near(&[])}, "systemConfig": system()});
    let mut gateway = Gateway::start_with(&settings);
    gateway.wait_until_discovered(&["near"]);
    let client = client(&gateway, "/mcp/near");
    let (mut stream, id) =
        client.open("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    assert!(stream.event().json()["method"].is_string());
    gateway.signal(Signal::TERM);
    let end = stream.message(|told| told["id"] == id);
    assert_eq!(end["result"]["resultType"], "complete", "{end}");
    assert_eq!(end["result"]["_meta"][SUBSCRIPTION], id);
    let _ = gateway.wait_for_end();
}

/// Who may not use the server any more does not go on to hear of it.
#[test]
fn a_client_that_is_shut_out_hears_nothing_more() {
    let settings = |keys: Value| {
        json!({
            "mcpServers": {"near": near(&[])},
            "bearerKeys": keys,
            "systemConfig": system(),
        })
    };
    let key = |name: &str| json!({"name": name, "token": format!("0123456789abcdef-{name}"), "accessType": "all"});
    let gateway = Gateway::start_with(&settings(json!([key("one"), key("two")])));
    let client = Stateless::new(gateway.address(), "/mcp/near")
        .header("Authorization", "Bearer 0123456789abcdef-one");
    eventually("the server's own answer", || {
        let result = client.result("server/discover", json!({}));
        (result["cacheScope"] == "public").then_some(())
    });
    let (mut stream, _) = listen(&client, json!({"toolsListChanged": true}));
    gateway.apply(&settings(json!([key("two")])));
    eventually("the end of the stream", || match stream.try_event() {
        Ok(Some(_)) => None,
        Ok(None) | Err(_) => Some(()),
    });
}
