//! A client over HTTP+SSE that writes down what fails. It comes back to a stream that breaks, with
//! the id of the last event, as browsers and SDKs do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mooring_tests::Request;
use serde_json::{Value, json};

use super::client::Trouble;

const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an event may take; a keep-alive comes before.
const SILENCE: Duration = Duration::from_secs(40);

#[derive(Default)]
struct Came {
    endpoint: Option<String>,
    answers: BTreeMap<u64, Value>,
    told: bool,
    refused: Option<u16>,
}

#[derive(Default)]
struct Stream {
    came: Mutex<Came>,
    changed: Condvar,
    is_over: AtomicBool,
}

pub struct SseSession {
    address: SocketAddr,
    stream: Arc<Stream>,
    headers: Vec<(String, String)>,
    next: u64,
}

impl SseSession {
    pub fn begin(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Trouble> {
        let stream = Arc::new(Stream::default());
        let mut get = Request::get(path).header("Accept", "text/event-stream");
        for (name, value) in headers {
            get = get.header(name, value);
        }
        let reading = Arc::clone(&stream);
        std::thread::spawn(move || read(&reading, address, &get));
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = headers.iter().map(owned).collect();
        let mut session = Self { address, stream, headers, next: 1 };
        session.wait(|came| came.endpoint.clone())?;
        let params = json!({
            "protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": {"name": "mooring-failures", "version": "1"},
        });
        let id = session.ask("initialize", params)?;
        session.answer(id)?;
        session.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(session)
    }

    pub fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Trouble> {
        let id = self.start(tool, arguments)?;
        self.answer(id)
    }

    /// Posts a call; its answer comes later.
    pub fn start(&mut self, tool: &str, arguments: Value) -> Result<u64, Trouble> {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    pub fn answer(&self, id: u64) -> Result<Value, Trouble> {
        self.answer_within(id, PATIENCE)
    }

    pub fn answer_within(&self, id: u64, limit: Duration) -> Result<Value, Trouble> {
        let mut answer = self.wait_within(limit, |came| came.answers.get(&id).cloned())?;
        if answer["result"].is_object() {
            return Ok(answer["result"]["structuredContent"].take());
        }
        Err(Trouble::Error(answer["error"]["message"].to_string()))
    }

    pub fn is_told(&self) -> bool {
        self.stream.came.lock().unwrap().told
    }

    fn ask(&mut self, method: &str, params: Value) -> Result<u64, Trouble> {
        let id = self.next;
        self.next += 1;
        self.post(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    fn post(&self, message: &Value) -> Result<(), Trouble> {
        let endpoint = self.wait(|came| came.endpoint.clone())?;
        let request = Request::post(&endpoint).headers(&self.headers).json(message);
        let response = request.try_open_within(self.address, PATIENCE)?.try_whole()?;
        match response.status {
            202 => Ok(()),
            // The stream may be about to come back.
            404 if self.stream.came.lock().unwrap().refused.is_none() => {
                Err(Trouble::Connection("the session has no stream now".to_owned()))
            }
            404 => Err(Trouble::Unknown),
            status => Err(Trouble::Error(format!("{status} {}", response.text()))),
        }
    }

    fn wait<T>(&self, find: impl Fn(&Came) -> Option<T>) -> Result<T, Trouble> {
        self.wait_within(PATIENCE, find)
    }

    fn wait_within<T>(
        &self,
        limit: Duration,
        find: impl Fn(&Came) -> Option<T>,
    ) -> Result<T, Trouble> {
        let end = Instant::now() + limit;
        let mut came = self.stream.came.lock().unwrap();
        loop {
            if let Some(found) = find(&came) {
                return Ok(found);
            }
            if came.refused == Some(404) {
                return Err(Trouble::Unknown);
            }
            if Instant::now() > end {
                return Err(Trouble::Connection("nothing came on the stream".to_owned()));
            }
            came = self.stream.changed.wait_timeout(came, PAUSE).unwrap().0;
        }
    }
}

impl Drop for SseSession {
    fn drop(&mut self) {
        self.stream.is_over.store(true, Ordering::Relaxed);
    }
}

fn read(stream: &Stream, address: SocketAddr, get: &Request) {
    let mut last: Option<String> = None;
    while !stream.is_over.load(Ordering::Relaxed) {
        let get = match &last {
            Some(event) => get.clone().header("Last-Event-ID", event),
            None => get.clone(),
        };
        match get.try_open_within(address, SILENCE) {
            Ok(response) if response.status != 200 => {
                stream.came.lock().unwrap().refused = Some(response.status);
            }
            Ok(mut response) => {
                while let Ok(Some(event)) = response.try_event() {
                    last = event.id.clone().or(last.take());
                    take(stream, event.kind.as_deref(), event.data);
                    if stream.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
            Err(_) => {}
        }
        std::thread::sleep(PAUSE);
    }
}

fn take(stream: &Stream, kind: Option<&str>, data: String) {
    let mut came = stream.came.lock().unwrap();
    if kind == Some("endpoint") {
        came.endpoint = Some(data);
    } else if let Ok(message) = serde_json::from_str::<Value>(&data) {
        if message["method"] == "notifications/message" {
            came.told |= message["params"]["data"].to_string().contains("lost");
        }
        if let Some(id) = message["id"].as_u64().filter(|_| message.get("method").is_none()) {
            came.answers.insert(id, message);
        }
    }
    stream.changed.notify_all();
}
