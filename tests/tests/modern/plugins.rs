//! A plugin of the operator's tells conversations apart.

use mooring_tests::{Cluster, Gateway, Setup, Stateless, servers, settings};
use serde_json::{Value, json};

/// `systemConfig` with this plugin and these rules.
fn system(plugin: &str, more: &Value, conversations: Option<Value>) -> Value {
    let strategy = json!({"strategy": settings::prebuilt(plugin)});
    let sticky = settings::merged(strategy, more.clone());
    let mut system = json!({"eras": ["legacy", "modern"], "cluster": {"stickySession": sticky}});
    if let Some(conversations) = conversations {
        system["conversations"] = conversations;
    }
    system
}

/// The same behind one gateway, and behind a coordinator with two nodes.
fn each(system: &Value, test: impl Fn(&Gateway)) {
    let counter = json!({"counter": servers::counter()});
    let alone =
        settings::merged(settings::standalone(counter.clone()), json!({"systemConfig": system}));
    test(&Gateway::start_with(&alone));
    let coordinator =
        settings::merged(settings::coordinator(json!({})), json!({"systemConfig": system}));
    let coordinator = Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, counter.clone());
    }
    cluster.wait_for_active(2);
    test(&cluster.coordinator);
}

fn client(gateway: &Gateway) -> Stateless {
    Stateless::new(gateway.address(), "/mcp/counter")
}

#[test]
fn the_plugin_says_which_conversation_a_request_belongs_to() {
    let more = json!({
        "threadPointers": ["/params/_meta/com.example~1thread"],
        "alone": ["probe"],
    });
    each(&system("examples/thread.wasm", &more, None), |gateway| {
        let by_header = |thread: &str| client(gateway).header("X-Thread-Id", thread);
        assert_eq!((by_header("a").count("count"), by_header("b").count("count")), (1, 1));
        assert_eq!((by_header("a").count("count"), by_header("b").count("count")), (2, 2));
        let in_body = |thread: Value| client(gateway).meta("com.example/thread", thread);
        assert_eq!(in_body(json!("a")).count("count"), 3, "it is the same thread");
        assert_eq!((in_body(json!(7)).count("count"), in_body(json!(7)).count("count")), (1, 2));
        // A parameter that only stands in a header, encoded.
        let encoded = || client(gateway).header("Mcp-Param-Thread", "=?base64?Yg==?=");
        assert_eq!(encoded().count("count"), 3);
        // The client's name is a part of the name.
        let named = |name: &str| json!({"name": name, "version": "1"});
        let other = by_header("a").meta("io.modelcontextprotocol/clientInfo", named("other"));
        assert_eq!(other.count("count"), 1);
        let probe = || by_header("a").meta("io.modelcontextprotocol/clientInfo", named("probe"));
        assert_eq!((probe().count("count"), probe().count("count")), (1, 1), "each stands alone");
        // What the plugin leaves open is for the next rule.
        let handle = client(gateway).new_conversation();
        let by_handle = || client(gateway).conversation(&handle);
        assert_eq!((by_handle().count("count"), by_handle().count("count")), (1, 2));
        // And nothing that is no client's is let through by it.
        let forged = by_header("a").conversation("m1forged");
        let answer = forged.answer("tools/call", json!({"name": "count", "arguments": {}}));
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    });
}

#[test]
fn names_of_a_plugin_are_those_of_one_key_and_scope() {
    let keys = json!({"bearerKeys": [
        {"name": "one", "token": "0123456789abcdef-one", "accessType": "all"},
        {"name": "two", "token": "0123456789abcdef-two", "accessType": "all"},
    ]});
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    let system = json!({"systemConfig": system("examples/thread.wasm", &json!({}), None)});
    let gateway = Gateway::start_with(&settings::merged(settings::merged(servers, keys), system));
    let client = |key: &str, path: &str| {
        Stateless::new(gateway.address(), path)
            .header("Authorization", &format!("Bearer 0123456789abcdef-{key}"))
            .header("X-Thread-Id", "a")
    };
    assert_eq!(client("one", "/mcp/counter").count("count"), 1);
    assert_eq!(client("two", "/mcp/counter").count("count"), 1);
    assert_eq!(client("one", "/mcp").count("counter-count"), 1);
    assert_eq!(client("one", "/mcp/counter").count("count"), 2);
}

#[test]
fn an_operator_who_leaves_the_plugin_out_is_not_asked_by_it() {
    let system = system("examples/thread.wasm", &json!({}), Some(json!(["handle"])));
    each(&system, |gateway| {
        let by_header = || client(gateway).header("X-Thread-Id", "a");
        assert_eq!((by_header().count("count"), by_header().count("count")), (1, 1));
    });
}

#[test]
fn a_fault_of_the_plugin_falls_back_to_the_next_rule() {
    each(&system("faults/misnames.wasm", &json!({}), None), |gateway| {
        let handle = client(gateway).new_conversation();
        let saying =
            |thread: &str| client(gateway).conversation(&handle).header("X-Thread", thread);
        for (before, fault) in
            ["fault-trap", "fault-loop", "fault-empty", "fault-long"].into_iter().enumerate()
        {
            let count = i64::try_from(before).unwrap() + 1;
            assert_eq!(saying(fault).count("count"), count, "{fault}");
        }
        mooring_tests::eventually("the plugin is asked again", || {
            (saying("a").count("count") > 1).then_some(())
        });
    });
}

#[test]
fn the_commands_show_what_a_plugin_asks_for() {
    let more = json!({"threadHeaders": ["X-Chat"]});
    let settings = |conversations| {
        let system = system("examples/thread.wasm", &more, conversations);
        settings::merged(settings::coordinator(json!({})), json!({"systemConfig": system}))
    };
    let said = |settings: &Value| {
        let check = Setup::new(settings).run(&["check"]);
        assert!(check.status.success());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&check.stdout), text(&check.stderr))
    };
    let (page, _) = said(&settings(None));
    assert!(page.contains("conversations by plugin, handle, cookie, principal"), "{page}");
    let line = "The plugin tells conversations apart by: client name, header x-chat";
    assert!(page.contains(line), "{page}");
    let (page, warnings) = said(&settings(Some(json!(["handle"]))));
    assert!(!page.contains("tells conversations apart"), "{page}");
    assert!(warnings.contains("does not have \"plugin\""), "{warnings}");
    let file = settings::prebuilt("examples/thread.wasm");
    let inspected = Setup::new(&json!({})).run(&["plugin", "inspect", &file]);
    let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(text.contains("header x-thread-id") && text.contains("200 requests"), "{text}");
}

/// Names of before and after a restart, and of two gateways with one secret, are the same.
#[test]
fn a_named_conversation_outlives_its_coordinator() {
    let system = system("examples/thread.wasm", &json!({}), None);
    let coordinator =
        settings::merged(settings::coordinator(json!({})), json!({"systemConfig": system}));
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"counter": servers::counter()}));
    }
    cluster.wait_for_active(2);
    let thread =
        |cluster: &Cluster| client(&cluster.coordinator).header("X-Thread-Id", "a").count("count");
    assert_eq!((thread(&cluster), thread(&cluster)), (1, 2));
    cluster.coordinator.restart_after(rustix::process::Signal::KILL);
    assert_eq!(thread(&cluster), 3, "nothing is lost");
}
