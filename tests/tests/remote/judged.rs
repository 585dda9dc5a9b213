//! What an upstream says in answer to a POST, and what of it reaches the client: an answer under the
//! request's id as `application/json`, or the gateway's error with the first words of what came.

use std::time::Duration;

use mooring_tests::scripted::{Asked, Out, said};
use mooring_tests::{Front, Gateway, Scripted, Session};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, answer_to, text};

/// Writes what the upstream says to a call.
pub type Reply = fn(&Asked, Out);

/// An upstream that answers calls so, and everything else as usual.
pub fn upstream(reply: Reply) -> Scripted {
    Scripted::start(move |asked, out| {
        if asked.calls("tools/call") {
            reply(asked, out);
            return None;
        }
        Some(out)
    })
}

fn call(session: &Session, tool: &str) -> (Value, String) {
    let (message, id) = session.message("tools/call", json!({"name": tool, "arguments": {}}));
    let response = session.post(&message).send(session.client.address()).expect(200);
    let kind = response.header("content-type").unwrap_or("none").to_owned();
    let messages = response.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["id"], id, "{messages:?}");
    (messages[0].clone(), kind)
}

/// Each way of an upstream, alone and through a cluster, on each scope.
fn each_way(ways: &[(&str, Reply)], check: impl Fn(&str, &Value, &str)) {
    let ups: Vec<Scripted> = ways.iter().map(|(_, reply)| upstream(*reply)).collect();
    let servers: serde_json::Map<String, Value> =
        ups.iter().enumerate().map(|(n, up)| (format!("u{n}"), up.entry())).collect();
    Front::each(&servers.into(), &json!({}), |front| {
        let all = front.client("/mcp").initialize();
        for (n, (how, _)) in ways.iter().enumerate() {
            let one = front.client(&format!("/mcp/u{n}")).initialize();
            for (session, tool) in [(&one, "ask".to_owned()), (&all, format!("u{n}-ask"))] {
                let (answer, kind) = call(session, &tool);
                check(how, &answer, &kind);
            }
        }
    });
}

#[test]
fn an_answer_goes_out_as_json_whatever_it_was_called() {
    let ways: [(&str, Reply); 16] = [
        ("an event of another name", |asked, out| {
            let ping = "event: ping\ndata: {}\n\n";
            let events = format!("{ping}event: response\ndata: {}\n\n", usual(asked));
            reply(out, "200 OK", Some("text/event-stream"), &events);
        }),
        ("no type", |asked, out| reply(out, "200 OK", None, &usual(asked))),
        ("text", |asked, out| reply(out, "200 OK", Some("text/plain"), &usual(asked))),
        ("html", |asked, out| reply(out, "200 OK", Some("text/html; charset=x"), &usual(asked))),
        ("bytes", |asked, out| {
            reply(out, "200 OK", Some("application/octet-stream"), &usual(asked));
        }),
        ("created", |asked, out| {
            reply(out, "201 Created", Some("application/json"), &usual(asked));
        }),
        ("called an error", |asked, out| {
            reply(out, "400 Bad Request", Some("application/json"), &usual(asked));
        }),
        ("the id as text", |asked, out| {
            let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"].to_string(),
                "result": said("as usual")});
            reply(out, "200 OK", Some("application/json"), &answer.to_string());
        }),
        ("the id with a fraction", |asked, out| {
            let id = asked.json()["id"].as_f64().map_or(asked.json()["id"].clone(), |id| json!(id));
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": said("as usual")});
            reply(out, "200 OK", Some("application/json"), &answer.to_string());
        }),
        ("a byte order mark", |asked, out| {
            let answer = format!("\u{feff}{}", usual(asked));
            reply(out, "200 OK", Some("application/json"), &answer);
        }),
        ("a null where the error would be", |asked, out| {
            let mut answer = answer_to(asked, "as usual");
            answer["error"] = Value::Null;
            reply(out, "200 OK", Some("application/json"), &answer.to_string());
        }),
        ("in two pieces", |asked, mut out| {
            let answer = usual(asked);
            let (first, rest) = answer.split_at(answer.len() / 2);
            out.write(head(answer.len()).as_bytes());
            out.write(first.as_bytes());
            std::thread::sleep(Duration::from_millis(100));
            out.write(rest.as_bytes());
        }),
        ("in two pieces, slowly", |asked, mut out| {
            let answer = usual(asked);
            let (first, rest) = answer.split_at(answer.len() / 2);
            out.write(head(answer.len()).as_bytes());
            out.write(first.as_bytes());
            std::thread::sleep(Duration::from_millis(1300));
            out.write(rest.as_bytes());
        }),
        ("pretty, the id last", |asked, out| {
            let id = &asked.json()["id"];
            let result = serde_json::to_string_pretty(&said("as usual")).unwrap();
            let answer =
                format!("\n{{\"result\": {result},\n \"jsonrpc\": \"2.0\", \"id\": {id}}}\n");
            reply(out, "200 OK", Some("application/json"), &answer);
        }),
        ("events without their type", |asked, out| {
            let events = format!("event: message\ndata: {}\n\n", usual(asked));
            reply(out, "200 OK", Some("text/plain"), &events);
        }),
        ("called events", |asked, out| {
            reply(out, "200 OK", Some("text/event-stream"), &usual(asked));
        }),
    ];
    each_way(&ways, |how, answer, kind| {
        assert_eq!(text(answer), "as usual", "{how}");
        let mut keys: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["id", "jsonrpc", "result"], "{how}");
        assert_eq!(kind, "application/json", "{how}");
    });
}

/// How an answer is written.
type Written = fn(&Value) -> String;

#[test]
fn a_server_that_calls_all_its_events_or_answers_something_else_is_used() {
    let events = |answer: &Value| format!(": first\n\ndata: {answer}\n\n");
    let plain = |answer: &Value| format!("\n{answer:#}");
    let kinds: [(Option<&str>, Written); 6] = [
        (None, events),
        (Some("text/plain"), events),
        (Some("application/json"), events),
        (Some("application/octet-stream"), events),
        (Some("text/event-stream"), plain),
        (Some("text/event-stream;charset=utf-8"), |answer| format!("\u{feff}[{answer}]")),
    ];
    let server = |(kind, written): (Option<&'static str>, Written)| {
        Scripted::start(move |asked, out| {
            let result = match asked.rpc().as_str() {
                "initialize" => json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "unnamed", "version": "1"},
                }),
                "tools/list" => {
                    json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]})
                }
                "tools/call" => said("as usual"),
                _ => return Some(out),
            };
            if asked.json()["params"]["arguments"]["slowly"] == json!(true) {
                // The gateway has made a stream of its own by then.
                std::thread::sleep(Duration::from_millis(1300));
            }
            let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": result});
            reply(out, "200 OK", kind, &written(&answer));
            None
        })
    };
    let ups = kinds.map(server);
    let servers: serde_json::Map<String, Value> =
        ups.iter().enumerate().map(|(n, up)| (format!("u{n}"), up.entry())).collect();
    Front::each(&servers.into(), &json!({}), |front| {
        let all = front.client("/mcp").initialize();
        for (n, (kind, _)) in kinds.iter().enumerate() {
            let one = front.client(&format!("/mcp/u{n}")).initialize();
            for (session, tool) in [(&one, "ask".to_owned()), (&all, format!("u{n}-ask"))] {
                for slowly in [false, true] {
                    let params = json!({"name": tool, "arguments": {"slowly": slowly}});
                    let answer = session.answer("tools/call", params);
                    assert_eq!(text(&answer), "as usual", "{kind:?} {slowly}");
                }
            }
        }
    });
}

/// The head of a response whose body has this many bytes.
fn head(length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

fn usual(asked: &Asked) -> String {
    answer_to(asked, "as usual").to_string()
}

pub fn reply(out: Out, status: &str, kind: Option<&str>, body: &str) {
    let kind = kind.map(|kind| format!("Content-Type: {kind}"));
    let headers: Vec<&str> = kind.as_deref().into_iter().collect();
    out.reply(status, &headers, body.as_bytes());
}

#[test]
fn a_refusal_reaches_the_client_with_its_words() {
    let ways: [(&str, Reply); 6] = [
        ("an error without id", |_, out| {
            let error = r#"{"jsonrpc":"2.0","error":{"code":-32602,"message":"no such city"}}"#;
            reply(out, "400 Bad Request", Some("application/json"), error);
        }),
        ("an error for null", |_, out| {
            let error =
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no such city"}}"#;
            reply(out, "200 OK", None, error);
        }),
        ("an error with an id of its own", |_, out| {
            let error = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32602,"message":"no such city"}}"#;
            reply(out, "500 Internal Server Error", Some("application/json"), error);
        }),
        ("a line of text", |_, out| {
            reply(out, "422 Unprocessable Content", Some("text/plain"), "no such city\r\n");
        }),
        ("JSON of another kind", |_, out| {
            reply(out, "500 Oops", Some("application/json"), r#"{"detail":"no such city"}"#);
        }),
        ("a page", |_, out| {
            reply(out, "200 OK", Some("text/html"), "<html>\n\t<b>no such city</b>");
        }),
    ];
    each_way(&ways, |how, answer, kind| {
        let says = answer["error"]["message"].as_str().unwrap();
        assert!(says.contains("no such city") && !says.contains(['\n', '\t']), "{how}: {says}");
        assert_eq!(kind, "application/json");
    });
}

#[test]
fn what_is_no_answer_becomes_an_error_of_the_gateway() {
    let ways: [(&str, Reply); 11] = [
        ("an error that is a text", |asked, out| {
            let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "error": "no paper"});
            reply(out, "200 OK", Some("application/json"), &answer.to_string());
        }),
        ("an error whose code is a text", |asked, out| {
            let error = json!({"code": "E1", "message": "no paper"});
            let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "error": error});
            reply(out, "200 OK", Some("application/json"), &answer.to_string());
        }),
        ("not JSON", |_, out| reply(out, "200 OK", Some("application/json"), "Accepted")),
        ("null", |_, out| reply(out, "200 OK", Some("application/json"), "null")),
        ("another request's answer", |_, out| {
            let answer = r#"{"jsonrpc":"2.0","id":99999,"result":{}}"#;
            reply(out, "200 OK", Some("application/json"), answer);
        }),
        ("an answer to nobody", |_, out| {
            reply(out, "200 OK", Some("application/json"), r#"{"jsonrpc":"2.0","result":{}}"#);
        }),
        ("a notification", |_, out| {
            reply(out, "200 OK", None, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
        }),
        ("NaN", |asked, out| {
            let id = &asked.json()["id"];
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":NaN}}}}"#);
            reply(out, "200 OK", Some("application/json"), &answer);
        }),
        ("no UTF-8", |asked, out| {
            let answer = usual(asked).replace("as usual", "\u{1}").into_bytes();
            let answer: Vec<u8> =
                answer.iter().map(|byte| if *byte == 1 { 0xe9 } else { *byte }).collect();
            out.reply("200 OK", &["Content-Type: application/json"], &answer);
        }),
        ("half an answer", |asked, out| {
            let answer = usual(asked);
            reply(out, "200 OK", Some("application/json"), &answer[..answer.len() - 2]);
        }),
        ("control characters, without end", |_, out| {
            let noise = "\u{1b}[31m\u{7}".repeat(50_000);
            reply(out, "502 Bad Gateway", Some("text/plain"), &noise);
        }),
    ];
    each_way(&ways, |how, answer, _| {
        let says = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{how}: {answer}"));
        assert!(says.starts_with("server u"), "{how}: {says}");
        assert!(says.len() < 4000 && !says.contains(char::is_control), "{how}: {says}");
    });
}

#[test]
fn a_small_answer_that_breaks_off_is_an_error_and_the_connection_goes_on() {
    let ways: [(&str, Reply); 4] = [
        ("before its length", |asked, mut out| {
            let answer = usual(asked);
            out.write(head(answer.len() + 50).as_bytes());
            out.write(answer.as_bytes());
        }),
        ("in its middle", |asked, mut out| {
            let answer = usual(asked);
            out.write(head(answer.len()).as_bytes());
            out.write(&answer.as_bytes()[..30]);
        }),
        ("without its last chunk", |asked, mut out| {
            let answer = usual(asked);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            out.write(format!("{head}{:x}\r\n{answer}\r\n", answer.len()).as_bytes());
        }),
        ("in its middle, slowly", |asked, mut out| {
            let answer = usual(asked);
            out.write(head(answer.len()).as_bytes());
            out.write(&answer.as_bytes()[..30]);
            std::thread::sleep(Duration::from_millis(1300));
        }),
    ];
    each_way(&ways, |how, answer, _| {
        assert_eq!(answer["error"]["code"], -31001, "{how}: {answer}");
        let says = answer["error"]["message"].as_str().unwrap();
        assert!(says.contains("may have run"), "{how}: {says}");
    });
}

#[test]
fn what_is_said_of_credentials_stays_here() {
    let ways: [(&str, Reply); 3] = [
        ("401", |_, out| reply(out, "401 Unauthorized", Some("text/plain"), "bad tok-123")),
        ("403", |asked, out| {
            let error = json!({"jsonrpc": "2.0", "id": asked.json()["id"],
                "error": {"code": 1, "message": "tok-123 is not allowed"}});
            reply(out, "403 Forbidden", Some("application/json"), &error.to_string());
        }),
        ("407", |_, out| {
            reply(out, "407 Proxy Authentication Required", Some("text/html"), "<b>tok-123</b>");
        }),
    ];
    each_way(&ways, |how, answer, _| {
        let says = answer["error"]["message"].as_str().unwrap();
        assert!(says.contains("credentials") && !says.contains("tok-123"), "{how}: {says}");
    });
}

/// The head comes after the client's stream was opened.
#[test]
fn late_answers_are_judged_alike() {
    let ways: [(&str, Reply); 4] = [
        ("an answer", |asked, out| {
            std::thread::sleep(Duration::from_millis(1300));
            reply(out, "200 OK", None, &usual(asked));
        }),
        ("words", |_, out| {
            std::thread::sleep(Duration::from_millis(1300));
            reply(out, "422 No", Some("text/plain"), "as usual");
        }),
        ("an error without id", |_, out| {
            std::thread::sleep(Duration::from_millis(1300));
            let error = r#"{"jsonrpc":"2.0","error":{"code":1,"message":"as usual"}}"#;
            reply(out, "400 Bad Request", Some("application/json"), error);
        }),
        ("401", |_, out| {
            std::thread::sleep(Duration::from_millis(1300));
            reply(out, "401 Unauthorized", None, "tok-123");
        }),
    ];
    each_way(&ways, |how, answer, kind| {
        assert_eq!(kind, "text/event-stream", "{how}");
        let says = answer.to_string();
        let expect = if how == "401" { "credentials" } else { "as usual" };
        assert!(says.contains(expect) && !says.contains("tok-123"), "{how}: {says}");
    });
}

#[test]
fn a_notification_is_accepted_and_nothing_else_is_said() {
    let ways: [(&str, Reply); 9] = [
        ("null", |_, out| reply(out, "200 OK", Some("application/json"), "null")),
        ("a text", |_, out| reply(out, "200 OK", Some("text/plain"), "Accepted")),
        ("no content", |_, out| out.reply("204 No Content", &[], b"")),
        ("a result", |_, out| {
            reply(out, "200 OK", None, r#"{"jsonrpc":"2.0","id":null,"result":{}}"#);
        }),
        ("202 with a body", |_, out| reply(out, "202 Accepted", Some("text/html"), "<b>ok</b>")),
        ("a refusal", |_, out| reply(out, "422 No", Some("text/plain"), "no")),
        ("a failure", |_, out| out.reply("500 Internal Server Error", &[], b"")),
        ("401", |_, out| out.reply("401 Unauthorized", &[], b"tok-123")),
        ("events", |_, out| {
            let mut out = out.events();
            out.event(&json!({"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "info", "data": "heard"}}));
            out.wait_for_end();
        }),
    ];
    for (how, reply) in ways {
        let up = Scripted::start(move |asked, out| {
            if asked.calls("notifications/roots/list_changed") {
                reply(asked, out);
                return None;
            }
            Some(out)
        });
        let gateway = Gateway::start_with(&json!({
            "mcpServers": {"far": up.entry()}, "groups": [{"name": "g", "servers": ["far"]}],
        }));
        for (path, tool) in [("/mcp/far", "ask"), ("/mcp", "far-ask"), ("/mcp/g", "far-ask")] {
            let session = gateway.client(path).initialize();
            assert_eq!(text(&call(&session, tool).0), "as usual");
            let accepted =
                session.notify("notifications/roots/list_changed", json!({})).expect(202);
            assert_eq!(
                (accepted.text().as_str(), accepted.header("content-type")),
                ("", None),
                "{how}"
            );
            if how == "events" {
                session.listen().message(|message| message["params"]["data"] == "heard");
            }
            // The session goes on.
            assert_eq!(text(&call(&session, tool).0), "as usual", "{how} {path}");
        }
    }
}

/// Servers that think in REST answer an unknown tool with 404. The session goes on.
#[test]
fn an_answer_under_404_is_one_and_no_lost_session() {
    let up = upstream(|asked, out| {
        let json = asked.json();
        let how = json["params"]["arguments"]["how"].as_str().unwrap();
        let id = match how {
            "as text" => json!(json["id"].to_string()),
            _ => json["id"].clone(),
        };
        let error = json!({"code": -32004, "message": "no such tool"});
        let answer = match how {
            "a result" => json!({"jsonrpc": "2.0", "id": id, "result": said("as usual")}),
            _ => json!({"jsonrpc": "2.0", "id": id, "error": error}),
        };
        let status = if how == "bad" { "400 Bad Request" } else { "404 Not Found" };
        reply(out, status, Some("application/json"), &answer.to_string());
    });
    Front::each(&json!({"far": up.entry()}), &json!({}), |front| {
        for (path, tool) in SCOPES {
            let session = front.client(path).initialize();
            let ask = |how: &str| {
                let params = json!({"name": tool, "arguments": {"how": how}});
                session.answer("tools/call", params)
            };
            ask("an error");
            let opened = || up.all().iter().filter(|asked| asked.rpc() == "initialize").count();
            let before = opened();
            for how in ["an error", "as text", "bad"] {
                let answer = ask(how);
                assert_eq!(answer["error"]["code"], -32004, "{path} {how}: {answer}");
            }
            assert_eq!(text(&ask("a result")), "as usual", "{path}");
            assert_eq!(opened(), before, "{path}: no session was opened again");
        }
    });
}
