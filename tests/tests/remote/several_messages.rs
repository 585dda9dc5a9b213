//! What an upstream says to a batch, and several messages in one body that is no list: every request gets
//! its own answer.

use mooring_tests::{Front, Scripted};
use serde_json::{Value, json};

use crate::remote::judged::{Reply, reply, upstream};
use crate::remote::upstreams::{SCOPES, answer_to, text};

#[test]
fn every_request_of_a_batch_gets_an_answer_of_its_own() {
    let ways: [(&str, Reply); 4] = [
        ("one is missing", |asked, out| {
            let first = &asked.json()[0]["id"];
            let answer = json!([{"jsonrpc": "2.0", "id": first, "result": {}}]);
            reply(out, "200 OK", Some("text/plain"), &answer.to_string());
        }),
        ("a refusal", |_, out| reply(out, "422 No", Some("text/plain"), "no batches")),
        ("one error for all", |_, out| {
            let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no batches"}}"#;
            reply(out, "400 Bad Request", Some("application/json"), error);
        }),
        ("nothing", |_, out| out.reply("202 Accepted", &[], b"")),
    ];
    for (how, reply) in ways {
        let up = Scripted::start(move |asked, out| {
            if asked.rpc() == "initialize" {
                let result = json!({"protocolVersion": "2025-03-26",
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "b", "version": "1"}});
                out.result(asked, &result);
                return None;
            }
            if asked.json().is_array() {
                reply(asked, out);
                return None;
            }
            Some(out)
        });
        Front::each(&json!({"far": up.entry()}), &json!({}), |front| {
            let session = front.client("/mcp/far").revision("2025-03-26").initialize();
            let request = |id: &str| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
            let batch = json!([request("a"), request("b")]);
            let response = session.post(&batch).send(session.client.address()).expect(200);
            let answers: Vec<Value> = response
                .messages()
                .into_iter()
                .flat_map(|message| message.as_array().cloned().unwrap_or(vec![message]))
                .collect();
            assert_eq!(answers.len(), 2, "{how}: {answers:?}");
            for id in ["a", "b"] {
                let answer = answers.iter().find(|answer| answer["id"] == id).unwrap();
                let is_answered = how == "one is missing" && id == "a";
                assert_eq!(answer.get("result").is_some(), is_answered, "{how}: {answer}");
            }
        });
    }
}

/// Several messages in one body that is no list, as lines of JSON or one behind the other: the answer is
/// the one with the request's id, of whatever size, and in whatever pieces it comes.
#[test]
fn of_several_messages_the_answer_goes_on() {
    let up = upstream(|asked, mut out| {
        let json = asked.json();
        let arguments = &json["params"]["arguments"];
        let (how, size) = (arguments["how"].as_str().unwrap(), arguments["size"].as_u64().unwrap());
        let size = usize::try_from(size).unwrap();
        let own = answer_to(asked, &"x".repeat(size)).to_string();
        let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"n"}}"#;
        let other = r#"{"jsonrpc":"2.0","id":"other","result":{"content":[]}}"#;
        let kind =
            if how.starts_with("lines") { "application/x-ndjson" } else { "application/json" };
        let body = match how {
            "lines" => format!("{note}\n{other}\n{own}\n"),
            "lines, one" => format!("{own}\n"),
            "lines, none" => format!("{note}\n{other}\n"),
            "first" => format!("{own}\n{note}\n"),
            "last" => format!("{note}{own}"),
            "behind a large one" => {
                let data = "n".repeat(size);
                let begins = r#"{"jsonrpc":"2.0","method":"notifications/message""#;
                format!(r#"{begins},"params":{{"level":"info","data":"{data}"}}}}{own}"#)
            }
            "none" => format!("{other}\n{note}"),
            _ => format!("{own}\n{other}\n{{\"cut"),
        };
        if arguments["chunked"] != true {
            return reply(out, "200 OK", Some(kind), &body);
        }
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
        out.write(format!("{head}Content-Type: {kind}\r\n\r\n").as_bytes());
        for piece in body.as_bytes().chunks(70_001) {
            out.write(format!("{:x}\r\n", piece.len()).as_bytes());
            out.write(piece);
            out.write(b"\r\n");
        }
        out.write(b"0\r\n\r\n");
    });
    Front::each(&json!({"far": up.entry()}), &json!({}), |front| {
        for (path, tool) in SCOPES {
            let session = front.client(path).initialize();
            for (size, chunked) in [(3, false), (3, true), (400_000, false), (400_000, true)] {
                let ask = |how: &str| {
                    let arguments = json!({"how": how, "size": size, "chunked": chunked});
                    let params = json!({"name": tool, "arguments": arguments});
                    let (message, id) = session.message("tools/call", params);
                    let answers = session.post(&message).send(session.client.address()).expect(200);
                    let answers = answers.messages();
                    let own = answers.into_iter().find(|answer| answer["id"] == id);
                    own.unwrap_or_else(|| panic!("{path} {how} {size}: no answer"))
                };
                for how in
                    ["lines", "lines, one", "first", "last", "behind a large one", "cut behind it"]
                {
                    let answer = ask(how);
                    assert!(answer.get("result").is_some(), "{path} {how} {size} {chunked}");
                    assert_eq!(text(&answer).len(), size, "{path} {how} {size} {chunked}");
                }
                for how in ["lines, none", "none"] {
                    let answer = ask(how);
                    let says = answer["error"]["message"].as_str().unwrap_or_default();
                    assert!(says.contains("without an answer to the request"), "{how}: {answer}");
                }
            }
        }
    });
}
