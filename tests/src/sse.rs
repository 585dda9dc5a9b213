//! Server-sent events, as the HTML standard defines them.

use std::io::{self, BufRead, ErrorKind};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time in which nothing comes but comments, which keep the connection from being silent.
const ONLY_COMMENTS: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub data: String,
}

impl Event {
    /// The data, in MCP one JSON-RPC message.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("the event holds no JSON ({error}): {}", self.data))
    }
}

/// The next event with data; `None` at the end of the stream. Skips comments and events that only
/// prime the stream.
pub fn next(stream: &mut impl BufRead) -> Option<Event> {
    loop {
        let event = try_next(stream).unwrap_or_else(|error| {
            panic!("no event came in time, or the stream broke: {error}")
        })?;
        if !event.data.is_empty() {
            return Some(event);
        }
    }
}

/// The next event, also one that only primes the stream; `None` at the end of the stream.
///
/// # Errors
/// If the stream breaks, or nothing comes in time.
pub fn try_next(stream: &mut impl BufRead) -> io::Result<Option<Event>> {
    let mut event = Event::default();
    let mut data: Vec<String> = Vec::new();
    let start = Instant::now();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            event.data = data.join("\n");
            if event.data.is_empty() && event.id.is_none() {
                if start.elapsed() > ONLY_COMMENTS {
                    return Err(io::Error::new(ErrorKind::TimedOut, "only comments come"));
                }
                (event, data) = (Event::default(), Vec::new());
                continue;
            }
            return Ok(Some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "id" => event.id = Some(value),
            "event" => event.kind = Some(value),
            "data" => data.push(value),
            _ => {}
        }
    }
}
