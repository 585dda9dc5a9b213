//! What servers hold for clients that have no session.

use std::collections::BTreeSet;

use mooring_tests::{Cluster, Front, Gateway, Stateless, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{both, gateway, stateless};

#[test]
fn a_conversation_keeps_its_process_and_no_other_sees_it() {
    let servers = json!({"counter": servers::counter()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        let address = front.gateway().address();
        for (path, tool, whoami) in
            [("/mcp/counter", "count", "whoami"), ("/mcp", "counter-count", "counter-whoami")]
        {
            let client = || Stateless::new(address, path);
            let clients: Vec<Stateless> =
                (0..4).map(|_| client().conversation(&client().new_conversation())).collect();
            let mut processes = BTreeSet::new();
            for round in 1..=25 {
                for one in &clients {
                    assert_eq!(one.count(tool), round, "{path}");
                }
            }
            for one in &clients {
                assert!(processes.insert(one.whoami(whoami).0), "{path}: two share a process");
                let result = one.call(whoami, json!({}));
                let name = &one.meta["mooring/conversation"];
                assert_eq!(result["_meta"]["mooring/conversation"], *name, "{result}");
            }
        }
    });
}

/// With nothing to tell clients apart, not even two calls over one connection share a process.
#[test]
fn clients_that_nothing_tells_apart_never_share_a_process() {
    let gateway = gateway(json!({"counter": servers::counter()}));
    let client = stateless(&gateway, "/mcp/counter");
    let processes: BTreeSet<u64> = (0..5).map(|_| client.whoami("whoami").0).collect();
    assert_eq!(processes.len(), 5);
    assert_eq!((client.count("count"), client.count("count")), (1, 1));
    eventually("the processes end with their calls", || {
        let left = gateway.data("/api/cluster/sessions");
        (left["total"] == 0).then_some(())
    });
}

#[test]
fn the_operator_says_what_names_a_conversation() {
    let start = |conversations| {
        let system = json!({"systemConfig": both(&conversations)});
        let servers = settings::standalone(json!({"counter": servers::counter()}));
        Gateway::start_with(&settings::merged(servers, system))
    };
    let by_header = start(json!(["header:X-Thread"]));
    let client = |thread: &str| stateless(&by_header, "/mcp/counter").header("X-Thread", thread);
    assert_eq!((client("a").count("count"), client("b").count("count")), (1, 1));
    assert_eq!((client("a").count("count"), client("b").count("count")), (2, 2));
    let by_meta = start(json!(["meta:com.example/thread"]));
    let client = |thread| stateless(&by_meta, "/mcp/counter").meta("com.example/thread", thread);
    assert_eq!((client(json!("a")).count("count"), client(json!(7)).count("count")), (1, 1));
    assert_eq!((client(json!("a")).count("count"), client(json!(7)).count("count")), (2, 2));
    let unnamed = client(Value::Null);
    assert_eq!((unnamed.count("count"), unnamed.count("count")), (1, 1), "null names nothing");
    let by_argument = start(json!(["argument:thread"]));
    let client = stateless(&by_argument, "/mcp/counter");
    let count = |thread: Value| {
        client.call("count", json!({"thread": thread}))["structuredContent"]["value"].clone()
    };
    assert_eq!((count(json!("a")), count(json!(7))), (json!(1), json!(1)));
    assert_eq!((count(json!("a")), count(json!(7))), (json!(2), json!(2)));
    assert_eq!((count(Value::Null), count(Value::Null)), (json!(1), json!(1)));
    let by_address = start(json!(["address"]));
    let client = stateless(&by_address, "/mcp/counter");
    assert_eq!((client.count("count"), client.count("count")), (1, 2));
    let by_cookie = start(json!(["cookie"]));
    let client = stateless(&by_cookie, "/mcp/counter");
    let discovered = client.send("server/discover", json!({})).expect(200);
    let cookie =
        discovered.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
    let client = client.header("Cookie", &cookie);
    assert_eq!((client.count("count"), client.count("count")), (1, 2));
}

/// A client's cookies go to every URL of the gateway, and one may be of a secret that it has no more.
#[test]
fn a_cookie_names_a_conversation_at_each_url_and_one_that_opens_nothing_is_replaced() {
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    let system = json!({"systemConfig": both(&json!(["cookie"]))});
    let gateway = Gateway::start_with(&settings::merged(servers, system));
    let given = |client: &Stateless| {
        let discovered = client.send("server/discover", json!({})).expect(200);
        let cookie = discovered.header("set-cookie")?;
        Some(cookie.split(';').next().unwrap_or_default().to_owned())
    };
    let single = stateless(&gateway, "/mcp/counter");
    let cookie = given(&single).expect("a cookie");
    let single = single.header("Cookie", &cookie);
    let whole = stateless(&gateway, "/mcp").header("Cookie", &cookie);
    assert_eq!((given(&single), given(&whole)), (None, None), "it has one");
    for round in 1..=3 {
        assert_eq!((single.count("count"), whole.count("counter-count")), (round, round));
    }
    let old = stateless(&gateway, "/mcp").header("Cookie", "MOORING_CONVERSATION=old");
    let new = given(&old).expect("it is given another");
    let renewed = stateless(&gateway, "/mcp").header("Cookie", &new);
    assert_eq!((renewed.count("counter-count"), renewed.count("counter-count")), (1, 2));
}

/// Operators see what told the conversations of clients apart.
#[test]
fn explanations_and_metrics_say_what_named_a_conversation() {
    let system = json!({"systemConfig": both(&json!(["handle", "header:X-Thread"]))});
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&settings::merged(servers, system));
    let client = || stateless(&gateway, "/mcp/counter");
    let named = client().conversation(&client().new_conversation());
    let requests = [
        ("handle", named),
        ("header:x-thread", client().header("X-Thread", "a")),
        ("none", client()),
    ];
    for (by, client) in requests {
        assert_eq!(client.count("count"), 1);
        let said = gateway.data("/api/cluster/explain?limit=1");
        assert_eq!(said["decisions"][0]["conversation"], by, "{said}");
    }
    let session = gateway.client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    let said = gateway.data("/api/cluster/explain?limit=1");
    assert!(said["decisions"][0]["conversation"].is_null(), "of a session: {said}");
    let metrics = gateway.get("/metrics").text();
    for (by, count) in [("handle", 1), ("header", 1), ("none", 2), ("cookie", 0)] {
        let line = format!("mooring_conversation_requests_total{{by=\"{by}\"}} {count}");
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
}

#[test]
fn a_client_with_a_key_is_a_conversation_of_its_own() {
    let keys = json!({"bearerKeys": [
        {"name": "one", "token": "0123456789abcdef-one", "accessType": "all"},
        {"name": "two", "token": "0123456789abcdef-two", "accessType": "all"},
    ], "systemConfig": {"eras": ["legacy", "modern"]}});
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&settings::merged(servers, keys));
    let client = |key: &str| {
        stateless(&gateway, "/mcp/counter")
            .header("Authorization", &format!("Bearer 0123456789abcdef-{key}"))
    };
    assert_eq!((client("one").count("count"), client("two").count("count")), (1, 1));
    assert_eq!((client("one").count("count"), client("two").count("count")), (2, 2));
}

#[test]
fn a_conversation_outlives_its_coordinator() {
    let system = json!({"systemConfig": both(&json!(["handle"]))});
    let settings = settings::merged(settings::coordinator(json!({})), system);
    let coordinator = Gateway::start_with(&settings);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"counter": servers::counter()}));
    }
    cluster.wait_for_active(2);
    let client = Stateless::new(cluster.coordinator.address(), "/mcp/counter");
    let name = client.new_conversation();
    let client = client.conversation(&name);
    assert_eq!((client.count("count"), client.count("count")), (1, 2));
    cluster.coordinator.restart_after(Signal::KILL);
    let client = client.at(cluster.coordinator.address());
    assert_eq!(client.count("count"), 3, "nothing is lost");
}

#[test]
fn after_its_node_has_died_a_conversation_goes_on_and_its_client_is_told() {
    let system = json!({"systemConfig": both(&json!(["handle"]))});
    let settings = settings::merged(settings::coordinator(json!({})), system);
    let coordinator = Gateway::start_with(&settings);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"counter": servers::counter_named(id)}));
    }
    cluster.wait_for_active(2);
    let client = Stateless::new(cluster.coordinator.address(), "/mcp/counter");
    let name = client.new_conversation();
    let client = client.conversation(&name);
    assert_eq!((client.count("count"), client.count("count")), (1, 2));
    let dead = usize::from(client.whoami("whoami").1 == "b");
    cluster.nodes[dead].kill9();
    let result = client.call("count", json!({}));
    let text = result["content"].to_string();
    let lost = &result["_meta"]["mooring/notices"][0];
    assert!(lost.as_str().unwrap().contains("server counter was started again"), "{result}");
    assert!(text.contains("Notice of the gateway"), "models read the content: {result}");
    assert_eq!(result["structuredContent"]["value"], 1, "{result}");
    let next = client.call("count", json!({}));
    assert!(next["_meta"]["mooring/notices"].is_null(), "told once: {next}");
}

#[test]
fn after_a_restart_of_a_gateway_alone_the_client_is_told_of_the_loss() {
    let mut gateway = gateway(json!({"counter": servers::counter()}));
    let client = stateless(&gateway, "/mcp/counter");
    let name = client.new_conversation();
    let client = client.conversation(&name);
    assert_eq!((client.count("count"), client.count("count")), (1, 2));
    gateway.restart_after(Signal::KILL);
    let client = client.at(gateway.address());
    let result = client.call("count", json!({}));
    assert_eq!(result["structuredContent"]["value"], 1);
    assert!(result["_meta"]["mooring/notices"][0].is_string(), "{result}");
}
