//! Answers of an upstream that are too large to be read whole before they go on: judged while they pass.

use mooring_tests::Front;
use mooring_tests::scripted::said;
use serde_json::{Value, json};

use crate::remote::judged::{reply, upstream};
use crate::remote::upstreams::{SCOPES, text};

#[test]
fn a_large_answer_is_watched_while_it_passes() {
    const LARGE: usize = 400_000;
    let up = upstream(|asked, mut out| {
        let json = asked.json();
        let how = json["params"]["arguments"]["how"].as_str().unwrap();
        let id = if how == "of another" { json!(99) } else { json["id"].clone() };
        let result = said(&"x".repeat(LARGE)).to_string();
        let mut body = format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#);
        if how == "cut" {
            body.truncate(LARGE);
        }
        if how == "a page" {
            body = format!("<html>{}", "x".repeat(LARGE));
        }
        out.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
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
            let ask = |how: &str| {
                let params = json!({"name": tool, "arguments": {"how": how}});
                session.post(&session.message("tools/call", params).0)
            };
            let whole = ask("whole").send(session.client.address()).expect(200);
            assert_eq!(whole.header("content-type"), Some("application/json"));
            assert_eq!(text(&whole.json()).len(), LARGE, "{path}");
            for how in ["of another", "cut"] {
                let broken = ask(how).try_send(session.client.address());
                let reads = broken.is_ok_and(|response| {
                    serde_json::from_slice::<Value>(&response.body)
                        .is_ok_and(|answer| answer.get("result").is_some())
                });
                assert!(!reads, "{path}: an answer that is {how} is not taken for one");
            }
            let page = ask("a page").send(session.client.address()).expect(200).json();
            assert!(page["error"]["message"].as_str().unwrap().contains("<html>xxx"), "{path}");
        }
    });
}

#[test]
fn a_large_answer_goes_out_under_the_requests_id() {
    let up = upstream(|asked, out| {
        let json = asked.json();
        let (id, how) = (&json["id"], json["params"]["arguments"]["how"].as_str().unwrap());
        let text = id.as_str().map_or(id.to_string(), str::to_owned);
        let result = said(&"x".repeat(400_000)).to_string();
        let error = json!({"code": 5, "message": "x".repeat(400_000)}).to_string();
        let body = match how {
            "a text, last" => format!(r#"{{"jsonrpc":"2.0","result":{result},"id":"{text}"}}"#),
            "a text, first" => format!(r#"{{"jsonrpc":"2.0","id":"{text}","result":{result}}}"#),
            "a number, last" => format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{text}}}"#),
            "a fraction" => format!(r#"{{"jsonrpc":"2.0","result":{result},"id":{text}.0}}"#),
            "a null error" => {
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result},"error":null}}"#)
            }
            "an error for null" => format!(r#"{{"jsonrpc":"2.0","error":{error},"id":null}}"#),
            "an error without id" => format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#),
            "behind it" => {
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}} and more"#)
            }
            _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        };
        let status = if how == "called an error" { "400 Bad Request" } else { "200 OK" };
        reply(out, status, Some("application/json"), &body);
    });
    Front::each(&json!({"far": up.entry()}), &json!({}), |front| {
        for (path, tool) in SCOPES {
            let session = front.client(path).initialize();
            for id in [json!(7), json!("8")] {
                let ask = |how: &str| {
                    let params = json!({"name": tool, "arguments": {"how": how}});
                    let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                        "params": params});
                    session.post(&message)
                };
                let address = session.client.address();
                for how in [
                    "a text, last",
                    "a text, first",
                    "a number, last",
                    "a fraction",
                    "a null error",
                    "called an error",
                ] {
                    let answer = ask(how).send(address).expect(200);
                    assert_eq!(answer.header("content-type"), Some("application/json"), "{how}");
                    let answer = answer.json();
                    assert_eq!(answer["id"], id, "{path} {how}");
                    assert_eq!(text(&answer).len(), 400_000, "{path} {how}");
                    assert!(answer.get("error").is_none(), "{path} {how}");
                }
                for how in ["an error for null", "an error without id"] {
                    let answer = ask(how).send(address).expect(200).json();
                    assert_eq!(
                        (&answer["id"], &answer["error"]["code"]),
                        (&id, &json!(5)),
                        "{how}"
                    );
                }
                let broken = ask("behind it").try_send(address);
                let reads = broken
                    .is_ok_and(|response| serde_json::from_slice::<Value>(&response.body).is_ok());
                assert!(!reads, "{path}: what is followed by something is no answer");
            }
        }
    });
}
