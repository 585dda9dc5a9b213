//! Ids and tokens: the gateway's own are whole numbers, and a server may write any back in another
//! form.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mooring_tests::odd_server::{answer, as_usual};
use mooring_tests::{Connection, OddServer, Way, eventually, settings};
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
        let servers = Way::ALL.map(|way| (way, changing(way, form)));
        for place in Place::each(&entries(&servers)) {
            for (path, tool) in [
                ("/mcp", "stdio-ask"),
                ("/mcp", "http-ask"),
                ("/mcp", "sse-ask"),
                ("/mcp/stdio", "ask"),
                ("/mcp/http", "ask"),
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

/// Schemas of SDKs are strict: what they refuse leaves the request without an answer.
#[test]
fn an_answer_in_another_form_is_put_right_or_told() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::start(way, |_, message, say| {
            let how = message["params"]["arguments"]["how"].as_str().unwrap_or_default().to_owned();
            as_usual(message, &mut |text| {
                let mut text: Value = serde_json::from_str(&text).unwrap();
                match how.as_str() {
                    "a null error" => text["error"] = Value::Null,
                    "a null method" => text["method"] = Value::Null,
                    "a null result" => {
                        text["result"] = Value::Null;
                        text["error"] = json!({"code": 5, "message": "no paper"});
                    }
                    "a text" | "no code" => {
                        text.as_object_mut().unwrap().remove("result");
                        let is_text = how == "a text";
                        text["error"] = if is_text {
                            json!("no paper")
                        } else {
                            json!({"message": "no paper"})
                        };
                    }
                    _ => {}
                }
                say(text.to_string());
            });
        });
        (way, server)
    });
    for place in Place::each(&entries(&servers)) {
        for way in Way::ALL {
            let session = place.client(&format!("/mcp/{}", way.name())).initialize();
            for how in ["a null error", "a null method", "a null result", "a text", "no code"] {
                let params = json!({"name": "ask", "arguments": {"how": how}});
                let answer = session.answer("tools/call", params);
                let mut keys: Vec<&str> =
                    answer.as_object().unwrap().keys().map(|k| &**k).collect();
                keys.sort_unstable();
                if matches!(how, "a null error" | "a null method") {
                    assert_eq!(keys, ["id", "jsonrpc", "result"], "{way:?}, {how}");
                    continue;
                }
                assert_eq!(keys, ["error", "id", "jsonrpc"], "{way:?}, {how}");
                let code = if how == "a null result" { 5 } else { -32603 };
                assert_eq!(answer["error"]["code"], code, "{way:?}, {how}: {answer}");
                let says = answer["error"]["message"].as_str().unwrap();
                assert!(says.contains("no paper"), "{way:?}, {how}: {says}");
            }
        }
    }
}

/// What programs write that know no JSON, or Python's `json.dumps`.
#[test]
fn an_answer_that_is_no_json_is_an_error_at_once_and_the_others_go_on() {
    const SPOILT: [&str; 6] = [
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"structuredContent":{"v":NaN}}}"#,
        r#"{"jsonrpc": "2.0", "id": ID, "result": {"content": [],}}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"content\":[],\"x\":\"a\tb\"}}",
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"x":"C:\Users"}}"#,
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"te"#,
        r#"{"result":{"v":-Infinity},"jsonrpc":"2.0","id":ID}"#,
    ];
    const BESIDE: [&str; 4] = [
        "\u{1b}[0mANSWER",
        "ANSWER // done",
        r#"{"jsonrpc":"2.0","method":"notifications/x"}ANSWER"#,
        r#"ANSWER{"jsonrpc":"2.0","method":"notifications/x"}"#,
    ];
    let script = |message: &Value, say: &mut dyn FnMut(String)| {
        let how = &message["params"]["arguments"];
        if let Some(n) = how["spoilt"].as_u64() {
            return say(SPOILT[n as usize].replace("ID", &message["id"].to_string()));
        }
        let beside = how["beside"].as_u64();
        as_usual(message, &mut |text| match beside {
            Some(n) => say(BESIDE[n as usize].replace("ANSWER", &text)),
            None => say(text),
        });
    };
    for isolation in ["session", "shared"] {
        let servers = [Way::Stdio, Way::Sse]
            .map(|way| (way, OddServer::start(way, move |_, m, say| script(m, say))));
        let mut all = entries(&servers);
        all["stdio"]["isolation"] = json!(isolation);
        for place in Place::each(&all) {
            for way in ["stdio", "sse"] {
                let session = place.client(&format!("/mcp/{way}")).initialize();
                let ask = |arguments: Value| {
                    session.answer("tools/call", json!({"name": "ask", "arguments": arguments}))
                };
                for n in 0..SPOILT.len() {
                    let answer = ask(json!({"spoilt": n}));
                    assert_eq!(answer["error"]["code"], -32603, "{way} {n}: {answer}");
                    let says = answer["error"]["message"].as_str().unwrap();
                    assert!(says.contains(way) && says.contains("result"), "{way} {n}: {says}");
                    assert!(ask(json!({}))["result"].is_object(), "{way} {n}");
                }
                // An event is one message.
                for n in 0..if way == "stdio" { BESIDE.len() } else { 0 } {
                    let answer = ask(json!({"beside": n}));
                    assert!(answer["result"].is_object(), "{way} {n}: {answer}");
                }
            }
        }
    }
}

#[test]
fn an_error_under_an_id_of_the_servers_own_is_that_of_the_only_request() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::start(way, |_, message, say| {
            if message["method"] != "tools/call" {
                return as_usual(message, say);
            }
            let error = json!({"code": -32602, "message": "no such city"});
            say(json!({"jsonrpc": "2.0", "id": "server-error", "error": error}).to_string());
        });
        (way, server)
    });
    for place in Place::each(&entries(&servers)) {
        for way in Way::ALL {
            let session = place.client(&format!("/mcp/{}", way.name())).initialize();
            let answer = session.answer("tools/call", json!({"name": "ask"}));
            assert_eq!(answer["error"]["message"], "no such city", "{way:?}: {answer}");
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

/// To a server that makes numbers of ids, `6` and `"06"` are one.
#[test]
fn ids_that_a_server_mixes_up_are_in_flight_at_once() {
    let servers = [Way::Stdio, Way::Sse].map(|way| {
        let waiting = Mutex::new(HashMap::<usize, Value>::new());
        let server = OddServer::start(way, move |session, message, say| {
            if message["method"] != "tools/call" {
                return as_usual(message, say);
            }
            let Some(first) = waiting.lock().unwrap().remove(&session) else {
                waiting.lock().unwrap().insert(session, message.clone());
                return;
            };
            for asked in [message, &first] {
                let tag = &asked["params"]["arguments"]["tag"];
                let text = json!({"content": [{"type": "text", "text": tag}]});
                let id = match asked["id"].as_str().and_then(|id| id.parse::<i64>().ok()) {
                    Some(number) => json!(number),
                    None => asked["id"].clone(),
                };
                say(json!({"jsonrpc": "2.0", "id": id, "result": text}).to_string());
            }
        });
        (way, server)
    });
    let mut all = entries(&servers);
    let shared = settings::merged(servers[0].1.entry(), json!({"isolation": "shared"}));
    all.insert("shared".to_owned(), shared);
    for place in Place::each(&all) {
        for name in ["stdio", "sse", "shared"] {
            for (path, tool) in
                [("/mcp".to_owned(), format!("{name}-ask")), (format!("/mcp/{name}"), "ask".into())]
            {
                let session = place.client(&path).initialize();
                eventually("the tool is there", || session.tools().contains(&tool).then_some(()));
                for ids in
                    [[json!(5), json!("5")], [json!("06"), json!(6)], [json!(7), json!("007")]]
                {
                    let asked = ids.clone().map(|id| {
                        let params = json!({"name": tool, "arguments": {"tag": id.to_string()}});
                        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                            "params": params});
                        let mut connection = Connection::open(session.client.address());
                        connection.send_request(&session.post(&message));
                        connection
                    });
                    for (id, mut connection) in ids.iter().zip(asked) {
                        let answers = connection.read_head().unwrap().whole().messages();
                        let answer = answers.last().unwrap();
                        assert_eq!(answer["id"], *id, "{path} {answer}");
                        let text = &answer["result"]["content"][0]["text"];
                        assert_eq!(*text, id.to_string(), "{path} {answer}");
                    }
                }
            }
        }
    }
}

/// A request whose answer names none would wait for ever.
#[test]
fn an_answer_that_names_no_request_fails_the_only_one() {
    let servers = Way::ALL.map(|way| {
        let server = OddServer::good_but(way, move |message, say| {
            let how = message["params"]["arguments"]["how"].as_str().unwrap_or_default();
            let id = &message["id"];
            let id = match how {
                "none" => String::new(),
                "null" => "\"id\":null,".to_owned(),
                "a list" => format!("\"id\":[{id}],"),
                "an object" => format!("\"id\":{{\"id\":{id}}},"),
                "a flag" => "\"id\":true,".to_owned(),
                _ => return false,
            };
            if way == Way::Http {
                // On an event stream that stays open.
                say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#.into());
            }
            say(format!(r#"{{"jsonrpc":"2.0",{id}"result":{{"content":[],"is":"odd"}}}}"#));
            true
        });
        (way, server)
    });
    for place in Place::each(&entries(&servers)) {
        for way in Way::ALL {
            let session = place.client(&format!("/mcp/{}", way.name())).initialize();
            for how in ["none", "null", "a list", "an object", "a flag", ""] {
                let began = Instant::now();
                let params = json!({"name": "ask", "arguments": {"how": how}});
                let answer = session.answer("tools/call", params);
                assert!(began.elapsed() < Duration::from_secs(5), "{way:?} {how}");
                if how.is_empty() {
                    assert!(answer["result"].is_object(), "{way:?}: the session goes on");
                    continue;
                }
                assert_eq!(answer["error"]["code"], -32603, "{way:?} {how}: {answer}");
                let text = answer["error"]["message"].as_str().unwrap();
                assert!(text.contains("odd"), "{way:?} {how}: {text}");
            }
        }
    }
}
