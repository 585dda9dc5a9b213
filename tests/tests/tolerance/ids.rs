//! Ids and tokens: the gateway's own are whole numbers, and a server may write any back in another
//! form.

use mooring_tests::odd_server::{answer, as_usual};
use mooring_tests::{OddServer, Way};
use serde_json::{Map, Value, json};

use super::{Place, wait_for_tools};

fn entries(servers: &[(Way, OddServer)]) -> Map<String, Value> {
    servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect()
}

#[test]
fn servers_that_take_whole_numbers_of_31_bits_only_are_served() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::start(way, |_, message, say| {
            let id = &message["id"];
            if id.is_null() || message["method"].is_null() {
                return;
            }
            if id.as_u64().is_some_and(|id| id > 0 && id < 1 << 31) {
                return as_usual(message, say);
            }
            let error = json!({"code": -32600, "message": "id must be an int"});
            say(json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string());
        });
        (way, server)
    });
    for place in Place::each(&entries(&servers)) {
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
        for way in Way::ALL {
            let params = json!({"name": format!("{}-ask", way.name())});
            assert!(session.answer("tools/call", params)["result"].is_object(), "{way:?}");
        }
    }
}

/// A server that writes the id of every answer, and every token, in another form.
fn changing(way: Way, form: fn(&Value) -> Value) -> OddServer {
    OddServer::start(way, move |_, message, say| {
        let token = &message["params"]["_meta"]["progressToken"];
        if !token.is_null() {
            let params = json!({"progressToken": form(token), "progress": 1});
            let method = "notifications/progress";
            say(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
        }
        as_usual(message, &mut |text| {
            let mut text: Value = serde_json::from_str(&text).unwrap();
            text["id"] = form(&text["id"]);
            say(text.to_string());
        });
    })
}

#[test]
fn an_id_in_another_form_is_known_and_the_client_gets_its_own() {
    let as_string = |id: &Value| id.as_i64().map_or(id.clone(), |id| json!(id.to_string()));
    let as_float = |id: &Value| id.as_i64().map_or(id.clone(), |id| json!(id as f64));
    for form in [as_string as fn(&Value) -> Value, as_float] {
        // A JSON answer over HTTP is passed on as it is: there the client sees the server's own.
        let servers = [Way::Stdio, Way::Sse].map(|way| (way, changing(way, form)));
        for place in Place::each(&entries(&servers)) {
            for (path, tool) in [
                ("/mcp", "stdio-ask"),
                ("/mcp", "sse-ask"),
                ("/mcp/stdio", "ask"),
                ("/mcp/sse", "ask"),
            ] {
                let session = place.client(path).initialize();
                mooring_tests::eventually("the tool", || {
                    session.tools().contains(&tool.to_owned()).then_some(())
                });
                let (response, id) = session.start(tool, json!({}), json!({"progressToken": 77}));
                let messages = response.whole().expect(200).messages();
                assert!(messages.iter().any(|said| said["id"] == id), "{path} {messages:?}");
                let progress =
                    messages.iter().find(|said| said["method"] == "notifications/progress");
                let token = progress.map(|said| said["params"]["progressToken"].clone());
                assert_eq!(token, Some(json!(77)), "{path} {messages:?}");
            }
        }
    }
}

#[test]
fn an_error_about_a_notification_answers_no_request() {
    for isolation in ["session", "shared"] {
        let server = OddServer::start(Way::Stdio, |_, message, say| {
            if message["id"].is_null() {
                let error = json!({"code": -32601, "message": "Method not found"});
                say(json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string());
            } else if message["method"] == "tools/call" {
                // Answered only once a notification has come and was refused.
                std::thread::sleep(std::time::Duration::from_millis(500));
                say(answer(message, &json!({"content": [{"type": "text", "text": "mine"}]})));
            } else {
                as_usual(message, say);
            }
        });
        let mut entry = server.entry();
        entry["isolation"] = json!(isolation);
        for place in Place::each(&Map::from_iter([("s".to_owned(), entry)])) {
            let session = place.client("/mcp").initialize();
            wait_for_tools(&session, &["s-ask"]);
            let alone = place.client("/mcp/s").initialize();
            let (response, id) = alone.start("ask", json!({}), json!({}));
            alone.notify("notifications/roots/list_changed", json!({})).expect(202);
            let messages = response.whole().expect(200).messages();
            let mine = messages.iter().find(|said| said["id"] == id).expect("an answer");
            assert_eq!(mine["result"]["content"][0]["text"], "mine", "{isolation} {mine}");
        }
    }
}
