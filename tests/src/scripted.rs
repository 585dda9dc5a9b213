//! An HTTP upstream that a test scripts, request by request.
//!
//! Requests that the script leaves alone are answered like a server of 2025-11-25 with sessions and
//! one tool, `ask`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::deadline::{PATIENCE, eventually};
use crate::mcp::REVISION;

/// Longest body in bytes; no test sends more.
const MAX_BODY: usize = 16 << 20;

/// A request of the gateway.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The certificate that the gateway has shown.
    pub certificate: Option<Vec<u8>>,
}

impl Asked {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The message in it; null if there is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The message's method; "" if it has none.
    #[must_use]
    pub fn rpc(&self) -> String {
        self.json()["method"].as_str().unwrap_or("").to_owned()
    }

    #[must_use]
    pub fn session(&self) -> &str {
        self.header("mcp-session-id").unwrap_or("")
    }

    /// Whether it belongs to a test's client rather than to the gateway's discovery.
    #[must_use]
    pub fn is_of_client(&self) -> bool {
        match self.rpc().as_str() {
            "initialize" => self.json()["params"]["clientInfo"]["name"] != "mooring",
            _ => self.session().starts_with("client-"),
        }
    }

    #[must_use]
    pub fn calls(&self, method: &str) -> bool {
        self.method == "POST" && self.rpc() == method && self.is_of_client()
    }
}

/// A connection of the gateway.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    /// Takes a connection, with a handshake if there is a configuration for it.
    fn of(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE * 3))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut wire = StreamOwned::new(session, stream);
        while wire.conn.is_handshaking() {
            wire.conn.complete_io(&mut wire.sock)?;
        }
        Ok(Self::Tls(Box::new(wire)))
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        let Self::Tls(wire) = self else { return None };
        Some(wire.conn.peer_certificates()?.first()?.to_vec())
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Drop for Wire {
    /// TLS says that it ends.
    fn drop(&mut self) {
        if let Self::Tls(wire) = self {
            wire.conn.send_close_notify();
            let _ = wire.flush();
        }
    }
}

/// The connection to answer on.
pub struct Out {
    stream: Wire,
    next_session: Arc<AtomicU64>,
}

impl Out {
    /// Sends a whole response; `headers` are lines without line ends.
    pub fn reply(mut self, status: &str, headers: &[&str], body: &[u8]) {
        let length = format!("Content-Length: {}", body.len());
        self.head(status, &[headers, &[&length]].concat());
        self.write(body);
    }

    pub fn json(self, body: &Value) {
        self.reply("200 OK", &["Content-Type: application/json"], body.to_string().as_bytes());
    }

    /// Answers a request with a result.
    pub fn result(self, asked: &Asked, result: &Value) {
        self.json(&json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": result}));
    }

    /// Begins an event stream that ends when the connection is dropped.
    #[must_use]
    pub fn events(self) -> Self {
        self.events_with(&[])
    }

    #[must_use]
    pub fn events_with(mut self, headers: &[&str]) -> Self {
        self.head("200 OK", &[headers, &["Content-Type: text/event-stream"]].concat());
        self
    }

    /// Writes bytes to the stream; false if the connection is closed.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    pub fn event(&mut self, message: &Value) -> bool {
        self.write(format!("event: message\ndata: {message}\n\n").as_bytes())
    }

    /// Waits until the gateway has closed the connection.
    pub fn wait_for_end(&mut self) {
        let mut rest = [0; 64];
        while matches!(self.stream.read(&mut rest), Ok(read) if read > 0) {}
    }

    fn head(&mut self, status: &str, headers: &[&str]) {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for line in headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.write(head.as_bytes());
    }

    /// Answers like a well-behaved server.
    pub fn as_usual(self, asked: &Asked) {
        match (asked.method.as_str(), asked.rpc().as_str()) {
            ("POST", "initialize") => {
                let number = self.next_session.fetch_add(1, Ordering::Relaxed);
                let who = if asked.is_of_client() { "client" } else { "gateway" };
                self.initialize(asked, &[&format!("Mcp-Session-Id: {who}-{number}")]);
            }
            ("POST", "tools/list") => {
                self.result(
                    asked,
                    &json!({"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}),
                );
            }
            ("POST", "tools/call") => self.result(asked, &said("as usual")),
            ("POST", _) if asked.json()["id"].is_null() || asked.rpc().is_empty() => {
                self.reply("202 Accepted", &[], b"");
            }
            ("POST", _) => self.result(asked, &json!({})),
            ("DELETE", _) => self.reply("200 OK", &[], b""),
            _ => self.reply("405 Method Not Allowed", &["Allow: POST, DELETE"], b""),
        }
    }

    /// Answers `initialize` with these headers.
    pub fn initialize(self, asked: &Asked, headers: &[&str]) {
        let result = json!({
            "protocolVersion": REVISION,
            "capabilities": {"tools": {"listChanged": true}, "logging": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        });
        let body = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": result});
        let headers = [headers, &["Content-Type: application/json"]].concat();
        self.reply("200 OK", &headers, body.to_string().as_bytes());
    }
}

/// A tool's result with one text.
#[must_use]
pub fn said(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

type Seen = Arc<Mutex<Vec<Asked>>>;

pub struct Scripted {
    address: SocketAddr,
    scheme: &'static str,
    seen: Seen,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Scripted {
    /// `script` answers a request, or returns the connection for the usual answer.
    #[must_use]
    pub fn start(script: impl Fn(&Asked, Out) -> Option<Out> + Send + Sync + 'static) -> Self {
        Self::start_with(None, script)
    }

    /// The same, over TLS if there is a configuration for it.
    #[must_use]
    pub fn start_with(
        tls: Option<ServerConfig>,
        script: impl Fn(&Asked, Out) -> Option<Out> + Send + Sync + 'static,
    ) -> Self {
        let tls = tls.map(Arc::new);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let seen = Seen::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let accepting = std::thread::spawn({
            let (seen, is_over) = (Arc::clone(&seen), Arc::clone(&is_over));
            let (script, next_session) = (Arc::new(script), Arc::new(AtomicU64::new(1)));
            move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                    let (next_session, tls) = (Arc::clone(&next_session), tls.clone());
                    // One request per connection: the thread ends with it.
                    std::thread::spawn(move || {
                        let Ok(mut stream) = Wire::of(stream, tls.as_ref()) else { return };
                        let Ok(asked) = read(&mut stream) else { return };
                        locked(&seen).push(asked.clone());
                        if let Some(out) = script(&asked, Out { stream, next_session }) {
                            out.as_usual(&asked);
                        }
                    });
                }
            }
        });
        Self { address, scheme, seen, is_over, accepting: Some(accepting) }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// An entry of `mcpServers` for it.
    #[must_use]
    pub fn entry(&self) -> Value {
        json!({"type": "streamable-http", "url": self.url("/mcp")})
    }

    /// All requests of clients so far, without the gateway's discovery.
    #[must_use]
    pub fn seen(&self) -> Vec<Asked> {
        locked(&self.seen).iter().filter(|asked| asked.is_of_client()).cloned().collect()
    }

    /// Every request so far.
    #[must_use]
    pub fn all(&self) -> Vec<Asked> {
        locked(&self.seen).clone()
    }

    /// Waits for a request.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_meant: impl Fn(&Asked) -> bool) -> Asked {
        eventually(what, || self.all().into_iter().find(|asked| is_meant(asked)))
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn read(stream: &mut Wire) -> io::Result<Asked> {
    let certificate = stream.certificate();
    let mut input = BufReader::new(stream);
    let first = line(&mut input)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let mut headers = Vec::new();
    loop {
        let line = line(&mut input)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut body = Vec::new();
    if value("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&line(&mut input)?, 16).map_err(io::Error::other)?;
            let chunk = exactly(&mut input, size)?;
            body.extend(chunk);
            line(&mut input)?;
            if size == 0 {
                break;
            }
        }
    } else {
        let length = value("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        body = exactly(&mut input, length)?;
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    Ok(Asked { method, path, headers, body, certificate })
}

fn exactly(input: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_BODY {
        return Err(io::Error::other("a body too large"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(body)
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn locked(seen: &Seen) -> MutexGuard<'_, Vec<Asked>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
