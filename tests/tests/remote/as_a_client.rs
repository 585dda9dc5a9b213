//! What any HTTP client does, and the gateway as well: it says who it is, follows redirects to where
//! it may, and reads what is compressed.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use mooring_tests::scripted::{Asked, Out, said};
use mooring_tests::{Front, Gateway, Scripted, settings};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, answer_to, ask, gateway, text};

#[test]
fn every_request_says_who_sends_it_and_asks_for_no_coding() {
    let far = Scripted::start(|_, out| Some(out));
    let own = json!({"headers": {"User-Agent": "mine/1", "Accept-Encoding": "gzip"}});
    let servers = json!({
        "far": far.entry(), "sse": {"type": "sse", "url": far.url("/sse")},
        "own": settings::merged(far.entry(), own),
    });
    Front::each(&servers, &json!({}), |front| {
        for name in ["far", "own"] {
            let session = front.client(&format!("/mcp/{name}")).initialize();
            assert_eq!(text(&ask(&session, "ask")), "as usual");
            drop(session.listen());
            session.delete().expect(200);
        }
        far.wait_for("the good-bye", |asked| asked.method == "DELETE");
    });
    let usual = Some(concat!("mooring/", env!("CARGO_PKG_VERSION")));
    let all = far.all();
    for method in ["POST", "GET", "DELETE"] {
        let of_method = || all.iter().filter(|asked| asked.method == method);
        let with = |agent, coding| {
            of_method().any(|asked| {
                asked.header("user-agent") == agent && asked.header("accept-encoding") == coding
            })
        };
        assert!(with(usual, Some("identity")), "{method}");
        assert!(with(Some("mine/1"), Some("gzip")), "{method}");
        assert!(of_method().all(|asked| asked.header("user-agent").is_some()), "{method}");
    }
    assert!(all.iter().any(|asked| asked.path == "/sse" && asked.method == "GET"));
}

#[test]
fn redirects_within_the_origin_are_followed_with_method_and_body() {
    type Place = fn(&str) -> String;
    let ways: [(&str, Place); 4] = [
        ("307 Temporary Redirect", |origin| format!("{origin}/mcp/")),
        ("308 Permanent Redirect", |_| "/mcp/".to_owned()),
        ("307 Temporary Redirect", |_| "mcp/?a=b".to_owned()),
        ("308 Permanent Redirect", |origin| format!("{}/mcp/", origin.replace("http://", "//"))),
    ];
    for (status, place) in ways {
        let far = Scripted::start(move |asked, out| {
            if !asked.path.starts_with("/mcp/") {
                let origin = format!("http://{}", asked.header("host").unwrap());
                let place = format!("Location: {}", place(&origin));
                out.reply(status, &[&place, "Content-Type: text/html"], b"<p>moved</p>");
                return None;
            }
            Some(out)
        });
        Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
            for (path, tool) in SCOPES {
                let session = front.client(path).initialize();
                assert_eq!(text(&ask(&session, tool)), "as usual", "{status} {path}");
                assert_eq!(session.tools(), [tool]);
                session.delete().expect(200);
            }
        });
        far.wait_for("the good-bye, where it was opened", |asked| {
            asked.method == "DELETE" && asked.path.starts_with("/mcp/")
        });
        let seen = far.seen();
        let calls = seen.iter().filter(|asked| asked.calls("tools/call"));
        assert!(calls.clone().count() >= 4, "{status}");
        for call in calls {
            assert!(call.path.starts_with("/mcp/"), "a session stays where it was opened");
        }
    }
}

/// A redirect of a single request in a session that was opened without one.
#[test]
fn a_call_is_redirected_also_when_it_takes_long() {
    for pause in [0, 1300] {
        let far = Scripted::start(move |asked, out| {
            if asked.calls("tools/call") && asked.path == "/mcp" {
                std::thread::sleep(std::time::Duration::from_millis(pause));
                out.reply("307 Temporary Redirect", &["Location: /elsewhere"], b"");
                return None;
            }
            Some(out)
        });
        let gateway = gateway(&far.entry());
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual", "{pause} ms {path}");
        }
    }
}

#[test]
fn other_redirects_are_refused_by_name() {
    let other = Scripted::start(|_, out| Some(out));
    let elsewhere = format!("http://user:pass@{}/mcp?key=secret", other.address());
    let ways = [
        ("307 Temporary Redirect", elsewhere.clone()),
        ("308 Permanent Redirect", elsewhere.clone()),
        ("307 Temporary Redirect", "https://127.0.0.1:1/mcp".to_owned()),
        ("302 Found", "/mcp/".to_owned()),
        ("301 Moved Permanently", elsewhere),
        ("303 See Other", "/done".to_owned()),
        // Without end.
        ("307 Temporary Redirect", "/loop".to_owned()),
    ];
    for (status, place) in ways {
        let far = Scripted::start(move |asked, out| {
            if asked.calls("tools/call") || asked.path != "/mcp" {
                out.reply(status, &[&format!("Location: {place}")], b"");
                return None;
            }
            Some(out)
        });
        let gateway = Gateway::start_with(&settings::standalone(json!({
            "far": settings::merged(far.entry(), json!({"headers": {"Authorization": "Bearer x"}})),
            "lost": {"type": "streamable-http", "url": far.url("/x")},
            "sse": {"type": "sse", "url": far.url("/x")},
        })));
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            let answer = ask(&session, tool);
            let says = answer["error"]["message"].as_str().unwrap();
            assert!(says.contains("redirects") && says.contains(&status[..3]), "{says}");
            assert!(!says.contains("pass@") && !says.contains("secret"), "{says}");
        }
        for name in ["lost", "sse"] {
            let refused = gateway.client(&format!("/mcp/{name}")).try_initialize();
            let says = refused.error_message();
            assert!(says.contains("redirects") && says.contains(name), "{says}");
        }
        let calls = far.seen().iter().filter(|asked| asked.calls("tools/call")).count();
        assert!(calls <= 12, "{status}: followed {calls} times");
    }
    assert!(other.all().is_empty(), "no credentials leave the origin");
}

/// An HTTP+SSE server that redirects what has no slash at its end.
#[test]
fn an_old_server_may_redirect_its_stream_and_its_messages() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        follows(status, status);
    }
    // What only GET is sent on with.
    for status in ["301 Moved Permanently", "302 Found", "303 See Other"] {
        follows(status, "307 Temporary Redirect");
    }
}

/// A stream that is redirected so, and messages likewise.
fn follows(stream: &'static str, messages: &'static str) {
    let streams: Arc<Mutex<HashMap<String, Sender<Value>>>> = Arc::default();
    let old = Scripted::start(move |asked, out| {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        match (asked.method.as_str(), path) {
            (_, "/old/sse" | "/old/messages") => {
                let place = format!("Location: {path}/?{query}");
                let status = if path == "/old/sse" { stream } else { messages };
                out.reply(status, &[&place], b"");
            }
            ("POST", "/old/sse/") => out.reply("405 Method Not Allowed", &["Allow: GET"], b""),
            ("GET", "/old/sse/") => {
                let (sender, messages) = channel();
                let mut streams = streams.lock().unwrap();
                let id = streams.len().to_string();
                streams.insert(id.clone(), sender);
                drop(streams);
                let mut out = out.events();
                out.write(format!("event: endpoint\ndata: ../messages?s={id}\n\n").as_bytes());
                for message in messages {
                    if !out.event(&message) {
                        break;
                    }
                }
            }
            _ => {
                let message = asked.json();
                let result = match message["method"].as_str() {
                    Some("initialize") => json!({"protocolVersion": "2024-11-05",
                        "capabilities": {"tools": {}}, "serverInfo": {"name": "o", "version": "1"}}),
                    Some("tools/list") => {
                        json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]})
                    }
                    _ => said("as usual"),
                };
                out.reply("202 Accepted", &[], b"Accepted");
                if !message["id"].is_null() {
                    let id = query.trim_start_matches("s=");
                    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
                    let _ = streams.lock().unwrap()[id].send(answer);
                }
            }
        }
        None
    });
    // Whether or not the settings say what it is.
    for entry in
        [json!({"type": "sse", "url": old.url("/old/sse")}), json!({"url": old.url("/old/sse")})]
    {
        let gateway = gateway(&entry);
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual", "{stream} {path} {entry}");
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn raw(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

type Encode = fn(&[u8]) -> Vec<u8>;

/// A server that compresses everything, whatever it is asked for.
fn compressing(coding: &'static str, encode: Encode) -> Scripted {
    Scripted::start(move |asked, out| {
        let header = format!("Content-Encoding: {coding}");
        let reply = |out: Out, body: &Value, more: &[&str]| {
            let body = encode(body.to_string().as_bytes());
            let headers = [&[header.as_str(), "Content-Type: application/json"], more].concat();
            out.reply("200 OK", &headers, &body);
        };
        let id = asked.json()["id"].clone();
        let arguments = asked.json()["params"]["arguments"].clone();
        match (asked.rpc().as_str(), arguments["how"].as_str().unwrap_or("")) {
            ("initialize", _) => {
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "z", "version": "1"}});
                let who = if asked.is_of_client() { "client" } else { "gateway" };
                let session = format!("Mcp-Session-Id: {who}-1");
                reply(out, &json!({"jsonrpc": "2.0", "id": id, "result": result}), &[&session]);
            }
            ("tools/list", _) => {
                let tools = json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]});
                reply(out, &json!({"jsonrpc": "2.0", "id": id, "result": tools}), &[]);
            }
            ("tools/call", "events") => {
                let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": "x"}});
                let events =
                    [log, answer_to(asked, "by events")].map(|m| format!("data: {m}\n\n")).concat();
                let mut out = out.events_with(&[&header]);
                for piece in encode(events.as_bytes()).chunks(7) {
                    out.write(piece);
                }
            }
            ("tools/call", "error") => {
                let error = json!({"jsonrpc": "2.0", "error": {"code": 1, "message": "in words"}});
                let body = encode(error.to_string().as_bytes());
                out.reply("400 Bad Request", &[&header], &body);
            }
            ("tools/call", "large") => reply(out, &answer_to(asked, &"y".repeat(3_000_000)), &[]),
            ("tools/call", "bomb") => {
                let blank = vec![b' '; 80 << 20];
                out.reply("200 OK", &[&header, "Content-Type: application/json"], &encode(&blank));
            }
            ("tools/call", _) => reply(out, &answer_to(asked, "whole"), &[]),
            _ => return Some(out),
        }
        None
    })
}

#[test]
fn what_is_compressed_unasked_is_read() {
    let codings: [(&str, Encode); 3] = [("gzip", gzip), ("deflate", zlib), ("deflate", raw)];
    for (coding, encode) in codings {
        let far = compressing(coding, encode);
        Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
            for (path, tool) in SCOPES {
                let session = front.client(path).initialize();
                assert_eq!(session.tools(), [tool], "{coding}");
                let call = |how: &str| {
                    let params = json!({"name": tool, "arguments": {"how": how}});
                    session.answer("tools/call", params)
                };
                assert_eq!(text(&call("whole")), "whole", "{coding} {path}");
                assert_eq!(text(&call("events")), "by events", "{coding} {path}");
                assert_eq!(call("error")["error"]["message"], "in words", "{coding} {path}");
                assert_eq!(text(&call("large")).len(), 3_000_000, "{coding} {path}");
            }
        });
    }
}

/// 80 KiB that would become 80 MiB.
#[test]
fn a_small_body_does_not_become_a_huge_one() {
    let far = compressing("gzip", gzip);
    let gateway = gateway(&far.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        let params = json!({"name": tool, "arguments": {"how": "bomb"}});
        let answer = session.answer("tools/call", params);
        assert!(answer["error"].is_object(), "{path}");
        let params = json!({"name": tool, "arguments": {"how": "whole"}});
        assert_eq!(text(&session.answer("tools/call", params)), "whole", "it goes on");
    }
}

#[test]
fn a_coding_that_cannot_be_read_is_named() {
    let far = Scripted::start(|asked: &Asked, out| {
        if asked.calls("tools/call") {
            let headers = ["Content-Encoding: br", "Content-Type: application/json"];
            out.reply("200 OK", &headers, b"\x1b\x02\x80not really brotli");
            return None;
        }
        Some(out)
    });
    Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
        for (path, tool) in SCOPES {
            let session = front.client(path).initialize();
            let answer = ask(&session, tool);
            let says = answer["error"]["message"].as_str().unwrap();
            assert!(says.contains("Content-Encoding br"), "{says}");
        }
    });
}
