//! `subscriptions/listen`: notifications for as long as the client reads them.

use mooring_tests::http::Incoming;
use mooring_tests::{
    Canned, Cluster, Front, Gateway, Issuer, Stateless, eventually, process, servers, settings,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::crossing::HttpFixture;
use super::{asking, both};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn listen(client: &Stateless, notifications: Value) -> (Incoming, Value) {
    let (mut stream, id) =
        client.open("subscriptions/listen", json!({"notifications": notifications}));
    let first = stream.event().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    (stream, first["params"]["notifications"].clone())
}

/// A server with one resource, of which it tells what a test has it tell.
fn noting() -> Canned {
    let resources = json!({"resources": [{"uri": "a://b", "name": "b"}]});
    Canned::new()
        .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}}))
        .answers("tools/list", mooring_tests::orders::tools())
        .answers("resources/list", resources)
        .answers("resources/subscribe", json!({}))
        .answers("resources/unsubscribe", json!({}))
}

/// A client with a conversation of its own.
fn client(front: &Front, path: &str) -> Stateless {
    let client = Stateless::new(front.gateway().address(), path);
    let name = client.new_conversation();
    client.conversation(&name)
}

/// Has the server say that its resource has changed.
fn touch(client: &Stateless, prefix: &str) {
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": "a://b"}});
    let messages = mooring_tests::orders::coded(&[updated]);
    let name = format!("{prefix}announce");
    let _ = client.answer("tools/call", json!({"name": name, "arguments": {"messages": messages}}));
}

#[test]
fn resources_are_subscribed_to_for_as_long_as_somebody_listens() {
    for (path, prefix) in [("/mcp/one", ""), ("/mcp", "one-")] {
        for make in [Front::alone, Front::cluster] {
            let server = noting();
            let servers = json!({"one": server.entry(), "counter": servers::counter()});
            let front = make(&servers, &both(&json!(["handle"])));
            front.wait_until_discovered(&["one"]);
            let client = client(&front, path);
            let wanted = json!({"resourceSubscriptions": ["a://b", "a://nothing"]});
            let (mut stream, granted) = listen(&client, wanted.clone());
            let granted = granted["resourceSubscriptions"].as_array().expect("some are granted");
            assert!(granted.contains(&json!("a://b")), "{path}: {granted:?}");
            let (other, _) = listen(&client, wanted);
            touch(&client, prefix);
            let told = stream.event().json();
            assert_eq!(told["params"]["uri"], "a://b", "{path}: {told}");
            let ends = || {
                let ended = |told: &Value| {
                    told["method"] == "resources/unsubscribe" && told["params"]["uri"] == "a://b"
                };
                server.told().iter().any(|(_, told)| ended(told))
            };
            drop(other);
            touch(&client, prefix);
            stream.message(|told| told["params"]["uri"] == "a://b");
            assert!(!ends(), "{path}: one still listens");
            drop(stream);
            mooring_tests::eventually("the end of the subscription", || ends().then_some(()));
        }
    }
}

/// The fixture says that lists have changed; several times in a row, as the gateway reads them again.
#[test]
fn a_server_that_says_that_its_lists_have_changed_is_heard_each_time() {
    let http = HttpFixture::start();
    let servers = json!({"fixture": asking(), "far": {"url": http.url()}});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["fixture", "far"]);
        for (path, prefix) in
            [("/mcp/fixture", ""), ("/mcp/far", ""), ("/mcp", "fixture-"), ("/mcp", "far-")]
        {
            let client = client(front, path);
            // So that the lists are known by then, and no news.
            let _ = client.result("tools/list", json!({}));
            let (mut tools, granted) = listen(&client, json!({"toolsListChanged": true}));
            assert_eq!(granted, json!({"toolsListChanged": true}));
            let (mut prompts, _) = listen(&client, json!({"promptsListChanged": true}));
            for round in 0..3 {
                let says = |list: &str| {
                    let _ = client.call(&format!("{prefix}test_trigger_{list}_change"), json!({}));
                };
                says("tool");
                let told = tools.event().json();
                let expected = "notifications/tools/list_changed";
                assert_eq!(told["method"], expected, "{path} {round}");
                says("prompt");
                let told = prompts.event().json();
                let expected = "notifications/prompts/list_changed";
                assert_eq!(told["method"], expected, "{path} {round}");
            }
        }
    });
}

/// The subscription goes on at another process, and its client is told that something may have
/// changed meanwhile.
#[test]
fn a_server_that_has_gone_is_subscribed_to_again() {
    for (path, prefix) in [("/mcp/one", ""), ("/mcp", "one-")] {
        let server = noting();
        let servers = json!({"one": server.entry(), "counter": servers::counter()});
        let mut front = Front::cluster(&servers, &both(&json!(["handle"])));
        front.wait_until_discovered(&["one"]);
        let client = client(&front, path);
        let (mut stream, _) = listen(&client, json!({"resourceSubscriptions": ["a://b"]}));
        let mut held = Vec::new();
        for of_node in [false, true] {
            let (pid, _) = server.wait_for("the subscription", |pid, told| {
                told["method"] == "resources/subscribe" && !held.contains(&pid)
            });
            held.push(pid);
            let Front::Cluster(cluster) = &mut front else { panic!("it is a cluster") };
            let at = cluster
                .nodes
                .iter()
                .position(|node| process::descendants(node.pid()).contains(&pid));
            let at = at.expect("the node of the process");
            if of_node {
                cluster.nodes[at].kill9();
            } else {
                process::signal(pid, Signal::KILL);
            }
            stream.message(|told| told["params"]["uri"] == "a://b");
            server.wait_for("the subscription elsewhere", |pid, told| {
                told["method"] == "resources/subscribe" && !held.contains(&pid)
            });
        }
        touch(&client, prefix);
        stream.message(|told| told["params"]["uri"] == "a://b");
    }
}

/// Two resources, one below the other, and tools with which it is made to send messages.
fn nested() -> Canned {
    let resources = json!({"resources": [
        {"uri": "res://x", "name": "x"}, {"uri": "res://x/secret", "name": "secret"},
    ]});
    Canned::new()
        .with_capabilities(json!({
            "tools": {"listChanged": true}, "resources": {"subscribe": true},
        }))
        .answers("tools/list", mooring_tests::orders::tools())
        .answers("resources/list", resources)
        .answers("resources/subscribe", json!({}))
        .answers("resources/unsubscribe", json!({}))
}

/// Has the server send these messages outside of any call.
#[track_caller]
fn announce(client: &Stateless, messages: &[Value]) {
    let messages = mooring_tests::orders::coded(messages);
    let mut params = json!({"name": "announce", "arguments": {"messages": messages}});
    params["_meta"] = json!({});
    let _ = client.answer("tools/call", params);
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
}

/// The tokens are of one principal, whose conversation is one; what each may use is not.
#[test]
fn clients_of_one_conversation_hear_what_each_may_use_itself() {
    let (server, issuer) = (nested(), Issuer::start());
    let system = json!({"systemConfig": {
        "eras": ["legacy", "modern"],
        "conversations": ["principal"],
        "policy": [
            {"effect": "allow", "who": {"groups": ["boss"]}},
            {"effect": "allow", "who": {"groups": ["dev"]},
             "tools": ["announce"], "resources": ["res://x"]},
        ],
    }});
    let system = settings::merged(system, issuer.settings(json!({})));
    let servers = json!({"one": server.entry()});
    let alone = settings::merged(settings::standalone(servers.clone()), system.clone());
    let coordinator = settings::merged(settings::coordinator(json!({})), system);
    let tools = mooring_tests::orders::tools();
    for (is_cluster, settings) in [(false, alone), (true, coordinator)] {
        server.answer("tools/list", &tools);
        let gateway = Gateway::start_with(&settings);
        let mut cluster = Cluster { coordinator: gateway, nodes: Vec::new() };
        if is_cluster {
            cluster.add("n1", servers.clone());
        }
        let gateway = &cluster.coordinator;
        let as_member_of = |group: &str, name: &str| {
            let token = issuer.token_with("ann", json!({"groups": [group]}));
            let client = Stateless::new(gateway.address(), "/mcp/one");
            let info = json!({"name": name, "version": "1"});
            client
                .header("Authorization", &format!("Bearer {token}"))
                .meta("io.modelcontextprotocol/clientInfo", info)
        };
        eventually("the server is there", || {
            let listed = as_member_of("boss", "first").send("resources/list", json!({}));
            (listed.status == 200 && listed.text().contains("res://x/secret")).then_some(())
        });
        for order in [["boss", "dev"], ["dev", "boss"]] {
            eprintln!("cluster: {is_cluster}, {order:?}");
            let name = order.concat();
            let wanted = json!({
                "resourceSubscriptions": ["res://x", "res://x/secret"], "toolsListChanged": true,
            });
            let [first, second] = order.map(|group| {
                let (stream, granted) = listen(&as_member_of(group, &name), wanted.clone());
                let granted = granted["resourceSubscriptions"].as_array().unwrap().len();
                assert_eq!(granted, if group == "boss" { 2 } else { 1 }, "{group}");
                stream
            });
            let (mut of_boss, mut of_dev) =
                if order[0] == "boss" { (first, second) } else { (second, first) };
            let boss = as_member_of("boss", &name);
            announce(&boss, &[updated("res://x/secret"), updated("res://x")]);
            let uri = |told: Value| told["params"]["uri"].as_str().unwrap_or("").to_owned();
            let mut heard = [uri(of_boss.event().json()), uri(of_boss.event().json())];
            heard.sort();
            assert_eq!(heard, ["res://x", "res://x/secret"]);
            assert_eq!(uri(of_dev.event().json()), "res://x");
            // A tool that is not for one of them is no news for it.
            let mut more = tools.clone();
            more["tools"].as_array_mut().unwrap().push(json!({
                "name": format!("for-{name}"), "inputSchema": {"type": "object"},
            }));
            server.answer("tools/list", &more);
            let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            announce(&boss, &[changed]);
            let told = of_boss.event().json();
            assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
            announce(&boss, &[updated("res://x")]);
            let told = of_dev.event().json();
            assert_eq!(uri(told.clone()), "res://x", "{told}");
        }
    }
}
