//! A client that writes down what fails instead of ending the test. It does what SDKs do: it keeps
//! its session, comes back to streams that break, and never repeats a call by itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mooring_tests::Request;
use mooring_tests::http::Incoming;
use serde_json::{Value, json};

const REVISION: &str = "2025-11-25";
/// Pause before a client comes back to a stream.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client tries to come back to the rest of an answer.
const COMES_BACK: Duration = Duration::from_secs(60);

/// Why there was no result.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The connection was refused or broke, or nothing came in time.
    Connection(String),
    /// The session is not known any more.
    Unknown,
    /// A JSON-RPC error, or another status.
    Error(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection(why) => write!(f, "connection: {why}"),
            Self::Unknown => f.write_str("404"),
            Self::Error(why) => f.write_str(why),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

/// What arrives besides the answer.
pub type Seen<'a> = &'a mut dyn FnMut(&Value);

/// A session of Streamable HTTP.
#[derive(Clone)]
pub struct Session {
    address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
    id: Option<String>,
    next: Arc<AtomicU64>,
}

impl Session {
    pub fn begin(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Trouble> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut session = Self {
            address,
            path: path.to_owned(),
            headers: headers.iter().map(owned).collect(),
            id: None,
            next: Arc::new(AtomicU64::new(1)),
        };
        let params = json!({
            "protocolVersion": REVISION, "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "mooring-failures", "version": "1"},
        });
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let response = session.post(&message).try_open_within(address, Duration::from_secs(60))?;
        let id = response.header("mcp-session-id").map(str::to_owned);
        let response = response.try_whole()?;
        let is_answered = || response.messages().iter().any(|answer| answer["result"].is_object());
        if response.status != 200 || !is_answered() {
            return Err(Trouble::Error(format!("{} {}", response.status, response.text())));
        }
        session.id = id;
        session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(session)
    }

    /// The text of a tool's structured result.
    pub fn call(
        &self,
        tool: &str,
        arguments: Value,
        limit: Duration,
        seen: Seen<'_>,
    ) -> Result<Value, Trouble> {
        let token = arguments["key"].clone();
        let params =
            json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": token}});
        let result = self.request("tools/call", params, limit, seen)?;
        Ok(result["structuredContent"].clone())
    }

    pub fn list(&self, limit: Duration) -> Result<Vec<String>, Trouble> {
        let result = self.request("tools/list", json!({}), limit, &mut |_| {})?;
        let tools = result["tools"].as_array().cloned().unwrap_or_default();
        Ok(tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect())
    }

    /// A request, whose answer is looked for where its stream goes on if it breaks.
    fn request(
        &self,
        method: &str,
        params: Value,
        limit: Duration,
        seen: Seen<'_>,
    ) -> Result<Value, Trouble> {
        let id = json!(self.next.fetch_add(1, Ordering::Relaxed));
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let response = self.post(&message).try_open_within(self.address, limit)?;
        if response.status == 404 {
            return Err(Trouble::Unknown);
        }
        let is_stream =
            response.header("content-type").is_some_and(|kind| kind.starts_with("text/event-"));
        if !is_stream {
            let response = response.try_whole()?;
            let answer = serde_json::from_slice(&response.body)
                .map_err(|_| Trouble::Error(format!("{} {}", response.status, response.text())))?;
            return result_of(answer);
        }
        let mut last = None;
        match read(response, &id, &mut last, seen) {
            Ok(Some(answer)) => result_of(answer),
            broken => self.resume(&id, last, broken.err(), seen),
        }
    }

    /// Comes back for the rest of an answer.
    fn resume(
        &self,
        id: &Value,
        mut last: Option<String>,
        broken: Option<std::io::Error>,
        seen: Seen<'_>,
    ) -> Result<Value, Trouble> {
        let begun = Instant::now();
        let why = broken.map_or("the stream has ended".to_owned(), |error| error.to_string());
        while let Some(event) = last.clone() {
            if begun.elapsed() > COMES_BACK {
                break;
            }
            std::thread::sleep(PAUSE);
            let get = self.get().header("Last-Event-ID", &event);
            let Ok(response) = get.try_open_within(self.address, COMES_BACK) else { continue };
            if response.status == 404 {
                return Err(Trouble::Unknown);
            }
            if response.status != 200 {
                continue;
            }
            if let Ok(Some(answer)) = read(response, id, &mut last, seen) {
                return result_of(answer);
            }
        }
        Err(Trouble::Connection(format!("{why}, and its rest did not come")))
    }

    /// Posts what has no answer.
    pub fn send(&self, message: &Value) -> Result<u16, Trouble> {
        let response = self.post(message).try_open_within(self.address, Duration::from_secs(30))?;
        Ok(response.status)
    }

    pub fn end(&self) {
        let request = Request::delete(&self.path);
        let _ = self.with(request).try_open_within(self.address, Duration::from_secs(10));
    }

    fn post(&self, message: &Value) -> Request {
        let request = Request::post(&self.path)
            .header("Accept", "application/json, text/event-stream")
            .json(message);
        self.with(request)
    }

    fn get(&self) -> Request {
        self.with(Request::get(&self.path).header("Accept", "text/event-stream"))
    }

    fn with(&self, request: Request) -> Request {
        let request = request.headers(&self.headers);
        match &self.id {
            Some(id) => {
                request.header("Mcp-Session-Id", id).header("MCP-Protocol-Version", REVISION)
            }
            None => request,
        }
    }

    /// Listens on the session's GET stream, and comes back to it when it breaks.
    pub fn listen(&self) -> Listener {
        let (heard, is_over) = (Arc::new(Heard::default()), Arc::new(AtomicBool::new(false)));
        let (session, to, over) = (self.clone(), Arc::clone(&heard), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || session.hear(&to, &over));
        Listener { heard, is_over, thread: Some(thread) }
    }

    fn hear(&self, heard: &Heard, is_over: &AtomicBool) {
        let mut last: Option<String> = None;
        while !is_over.load(Ordering::Relaxed) {
            let get = match &last {
                Some(event) => self.get().header("Last-Event-ID", event),
                None => self.get(),
            };
            if let Ok(mut response) = get.try_open_within(self.address, Duration::from_secs(2))
                && response.status == 200
            {
                heard.is_open.store(true, Ordering::Relaxed);
                self.hear_one(&mut response, &mut last, heard, is_over);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn hear_one(
        &self,
        response: &mut Incoming,
        last: &mut Option<String>,
        heard: &Heard,
        is_over: &AtomicBool,
    ) {
        while !is_over.load(Ordering::Relaxed) {
            let event = match response.try_event() {
                Ok(Some(event)) => event,
                // Nothing has come for a while: most streams are silent.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                _ => {
                    heard.breaks.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            };
            *last = event.id.or(last.take());
            if let Ok(message) = serde_json::from_str(&event.data) {
                heard.messages.lock().unwrap().push((Instant::now(), message));
            }
        }
    }
}

/// Reads a stream until the answer. `None` if it ends before.
fn read(
    mut response: Incoming,
    id: &Value,
    last: &mut Option<String>,
    seen: Seen<'_>,
) -> std::io::Result<Option<Value>> {
    while let Some(event) = response.try_event()? {
        *last = event.id.or(last.take());
        let Ok(message) = serde_json::from_str::<Value>(&event.data) else { continue };
        if message["id"] == *id && message.get("method").is_none() {
            return Ok(Some(message));
        }
        seen(&message);
    }
    Ok(None)
}

fn result_of(mut answer: Value) -> Result<Value, Trouble> {
    if answer["result"].is_object() {
        return Ok(answer["result"].take());
    }
    Err(Trouble::Error(answer["error"]["message"].to_string()))
}

/// What came on a GET stream.
#[derive(Default)]
pub struct Heard {
    pub is_open: AtomicBool,
    pub breaks: AtomicU64,
    pub messages: Mutex<Vec<(Instant, Value)>>,
}

impl Heard {
    /// Whether the client was told that state is lost.
    pub fn is_told(&self) -> bool {
        let messages = self.messages.lock().unwrap();
        messages.iter().any(|(_, message)| {
            message["method"] == "notifications/message"
                && message["params"]["data"].to_string().contains("lost")
        })
    }
}

/// A GET stream that is listened to; ends when dropped.
pub struct Listener {
    pub heard: Arc<Heard>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
