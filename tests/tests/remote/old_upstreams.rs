//! Upstreams with the older transport, HTTP+SSE, and URLs without a named transport.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use mooring_tests::Scripted;
use mooring_tests::scripted::said;
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, gateway, text};

/// An HTTP+SSE server with an endpoint that the test chooses.
pub struct Old {
    pub server: Scripted,
    streams: Streams,
}

type Streams = Arc<Mutex<HashMap<String, Sender<Value>>>>;

impl Old {
    /// `endpoint` gets the server's origin and the session.
    pub fn start(
        endpoint: impl Fn(&str, &str) -> String + Send + Sync + 'static,
        post: &'static str,
    ) -> Self {
        let streams = Streams::default();
        let number = AtomicUsize::new(0);
        let held = Arc::clone(&streams);
        let server = Scripted::start(move |asked, out| {
            match (asked.method.as_str(), asked.path.split('?').next().unwrap_or("")) {
                ("GET", "/sse") => {
                    let id = format!("s{}", number.fetch_add(1, Ordering::Relaxed));
                    let (sender, messages) = channel();
                    held.lock().unwrap().insert(id.clone(), sender);
                    let origin = format!("http://{}", asked.header("host").unwrap());
                    let mut out = out.events();
                    out.write(
                        format!("event: endpoint\ndata: {}\n\n", endpoint(&origin, &id)).as_bytes(),
                    );
                    for message in messages {
                        if !out.event(&message) {
                            break;
                        }
                    }
                }
                ("POST", "/messages") => {
                    let id = asked.path.rsplit_once('=').map_or("", |(_, id)| id).to_owned();
                    let streams = held.lock().unwrap();
                    let Some(stream) = streams.get(&id) else {
                        out.reply("404 Not Found", &[], b"Could not find session");
                        return None;
                    };
                    let message = asked.json();
                    let result = match message["method"].as_str() {
                        Some("initialize") => json!({
                            "protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                            "serverInfo": {"name": "old", "version": "1"},
                        }),
                        Some("tools/list") => {
                            json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]})
                        }
                        _ => said(&id),
                    };
                    out.reply("202 Accepted", &[], b"Accepted");
                    if !message["id"].is_null() {
                        let answer =
                            json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
                        let _ = stream.send(answer);
                    }
                }
                ("POST", _) => out.reply(post, &[], b"Cannot POST"),
                _ => out.reply("404 Not Found", &[], b""),
            }
            None
        });
        Self { server, streams }
    }

    pub fn entry(&self) -> Value {
        json!({"type": "sse", "url": self.server.url("/sse")})
    }

    fn tries_of_streamable_http(&self) -> usize {
        let all = self.server.all();
        all.iter().filter(|asked| asked.method == "POST" && asked.path == "/sse").count()
    }
}

pub const NOT_ALLOWED: &str = "405 Method Not Allowed";

#[test]
fn an_old_servers_endpoint_is_used_as_it_is() {
    let ways: [fn(&str, &str) -> String; 4] = [
        |_, id| format!("/messages?sessionId={id}"),
        |_, id| format!("/messages?session_id={id}"),
        |origin, id| format!("{origin}/messages?sessionId={id}"),
        |_, id| format!("messages?a=%2F&sessionId={id}"),
    ];
    for endpoint in ways {
        let old = Old::start(endpoint, NOT_ALLOWED);
        let gateway = gateway(&old.entry());
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            let first = ask(&session, tool);
            assert_eq!(text(&ask(&session, tool)), text(&first), "one session, one stream");
            session.delete().expect(200);
        }
        let posts = old.server.all().into_iter().filter(|asked| asked.method == "POST");
        let expected = endpoint("", "s").replace("http://", "");
        let expected = expected.trim_start_matches('/').trim_end_matches('s').to_owned();
        for asked in posts {
            assert!(asked.path.starts_with(&format!("/{expected}")), "{} {expected}", asked.path);
        }
    }
}

#[test]
fn an_endpoint_at_another_origin_is_refused() {
    let other = Scripted::start(|_, out| Some(out));
    let elsewhere = other.address();
    let old =
        Old::start(move |_, id| format!("http://{elsewhere}/messages?sessionId={id}"), NOT_ALLOWED);
    let gateway = gateway(&old.entry());
    let refused = gateway.client("/mcp/far").try_initialize();
    assert!(refused.error_message().contains("another origin"), "{}", refused.text());
    assert!(other.all().is_empty(), "nothing is sent there");
}

#[test]
fn an_old_server_whose_stream_ended_is_opened_again_by_the_next_call() {
    let old = Old::start(|_, id| format!("/messages?sessionId={id}"), NOT_ALLOWED);
    let gateway = gateway(&old.entry());
    for (path, tool) in SCOPES {
        let session = gateway.client(path).initialize();
        let first = ask(&session, tool);
        old.streams.lock().unwrap().remove(text(&first)).expect("its stream");
        // If the gateway has not noticed the end yet, this call gets an error.
        let again = mooring_tests::eventually("it is open again", || {
            let answer = ask(&session, tool);
            answer.get("result").is_some().then_some(answer)
        });
        assert_ne!(text(&again), text(&first), "{path}");
    }
}

#[test]
fn a_url_without_type_is_tried_both_ways_and_the_right_one_remembered() {
    for post in [NOT_ALLOWED, "404 Not Found"] {
        let old = Old::start(|_, id| format!("/messages?sessionId={id}"), post);
        let gateway = gateway(&json!({"url": old.server.url("/sse")}));
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            ask(&session, tool)["result"].as_object().expect("a result");
        }
        let tries = old.tries_of_streamable_http();
        assert!(tries >= 1, "the newer transport is tried first");
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            ask(&session, tool)["result"].as_object().expect("a result");
        }
        assert_eq!(old.tries_of_streamable_http(), tries, "{post}: it is known now");
    }
}

#[test]
fn a_url_where_nobody_speaks_the_protocol_is_told_with_both_reasons() {
    let far = Scripted::start(|_, out| {
        out.reply("404 Not Found", &["Content-Type: text/html"], b"<h1>Not Found</h1>");
        None
    });
    let gateway = gateway(&json!({"url": far.url("/x")}));
    let refused = gateway.client("/mcp/far").try_initialize();
    let says = refused.error_message();
    assert!(says.contains("Streamable HTTP") && says.contains("HTTP+SSE"), "{says}");
}
