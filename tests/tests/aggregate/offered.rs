//! What is hidden is not offered either: not in results, not within other blocks, not in what a server
//! asks, and not as news of a change.

use serde_json::{Value, json};

use crate::aggregate::spellings::{SCOPES, each, server};

#[test]
fn results_offer_nothing_that_is_hidden() {
    let server = server();
    let link = |uri: &str| json!({"type": "resource_link", "uri": uri, "name": "x"});
    let embedded =
        |uri: &str| json!({"type": "resource", "resource": {"uri": uri, "text": "content"}});
    let kept = [
        link("test://dir/open"),
        embedded("made://up/by/a/tool"),
        json!({"type": "text", "text": "test://dir/secret"}),
    ];
    let gone = [link("test://dir/secret"), embedded("TEST://dir/./secret"), link("tpl://hidden/1")];
    let mixed: Vec<&Value> = [&gone[0], &kept[0], &gone[1], &gone[2], &kept[1], &kept[2]].into();
    server.answer("tools/call", &json!({"content": mixed}));
    let messages: Vec<Value> =
        mixed.iter().map(|block| json!({"role": "user", "content": block})).collect();
    server.answer("prompts/get", &json!({"messages": messages}));
    let contents = |uris: &[&str]| -> Value {
        uris.iter().map(|uri| json!({"uri": uri, "text": "content"})).collect()
    };
    let read = ["test://dir/secret", "test://dir/open", "tpl://hidden/1", "test://dir/secret"];
    server.answer("resources/read", &json!({"contents": contents(&read)}));
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).initialize();
            let call = json!({"name": format!("{prefix}open"), "arguments": {}});
            let content = session.request("tools/call", call)["content"].clone();
            let got = session.request("prompts/get", json!({"name": format!("{prefix}ask")}));
            let got: Vec<&Value> =
                got["messages"].as_array().unwrap().iter().map(|m| &m["content"]).collect();
            for blocks in [content.as_array().unwrap().iter().collect(), got] {
                assert_eq!(blocks.len(), mixed.len());
                for (block, sent) in blocks.into_iter().zip(&mixed) {
                    let is_gone = gone.contains(sent);
                    let note = json!("[a resource that is not available here]");
                    assert_eq!(block["text"] == note, is_gone, "{path}: {block}");
                    assert_eq!(block == *sent, !is_gone, "{path}: {block}");
                }
            }
            let open = session.request("resources/read", json!({"uri": "test://dir/open"}));
            assert_eq!(open["contents"], contents(&["test://dir/open"]), "{path}");
        }
    });
}

#[test]
fn nothing_hidden_is_offered_within_other_blocks() {
    let server = server();
    let link = |uri: &str| json!({"type": "resource_link", "uri": uri, "name": "x"});
    let (shown, hidden) = (link("test://dir/open"), link("test://dir/secret"));
    let within =
        |blocks: Value| json!({"type": "tool_result", "toolUseId": "a", "content": blocks});
    let note = json!({"type": "text", "text": "[a resource that is not available here]"});
    let blocks = |hidden: &Value| {
        json!([within(json!([shown, hidden])), within(json!([within(json!([hidden]))])), shown])
    };
    server.answer("tools/call", &json!({"content": blocks(&hidden)}));
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).initialize();
            let call = json!({"name": format!("{prefix}open"), "arguments": {}});
            let content = session.request("tools/call", call)["content"].clone();
            assert_eq!(content, blocks(&note), "{path}");
        }
    });
}

#[test]
fn nothing_hidden_is_offered_in_what_a_server_asks() {
    let server = server();
    let link = |uri: &str| json!({"type": "resource_link", "uri": uri, "name": "x"});
    let (shown, hidden) = (link("test://dir/open"), link("TEST://dir/secret"));
    let note = json!({"type": "text", "text": "[a resource that is not available here]"});
    let messages = |hidden: &Value| {
        let of_tool = json!({"type": "tool_result", "toolUseId": "a", "content": [hidden, shown]});
        let to_tool = json!({"type": "tool_use", "id": "a", "name": "t", "input": hidden});
        json!([
            {"role": "user", "content": hidden},
            {"role": "assistant", "content": [shown, to_tool]},
            {"role": "user", "content": [of_tool]},
        ])
    };
    let asks = |messages: Value| {
        let params = json!({"messages": messages, "maxTokens": 1});
        json!({"jsonrpc": "2.0", "id": 77, "method": "sampling/createMessage", "params": params})
    };
    let about = json!({"jsonrpc": "2.0", "id": 78, "method": "ui/open", "params": {"uri": "test://dir/secret"}});
    let capable = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}},
        "clientInfo": {"name": "mooring-tests", "version": "1"},
    });
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).params(capable.clone()).initialize();
            let call = |asked: &Value| {
                server.answer("tools/call.first", asked);
                let tool = format!("{prefix}open");
                let (mut stream, _) = session.start(&tool, json!({}), json!({}));
                stream.message(|message| message.get("method").is_some())
            };
            let asked = call(&asks(messages(&hidden)));
            assert_eq!(asked["params"]["messages"], messages(&note), "{path}");
            assert_eq!(asked["params"]["maxTokens"], 1, "{path}");
            let asked = call(&about);
            assert_eq!(asked["method"], "ui/open", "{path}");
            assert_eq!(asked["params"], json!({"_meta": {"mooring/server": "srv"}}), "{path}");
        }
    });
}

#[test]
fn changes_of_what_is_hidden_are_not_told() {
    let server = server();
    let updated = |uri: &str| json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}});
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).initialize();
            let call = json!({"name": format!("{prefix}open"), "arguments": {}});
            server.answer("tools/call.first", &updated("test://dir/secret"));
            session.request("tools/call", call.clone());
            let mut stream = session.listen();
            let method = "notifications/resources/updated";
            for (uri, is_told) in [
                ("test://dir/secret", false),
                ("TEST://dir/secret", false),
                ("tpl://hidden/1", false),
                ("test://unlisted", false),
                ("test://odd/listed", true),
                ("tpl://shown/1", true),
                ("test://dir/open", true),
            ] {
                server.answer("tools/call.first", &updated(uri));
                session.request("tools/call", call.clone());
                if is_told {
                    let told = stream.message(|message| message["method"] == method);
                    assert_eq!(told["params"]["uri"], uri, "{path}");
                }
            }
        }
    });
}
