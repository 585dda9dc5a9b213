//! Servers that cannot take a request now: their `Retry-After` reaches the client, and the gateway
//! keeps it itself. And the reason why a URL without a type cannot be opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::{Front, OverSse, Scripted};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, gateway, text};

#[test]
fn the_wait_of_a_call_is_told_to_client_and_program() {
    for (status, number) in [("429 Too Many Requests", 429), ("503 Service Unavailable", 503)] {
        for body in ["slow down", r#"{"jsonrpc":"2.0","error":{"code":7,"message":"slow down"}}"#] {
            let far = Scripted::start(move |asked, out| {
                if asked.calls("tools/call") {
                    out.reply(status, &["Retry-After: 17"], body.as_bytes());
                    return None;
                }
                Some(out)
            });
            Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
                for (path, tool) in SCOPES {
                    let session = front.client(path).initialize();
                    let params = json!({"name": tool, "arguments": {}});
                    let response = session.try_request("tools/call", params.clone()).expect(200);
                    assert_eq!(response.header("retry-after"), Some("17"), "{status} {path}");
                    let error = &response.json()["error"];
                    assert!(error["message"].as_str().unwrap().contains("slow down"), "{error}");
                    assert_eq!(error["data"], json!({"status": number, "retryAfter": 17}));
                    // Nothing is wrong with the session.
                    assert_eq!(session.tools(), [tool]);
                }
                let mut over = OverSse::initialize(front.gateway().address(), "/sse/far");
                let answer = over.answer("tools/call", json!({"name": "ask", "arguments": {}}));
                assert_eq!(answer["error"]["data"]["retryAfter"], 17, "{answer}");
            });
        }
    }
}

#[test]
fn an_old_servers_wait_and_words_come_with_the_answer() {
    for (status, headers, body, expect) in [
        ("429 Too Many Requests", &["Retry-After: 9"][..], "slow down", "slow down"),
        ("422 No", &[], "no such city", "no such city"),
        ("400 No", &[], r#"{"jsonrpc":"2.0","error":{"code":7,"message":"no such"}}"#, "no such"),
        ("403 No", &[], "tok-123", "credentials"),
        ("200 OK", &[], r#"{"jsonrpc":"2.0","id":ID,"result":{"by":"the post"}}"#, "the post"),
    ] {
        let old = Old::start(move |id, out| {
            out.reply(status, headers, body.replace("ID", id).as_bytes());
        });
        let gateway = gateway(&old.entry());
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            let answer = ask(&session, tool);
            let says = answer.to_string();
            assert!(says.contains(expect) && !says.contains("tok-123"), "{status}: {says}");
            if !headers.is_empty() {
                assert_eq!(answer["error"]["data"]["retryAfter"], 9, "{says}");
            }
        }
    }
}

/// An HTTP+SSE server whose calls are answered by a test, in the response to the POST.
struct Old(Scripted);

impl Old {
    fn start(reply: impl Fn(&str, mooring_tests::scripted::Out) + Send + Sync + 'static) -> Self {
        let streams: Arc<std::sync::Mutex<Vec<std::sync::mpsc::Sender<Value>>>> = Arc::default();
        Self(Scripted::start(move |asked, out| {
            if asked.method == "GET" {
                let (sender, messages) = std::sync::mpsc::channel();
                let mut all = streams.lock().unwrap();
                all.push(sender);
                let number = all.len() - 1;
                drop(all);
                let mut out = out.events();
                out.write(format!("event: endpoint\ndata: /m?{number}\n\n").as_bytes());
                for message in messages {
                    if !out.event(&message) {
                        break;
                    }
                }
                return None;
            }
            let message = asked.json();
            let result = match message["method"].as_str() {
                Some("initialize") => json!({"protocolVersion": "2024-11-05",
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "o", "version": "1"}}),
                Some("tools/list") => {
                    json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]})
                }
                Some("tools/call") => {
                    reply(&message["id"].to_string(), out);
                    return None;
                }
                _ => Value::Null,
            };
            out.reply("202 Accepted", &[], b"");
            if !result.is_null() {
                let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
                let number: usize = asked.path.trim_start_matches("/m?").parse().unwrap();
                let _ = streams.lock().unwrap()[number].send(answer);
            }
            None
        }))
    }

    fn entry(&self) -> Value {
        json!({"type": "sse", "url": self.0.url("/sse")})
    }
}

/// As the Python SDK does beyond `max_sessions`.
#[test]
fn a_server_that_is_full_for_a_moment_is_asked_again() {
    for header in [&["Retry-After: 1"][..], &[]] {
        let refused = Arc::new(AtomicUsize::new(0));
        let far = Scripted::start({
            let refused = Arc::clone(&refused);
            move |asked, out| {
                if asked.calls("initialize") && refused.fetch_add(1, Ordering::AcqRel) == 0 {
                    out.reply("503 Service Unavailable", header, b"too many sessions");
                    return None;
                }
                Some(out)
            }
        });
        let gateway = gateway(&far.entry());
        for (path, tool) in SCOPES {
            refused.store(0, Ordering::Release);
            let began = Instant::now();
            let session = gateway.client(path).initialize();
            assert_eq!(text(&ask(&session, tool)), "as usual", "{path}");
            if !header.is_empty() {
                assert!(began.elapsed() >= Duration::from_secs(1), "it waits as it was told");
            }
        }
    }
}

#[test]
fn a_server_that_stays_full_says_when_to_come_back() {
    let far = Scripted::start(|asked, out| {
        if asked.calls("initialize") {
            out.reply("503 Service Unavailable", &["Retry-After: 120"], b"too many sessions");
            return None;
        }
        Some(out)
    });
    Front::each(&json!({"far": far.entry()}), &json!({}), |front| {
        let refused = front.client("/mcp/far").try_initialize();
        assert_eq!(refused.header("retry-after"), Some("120"), "{}", refused.text());
        assert!(refused.error_message().contains("too many sessions"), "{}", refused.text());
        let session = front.client("/mcp").initialize();
        let params = json!({"name": "far-ask", "arguments": {}});
        let response = session.try_request("tools/call", params).expect(200);
        assert_eq!(response.header("retry-after"), Some("120"));
        assert!(response.error_message().contains("too many sessions"));
    });
}

#[test]
fn the_transport_that_came_closest_gives_the_reason() {
    let ways = [
        // It speaks JSON-RPC, and says what is wrong.
        (
            "400 Bad Request",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"the key is missing"}}"#,
            "405 Method Not Allowed",
            &["refused initialize", "the key is missing"][..],
        ),
        ("404 Not Found", "no such route", "404 Not Found", &["no such route", "HTTP+SSE"]),
        ("405 Method Not Allowed", "", "403 Forbidden", &["405", "credentials"]),
        ("400 Bad Request", "the key is missing", "405 Not Allowed", &["the key is missing"]),
    ];
    for (post, body, get, expect) in ways {
        let far = Scripted::start(move |asked, out| {
            match asked.method.as_str() {
                "POST" => out.reply(post, &[], body.as_bytes()),
                _ => out.reply(get, &[], b"secret"),
            }
            None
        });
        Front::each(&json!({"far": {"url": far.url("/x")}}), &json!({}), |front| {
            let says = front.client("/mcp/far").try_initialize().error_message();
            for part in expect {
                assert!(says.contains(part), "{says}");
            }
        });
    }
}
