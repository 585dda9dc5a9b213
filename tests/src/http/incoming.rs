//! A response while it arrives.

use std::io::{self, BufRead as _, BufReader, Read};
use std::net::TcpStream;

use serde_json::Value;

use crate::sse::{self, Event};

use super::Response;
use super::body::{Body, Length};

/// A response whose body is still to come.
pub struct Incoming {
    pub status: u16,
    headers: Vec<(String, String)>,
    body: BufReader<Body>,
}

impl Incoming {
    pub(super) fn read(stream: TcpStream) -> io::Result<Self> {
        // Read a byte at a time: what follows the head belongs to the body.
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if (&stream).read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status line: {head}")))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let length = if value("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            Length::Chunked { left: 0, begun: false }
        } else if let Some(length) = value("content-length").and_then(|v| v.parse().ok()) {
            Length::Known(length)
        } else if matches!(status, 204 | 304) || (status == 202 && value("connection").is_none()) {
            Length::Known(0)
        } else {
            Length::UntilEnd
        };
        Ok(Self { status, headers, body: BufReader::new(Body::new(stream, length)) })
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The next event of a stream; `None` at its end.
    pub fn next_event(&mut self) -> Option<Event> {
        sse::next(&mut self.body)
    }

    /// The next event of a stream, also one that only primes it; `None` at its end.
    ///
    /// # Errors
    /// If the stream breaks, or nothing comes in time.
    pub fn try_event(&mut self) -> io::Result<Option<Event>> {
        sse::try_next(&mut self.body)
    }

    /// The next raw line of a stream; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.body.read_line(&mut line).expect("a line in time");
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// The next message of a stream that the predicate accepts; earlier ones are skipped.
    pub fn message(&mut self, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.event().json();
            if is_meant(&message) {
                return message;
            }
        }
    }

    /// The next event of a stream that must not have ended.
    pub fn event(&mut self) -> Event {
        self.next_event().expect("the stream ended where an event was expected")
    }

    /// Reads the rest of the response.
    #[must_use]
    pub fn whole(self) -> Response {
        self.try_whole().unwrap_or_else(|error| panic!("the response broke off: {error}"))
    }

    /// Reads the rest of the response.
    ///
    /// # Errors
    /// If it breaks off.
    pub fn try_whole(mut self) -> io::Result<Response> {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body)?;
        Ok(Response { status: self.status, headers: self.headers, body })
    }
}
