//! An MCP server that a test plays message by message, over each of the three transports.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::scripted::{Asked, Out, Scripted};

/// How the server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Stdio,
    Http,
    Sse,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Stdio, Self::Http, Self::Sse];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Sse => "sse",
        }
    }
}

/// Sends one text to the client of a session.
pub type Say<'a> = &'a mut dyn FnMut(String);

/// What the server does with a message: the number of its session, the message, and the way back.
type Play = dyn Fn(usize, &Value, Say<'_>) + Send + Sync;

/// A played server. It ends with this.
pub struct OddServer {
    reached: Reached,
    opened: Arc<AtomicUsize>,
}

/// Looks at each request first, and returns the connection of one that it lets through.
type Guard = dyn Fn(&Asked, Out) -> Option<Out> + Send + Sync;

enum Reached {
    Pipes(SocketAddr, Arc<AtomicBool>),
    Url(Scripted, &'static str),
}

impl OddServer {
    /// A server whose messages are written as they are. Over Streamable HTTP, what is said in answer
    /// to a notification or a response goes nowhere.
    #[must_use]
    pub fn start(way: Way, play: impl Fn(usize, &Value, Say<'_>) + Send + Sync + 'static) -> Self {
        let (play, opened): (Arc<Play>, _) = (Arc::new(play), Arc::<AtomicUsize>::default());
        let reached = match way {
            Way::Stdio => pipes(play, Arc::clone(&opened)),
            Way::Http | Way::Sse => remote(way, play, &opened, None, Arc::new(all_pass)),
        };
        Self { reached, opened }
    }

    /// A good server behind a URL that answers only what `guard` lets through, over TLS if there is a
    /// configuration for it.
    #[must_use]
    pub fn guarded(
        way: Way,
        tls: Option<ServerConfig>,
        guard: impl Fn(&Asked, Out) -> Option<Out> + Send + Sync + 'static,
    ) -> Self {
        let opened = Arc::<AtomicUsize>::default();
        let reached = remote(way, Arc::new(always_as_usual), &opened, tls, Arc::new(guard));
        Self { reached, opened }
    }

    /// All requests so far of one behind a URL.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        match &self.reached {
            Reached::Pipes(..) => Vec::new(),
            Reached::Url(server, _) => server.all(),
        }
    }

    /// A server that answers like a good one, where `odd` says nothing.
    #[must_use]
    pub fn good_but(
        way: Way,
        odd: impl Fn(&Value, Say<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start(way, move |_, message, say| {
            if !odd(message, say) {
                as_usual(message, say);
            }
        })
    }

    /// An entry of `mcpServers` for it.
    #[must_use]
    pub fn entry(&self) -> Value {
        match &self.reached {
            Reached::Pipes(address, _) => json!({
                "command": "mooring-verbatim-server", "args": ["relay", address.to_string()],
            }),
            Reached::Url(server, kind) => json!({"type": kind, "url": server.url("/mcp")}),
        }
    }

    /// How many sessions, or processes, were begun.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Acquire)
    }
}

impl Drop for OddServer {
    fn drop(&mut self) {
        if let Reached::Pipes(address, is_over) = &self.reached {
            is_over.store(true, Ordering::Release);
            drop(TcpStream::connect(address));
        }
    }
}

/// The text of an answer.
#[must_use]
pub fn answer(message: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string()
}

/// The result of `initialize` that grants what is asked for.
#[must_use]
pub fn initialized(message: &Value, capabilities: &Value) -> Value {
    json!({
        "protocolVersion": message["params"]["protocolVersion"],
        "capabilities": capabilities,
        "serverInfo": {"name": "odd", "version": "1"},
    })
}

/// Answers like a good server with one tool, `ask`.
pub fn as_usual(message: &Value, say: Say<'_>) {
    if message["id"].is_null() || message["method"].is_null() {
        return;
    }
    let result = match message["method"].as_str().unwrap_or("") {
        "initialize" => initialized(message, &json!({"tools": {"listChanged": true}})),
        "tools/list" => json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": "as usual"}]}),
        _ => json!({}),
    };
    say(answer(message, &result));
}

fn pipes(play: Arc<Play>, opened: Arc<AtomicUsize>) -> Reached {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    let is_over = Arc::<AtomicBool>::default();
    let over = Arc::clone(&is_over);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if over.load(Ordering::Acquire) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let number = opened.fetch_add(1, Ordering::AcqRel);
            let play = Arc::clone(&play);
            std::thread::spawn(move || {
                let mut out = stream.try_clone().expect("a second handle");
                for line in BufReader::new(stream).lines() {
                    let Ok(line) = line else { return };
                    let Ok(message) = serde_json::from_str(&line) else { continue };
                    let mut is_closed = false;
                    let mut say = |text: String| {
                        if text == CLOSE {
                            is_closed = true;
                        } else if !is_closed {
                            let _ = out.write_all(format!("{text}\n").as_bytes());
                        }
                    };
                    play(number, &message, &mut say);
                    if is_closed {
                        return;
                    }
                }
            });
        }
    });
    Reached::Pipes(address, is_over)
}

/// Said by a server on pipes, it ends the process.
pub const CLOSE: &str = "close";

fn always_as_usual(_: usize, message: &Value, say: Say<'_>) {
    as_usual(message, say);
}

#[allow(clippy::unnecessary_wraps, reason = "a guard may refuse")]
fn all_pass(_: &Asked, out: Out) -> Option<Out> {
    Some(out)
}

fn remote(
    way: Way,
    play: Arc<Play>,
    opened: &Arc<AtomicUsize>,
    tls: Option<ServerConfig>,
    guard: Arc<Guard>,
) -> Reached {
    let opened = Arc::clone(opened);
    match way {
        Way::Sse => Reached::Url(sse(play, opened, tls, guard), "sse"),
        Way::Http | Way::Stdio => Reached::Url(http(play, opened, tls, guard), "streamable-http"),
    }
}

fn http(
    play: Arc<Play>,
    opened: Arc<AtomicUsize>,
    tls: Option<ServerConfig>,
    guard: Arc<Guard>,
) -> Scripted {
    Scripted::start_with(tls, move |asked: &Asked, out: Out| {
        let mut out = guard(asked, out)?;
        if asked.method != "POST" {
            return Some(out);
        }
        let message = asked.json();
        let is_initialize = asked.rpc() == "initialize";
        let number = if is_initialize {
            opened.fetch_add(1, Ordering::AcqRel)
        } else {
            asked.session().rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
        };
        let mut said = Vec::new();
        play(number, &message, &mut |text| said.push(text));
        if message["id"].is_null() || message["method"].is_null() {
            out.reply("202 Accepted", &[], b"");
            return None;
        }
        let who = if asked.is_of_client() { "client" } else { "gateway" };
        let session = format!("Mcp-Session-Id: {who}-{number}");
        let headers = if is_initialize { vec![&*session] } else { Vec::new() };
        if let [only] = &said[..] {
            let headers = [&headers[..], &["Content-Type: application/json"]].concat();
            out.reply("200 OK", &headers, only.as_bytes());
            return None;
        }
        out = out.events_with(&headers);
        for text in said {
            out.write(format!("event: message\ndata: {text}\n\n").as_bytes());
        }
        // Without an answer the stream stays open.
        out.wait_for_end();
        None
    })
}

type Streams = Arc<Mutex<HashMap<String, (usize, Sender<String>)>>>;

fn sse(
    play: Arc<Play>,
    opened: Arc<AtomicUsize>,
    tls: Option<ServerConfig>,
    guard: Arc<Guard>,
) -> Scripted {
    let streams = Streams::default();
    let next = AtomicU64::new(1);
    Scripted::start_with(tls, move |asked: &Asked, out: Out| {
        let out = guard(asked, out)?;
        let locked = || streams.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.method == "GET" {
            let id = next.fetch_add(1, Ordering::Relaxed).to_string();
            let number = opened.fetch_add(1, Ordering::AcqRel);
            let (sender, messages) = channel();
            locked().insert(id.clone(), (number, sender));
            let mut out = out.events();
            out.write(format!("event: endpoint\ndata: /messages?s={id}\n\n").as_bytes());
            for text in messages {
                if !out.write(format!("event: message\ndata: {text}\n\n").as_bytes()) {
                    break;
                }
            }
            return None;
        }
        let id = asked.path.rsplit_once('=').map_or("", |(_, id)| id);
        let stream = locked().get(id).cloned();
        let Some((number, stream)) = stream else {
            out.reply("404 Not Found", &[], b"");
            return None;
        };
        out.reply("202 Accepted", &[], b"Accepted");
        play(number, &asked.json(), &mut |text| drop(stream.send(text)));
        None
    })
}
