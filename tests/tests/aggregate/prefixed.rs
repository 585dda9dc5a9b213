//! Tools and prompts named with their server's name in front, in files and by clients.

use mooring_tests::{Canned, Cluster, Front, Gateway, OverSse, Scripted, Session, settings};
use serde_json::{Value, json};

/// A server whose names begin like others' do, too.
fn server() -> Canned {
    Canned::new()
        .with_capabilities(json!({"tools": {}, "prompts": {}, "completions": {}}))
        .answers("tools/list", json!({"tools": tools(&["search", "drop", "a-b-list", "list"])}))
        .answers("prompts/list", json!({"prompts": [{"name": "ask"}, {"name": "whisper"}]}))
        .answers("tools/call", json!({"content": [{"type": "text", "text": "called"}]}))
        .answers("prompts/get", json!({"messages": []}))
        .answers("completion/complete", json!({"completion": {"values": []}}))
}

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| json!({"name": name, "inputSchema": {"type": "object"}});
    names.iter().map(tool).collect()
}

/// Separators, and the server's entry with keys of a file that was written with that separator.
fn entry(server: &Canned, separator: &str) -> Value {
    let key = |name: &str| format!("a-b{separator}{name}");
    let selection = json!({
        "tools": {
            key("drop"): {"enabled": false},
            key("search"): {"enabled": true, "description": "As the operator says."},
        },
        "prompts": {key("whisper"): {"enabled": false}},
    });
    settings::merged(server.entry(), selection)
}

fn fails(session: &Session, method: &str, name: &str) {
    let answer = session.answer(method, json!({"name": name, "arguments": {}}));
    assert_eq!(answer["error"]["code"], -32602, "{method} {name}: {answer}");
}

fn hides(front: &Front, server: &Canned, separator: &str) {
    for (path, prefix) in [("/mcp", true), ("/mcp/desk", true), ("/mcp/a-b", false)] {
        let prefix = if prefix { format!("a-b{separator}") } else { String::new() };
        let session = front.client(path).initialize();
        let expect = ["search", "a-b-list", "list"].map(|name| format!("{prefix}{name}"));
        assert_eq!(session.tools(), expect, "{path}");
        let listed = session.request("tools/list", json!({}));
        assert_eq!(listed["tools"][0]["description"], "As the operator says.", "{path}");
        assert_eq!(session.list("prompts", "name"), [format!("{prefix}ask")]);
        for name in ["drop", &format!("{prefix}drop"), &format!("a-b{separator}drop"), "a-b-drop"] {
            fails(&session, "tools/call", name);
        }
        for name in ["whisper", &format!("a-b{separator}whisper")] {
            fails(&session, "prompts/get", name);
        }
        session.call(&format!("{prefix}search"), json!({}));
    }
    let mut over = OverSse::initialize(front.gateway().address(), "/sse/a-b");
    for name in ["drop".to_owned(), format!("a-b{separator}drop")] {
        let answer = over.answer("tools/call", json!({"name": name, "arguments": {}}));
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
    }
    let told = server.told();
    assert!(!told.iter().any(|(_, said)| said["params"]["name"] == "drop"), "{told:?}");
}

#[test]
fn what_a_prefixed_key_hides_is_hidden_everywhere() {
    for (separator, system) in [
        ("-", json!({})),
        ("::", json!({"nameSeparator": "::"})),
        ("-", json!({"nameSeparator": "__"})),
    ] {
        let server = server();
        let servers = json!({"a-b": entry(&server, separator)});
        let shown = system["nameSeparator"].as_str().unwrap_or("-").to_owned();
        let groups = json!([{"name": "desk", "servers": ["a-b"]}]);
        let alone = json!({"mcpServers": servers, "systemConfig": system, "groups": groups});
        hides(&Front::Alone(Gateway::start_with(&alone)), &server, &shown);
    }
}

#[test]
fn what_a_nodes_file_hides_by_prefixed_keys_is_hidden_at_the_coordinator() {
    let server = server();
    let settings = settings::merged(
        settings::coordinator(json!({})),
        json!({"groups": [{"name": "desk", "servers": ["a-b"]}]}),
    );
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    cluster.add("n", json!({"a-b": entry(&server, "-")}));
    cluster.wait_for_active(1);
    hides(&Front::Cluster(cluster), &server, "-");
}

#[test]
fn a_tool_whose_own_name_looks_prefixed_is_hidden_by_either_reading() {
    let server = server();
    let off = json!({"tools": {"a-b-list": {"enabled": false}}});
    let entry = settings::merged(server.entry(), off);
    let gateway = Gateway::start_with(&settings::standalone(json!({"a-b": entry})));
    let session = gateway.client("/mcp/a-b").initialize();
    assert_eq!(session.tools(), ["search", "drop"]);
    for name in ["list", "a-b-list", "a-b-a-b-list"] {
        fails(&session, "tools/call", name);
    }
    gateway.wait_for_log("may mean two entries of the server");
}

#[test]
fn equal_names_of_two_servers_do_not_bring_back_what_is_hidden() {
    let (one, two) = (server(), server());
    one.answer("tools/list", &json!({"tools": tools(&["b-x", "y"])}));
    two.answer("tools/list", &json!({"tools": tools(&["x", "y"])}));
    let off = |server: &Canned, key: &str| {
        settings::merged(server.entry(), json!({"tools": {key: {"enabled": false}}}))
    };
    let servers = json!({"a": off(&one, "a-b-x"), "a-b": two.entry()});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.tools(), ["a-y", "a-b-x", "a-b-y"]);
    session.call("a-b-x", json!({}));
    two.wait_for("the call", |_, said| said["params"]["name"] == "x");
    fails(&session, "tools/call", "a-b-x-2");
    let servers = json!({"a": one.entry(), "a-b": off(&two, "a-b-x")});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.tools(), ["a-b-x", "a-y", "a-b-y"]);
    session.call("a-b-x", json!({}));
    one.wait_for("the call", |_, said| said["params"]["name"] == "b-x");
}

#[test]
fn a_key_that_nothing_has_is_told_once() {
    let server = server();
    let keys = json!({"tools": {"a-b-dorp": {"enabled": false}, "search": {"enabled": true}}});
    let entry = settings::merged(server.entry(), keys);
    let settings = json!({
        "mcpServers": {"a-b": entry},
        "groups": [{"name": "desk", "servers": [{"name": "a-b", "tools": ["serch", "a-b-list"]}]}],
    });
    let gateway = Gateway::start_with(&settings);
    let line = gateway.wait_for_log("\"a-b-dorp\" hides and describes nothing");
    assert!(line.contains("the server has a-b-list, drop, list, search"), "{line}");
    assert_eq!(gateway.client("/mcp/desk").initialize().tools(), ["a-b-a-b-list"]);
    gateway.wait_for_log("serch");
    let log = gateway.log();
    assert_eq!(log.matches("hides and describes nothing").count(), 1, "{log}");
    assert_eq!(log.matches("shows nothing").count(), 1, "{log}");
}

/// Calls by prefixed names on the URL of the one server reach it under its own names.
fn calls_by_prefix(front: &Front, server: &Canned, separator: &str) {
    let prefixed = |name: &str| format!("a-b{separator}{name}");
    let session = front.client("/mcp/a-b").initialize();
    let other = front.client("/mcp/a-b").initialize();
    for session in [&session, &other] {
        session.call(&prefixed("search"), json!({"name": prefixed("search")}));
        session.call("a-b-list", json!({}));
        session.call("list", json!({}));
        session.request("prompts/get", json!({"arguments": {"x": "y"}, "name": prefixed("ask")}));
        let reference = json!({"type": "ref/prompt", "name": prefixed("ask")});
        let argument = json!({"name": "x", "value": ""});
        session.request("completion/complete", json!({"ref": reference, "argument": argument}));
    }
    let mut over = OverSse::initialize(front.gateway().address(), "/sse/a-b");
    over.call(&prefixed("search"), json!({}));
    let told = server.told();
    let names = |method: &str| -> Vec<String> {
        let of_method = told.iter().filter(|(_, said)| said["method"] == method);
        let mut names: Vec<String> = of_method
            .map(|(_, said)| said["params"]["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    };
    let expect = ["a-b-list", "a-b-list", "list", "list"];
    let searches = ["search"; 3];
    assert_eq!(names("tools/call"), [&expect[..], &searches].concat());
    assert_eq!(names("prompts/get"), ["ask", "ask"]);
    let arguments = |(_, said): &(u32, Value)| said["params"]["arguments"]["name"].clone();
    assert!(told.iter().any(|said| arguments(said) == prefixed("search").as_str()), "{told:?}");
    assert!(told.iter().any(|(_, said)| said["params"]["ref"]["name"] == "ask"), "{told:?}");
}

#[test]
fn a_server_with_a_url_of_its_own_is_called_by_prefixed_names_too() {
    for (separator, system) in [("-", json!({})), ("::", json!({"nameSeparator": "::"}))] {
        for front in [Front::alone, Front::cluster] {
            let server = server();
            let front = front(&json!({"a-b": server.entry()}), &system);
            calls_by_prefix(&front, &server, separator);
        }
        // With a selection, the gateway reads every message.
        let server = server();
        let described = json!({"tools": {"list": {"description": "Lists."}}});
        let entry = settings::merged(server.entry(), described);
        calls_by_prefix(&Front::alone(&json!({"a-b": entry}), &system), &server, separator);
    }
}

#[test]
fn a_batch_may_name_tools_with_and_without_the_prefix() {
    let server = server().answers(
        "initialize",
        json!({"protocolVersion": "2025-03-26", "capabilities": {"tools": {}},
            "serverInfo": {"name": "canned", "version": "1"}}),
    );
    let call = |id: u32, name: &str| {
        let params = json!({"name": name});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    Front::each(&json!({"a-b": server.entry()}), &json!({}), |front| {
        let session = front.client("/mcp/a-b").revision("2025-03-26").initialize();
        let batch = json!([call(71, "a-b-drop"), call(72, "a-b-list"), call(73, "search")]);
        session.post(&batch).send(front.gateway().address()).expect(200);
    });
    let told = server.told();
    let calls = told.iter().filter(|(_, said)| said["method"] == "tools/call");
    let names: Vec<&str> =
        calls.map(|(_, said)| said["params"]["name"].as_str().unwrap()).collect();
    let each = ["drop", "a-b-list", "search"];
    assert_eq!(names, [each, each].concat());
}

#[test]
fn a_remote_server_is_called_by_prefixed_names_too() {
    let far = Scripted::start(|_, out| Some(out));
    Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
        let session = front.client("/mcp/far").initialize();
        session.call("far-ask", json!({}));
        session.call("ask", json!({}));
    });
    let seen = far.seen();
    let calls = seen.iter().filter(|asked| asked.calls("tools/call"));
    for call in calls {
        assert_eq!(call.json()["params"]["name"], "ask");
    }
}

#[test]
fn a_group_shows_a_server_under_its_alias() {
    let server = server();
    let of_alias = json!({
        "name": "a-b", "alias": " desk:tools ",
        "tools": ["a-b-search", "desk:tools-drop", "list"], "prompts": ["a-b-ask"],
    });
    let groups = json!([
        {"name": "desk", "servers": [of_alias]},
        {"name": "all", "servers": [{"name": "a-b", "alias": "x"}]},
    ]);
    for is_cluster in [false, true] {
        let front = if is_cluster {
            let settings =
                settings::merged(settings::coordinator(json!({})), json!({"groups": groups}));
            let coordinator = Gateway::start_with(&settings);
            let mut cluster = Cluster { coordinator, nodes: Vec::new() };
            cluster.add("n", json!({"a-b": server.entry()}));
            cluster.wait_for_active(1);
            Front::Cluster(cluster)
        } else {
            let settings = json!({"mcpServers": {"a-b": server.entry()}, "groups": groups});
            Front::Alone(Gateway::start_with(&settings))
        };
        let session = front.client("/mcp/desk").initialize();
        let expect = ["search", "drop", "list"].map(|name| format!("desk:tools-{name}"));
        assert_eq!(session.tools(), expect);
        assert_eq!(session.list("prompts", "name"), ["desk:tools-ask"]);
        session.call("desk:tools-search", json!({}));
        for name in ["a-b-search", "search", "desk:tools-a-b-list"] {
            fails(&session, "tools/call", name);
        }
        fails(&session, "prompts/get", "desk:tools-whisper");
        let session = front.client("/mcp/all").initialize();
        assert_eq!(session.tools(), ["x-search", "x-drop", "x-a-b-list", "x-list"]);
        let mut over = OverSse::initialize(front.gateway().address(), "/sse/all");
        over.call("x-a-b-list", json!({}));
    }
}
