//! Several servers behind `/mcp`: which lists are merged, and how a name reaches its server.

use mooring_tests::{Gateway, servers, settings};
use serde_json::{Value, json};

fn gateway(system: Value) -> Gateway {
    Gateway::start_with(&settings::merged(
        settings::standalone(json!({"notes": servers::notes(), "clock": servers::clock()})),
        json!({"systemConfig": system}),
    ))
}

fn two_counters(system: Value) -> Gateway {
    Gateway::start_with(&json!({
        "mcpServers": {
            "one": servers::counter_named("one"),
            "two": servers::counter_named("two"),
            "notes": servers::notes(),
        },
        "systemConfig": system,
    }))
}

#[test]
fn tools_have_their_servers_name_in_front_in_file_order() {
    let gateway = gateway(json!({}));
    let tools = gateway.client("/mcp").initialize().tools();
    let expected = [
        "notes-add_note",
        "notes-list_notes",
        "clock-now",
        "clock-sleep",
        "clock-wait_with_progress",
    ];
    assert_eq!(tools, expected);
}

#[test]
fn a_single_server_has_its_names_as_they_are() {
    let gateway = gateway(json!({}));
    let session = gateway.client("/mcp/notes").initialize();
    assert_eq!(session.tools(), ["add_note", "list_notes"]);
    assert_eq!(session.list("prompts", "name"), ["summarize"]);
    assert_eq!(session.result["serverInfo"]["name"], "mooring-example-notes");
}

#[test]
fn the_separator_is_the_operators() {
    let gateway = gateway(json!({"nameSeparator": "__"}));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.tools()[0], "notes__add_note");
    session.call("notes__list_notes", json!({}));
    let answer = session.answer("tools/call", json!({"name": "notes-list_notes"}));
    assert_eq!(answer["error"]["code"], -32602);
}

#[test]
fn a_prefix_on_collision_is_for_names_that_several_have() {
    let gateway = two_counters(json!({"namePrefix": "on-collision"}));
    let session = gateway.client("/mcp").initialize();
    let mut tools = session.tools();
    tools.sort();
    let expected = [
        "add_note",
        "list_notes",
        "one-count",
        "one-reset",
        "one-whoami",
        "two-count",
        "two-reset",
        "two-whoami",
    ];
    assert_eq!(tools, expected);
    assert_eq!(session.whoami("one-whoami").name, "one");
    assert_eq!(session.whoami("two-whoami").name, "two");
    session.call("list_notes", json!({}));
}

#[test]
fn without_prefixes_the_first_in_the_file_keeps_a_name_and_the_next_gets_a_number() {
    let gateway = two_counters(json!({"namePrefix": "never"}));
    let session = gateway.client("/mcp").initialize();
    let tools = session.tools();
    for name in ["count", "count-2", "whoami", "whoami-2", "add_note"] {
        assert!(tools.iter().any(|tool| tool == name), "{name}: {tools:?}");
    }
    assert_eq!(session.whoami("whoami").name, "one");
    assert_eq!(session.whoami("whoami-2").name, "two");
}

#[test]
fn a_server_named_like_a_prefix_is_not_split_wrongly() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "a": servers::counter_named("a"),
        "a-whoami": servers::counter_named("a-whoami"),
    })));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.whoami("a-whoami").name, "a");
    assert_eq!(session.whoami("a-whoami-whoami").name, "a-whoami");
}

#[test]
fn prompts_and_resources_go_to_their_owner() {
    let gateway = gateway(json!({}));
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.list("prompts", "name"), ["notes-summarize"]);
    session.call("notes-add_note", json!({"text": "buy milk"}));
    let prompt = session.request("prompts/get", json!({"name": "notes-summarize"}));
    let text = prompt["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("buy milk"), "{text}");
    let read = session.request("resources/read", json!({"uri": "note://1"}));
    assert_eq!(read["contents"][0]["text"], "buy milk");
    let templates = session.request("resources/templates/list", json!({}));
    assert_eq!(templates["resourceTemplates"][0]["uriTemplate"], "note://{n}");
}

#[test]
fn a_completion_for_a_server_without_completions_is_empty() {
    let gateway = gateway(json!({}));
    let session = gateway.client("/mcp").initialize();
    let params = json!({
        "ref": {"type": "ref/prompt", "name": "notes-summarize"},
        "argument": {"name": "style", "value": "a"},
    });
    let result = session.request("completion/complete", params);
    assert_eq!(result["completion"]["values"], json!([]));
}

#[test]
fn an_unknown_tool_prompt_or_resource_is_an_answer_and_not_a_broken_transport() {
    let gateway = gateway(json!({}));
    let session = gateway.client("/mcp").initialize();
    for (method, params, code) in [
        ("tools/call", json!({"name": "notes-nothing"}), -32602),
        ("tools/call", json!({}), -32602),
        ("prompts/get", json!({"name": "nothing"}), -32602),
        ("resources/read", json!({"uri": "file:///nothing"}), -32002),
        ("no/such/method", json!({}), -32601),
    ] {
        let answer = session.answer(method, params);
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
    }
}

#[test]
fn a_call_passes_with_everything_in_it_but_the_name() {
    let gateway = gateway(json!({}));
    let session = gateway.client("/mcp").initialize();
    let odd = "quotes \" back\\slash \u{1F6A2} new\nline \u{0} \u{2028}";
    session.call("notes-add_note", json!({"text": odd}));
    let notes = session.call("notes-list_notes", json!({}));
    assert_eq!(notes["structuredContent"]["notes"], json!([odd]));
}

#[test]
fn a_disabled_server_is_neither_listed_nor_reached() {
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "notes": servers::notes(),
        "clock": settings::merged(servers::clock(), json!({"enabled": false})),
    })));
    let tools = gateway.client("/mcp").initialize().tools();
    assert_eq!(tools, ["notes-add_note", "notes-list_notes"]);
    gateway.client("/mcp/clock").try_initialize().expect(404);
}

#[test]
fn a_tool_that_the_operator_hid_is_neither_listed_nor_called() {
    let hidden = json!({"tools": {"sleep": {"enabled": false}, "now": {"description": "Ours."}}});
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "clock": settings::merged(servers::clock(), hidden),
    })));
    for (path, prefix) in [("/mcp", "clock-"), ("/mcp/clock", "")] {
        let session = gateway.client(path).initialize();
        let tools = session.request("tools/list", json!({}))["tools"].clone();
        let names: Vec<_> =
            tools.as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
        let expected = [format!("{prefix}now"), format!("{prefix}wait_with_progress")];
        assert_eq!(names, expected, "{path}");
        assert_eq!(tools[0]["description"], "Ours.");
        let call = json!({"name": format!("{prefix}sleep"), "arguments": {"ms": 1}});
        let answer = session.answer("tools/call", call);
        assert_eq!(answer["error"]["code"], -32602, "{path}: {answer}");
        session.call(&format!("{prefix}now"), json!({}));
    }
}
