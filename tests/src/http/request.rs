//! A request that a test sends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::{Connection, Incoming, Response};

/// A request. `Host`, `Connection` and `Content-Length` are added if the test does not set them.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
    source: Option<IpAddr>,
}

impl Request {
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            chunked: false,
            source: None,
        }
    }

    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    #[must_use]
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self::new("DELETE", path)
    }

    /// Sets a header, replacing one of the same name.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut request = self.without(name);
        request.headers.push((name.to_owned(), value.to_owned()));
        request
    }

    /// Sets a header beside those of the same name.
    #[must_use]
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn headers(self, headers: &[(String, String)]) -> Self {
        headers.iter().fold(self, |request, (name, value)| request.header(name, value))
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Sends it from this address of the machine.
    #[must_use]
    pub fn from(mut self, source: Option<IpAddr>) -> Self {
        self.source = source;
        self
    }

    /// Sends the body in chunks, without a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Sends it over a new connection and reads the whole response.
    #[must_use]
    pub fn send(&self, to: SocketAddr) -> Response {
        self.open(to).whole()
    }

    /// Like `send`, but a missing response is an error.
    ///
    /// # Errors
    /// If the peer does not answer.
    pub fn try_send(&self, to: SocketAddr) -> io::Result<Response> {
        self.try_open(to)?.try_whole()
    }

    /// Like `open`, but a missing response is an error.
    ///
    /// # Errors
    /// If the peer does not answer.
    pub fn try_open(&self, to: SocketAddr) -> io::Result<Incoming> {
        let mut connection = Connection::try_open_from(self.source, to)?;
        connection.write(&self.clone().header("Connection", "close"))?;
        connection.read_head()
    }

    /// Like `open`, with a deadline for each read, and an error where that panics.
    ///
    /// # Errors
    /// If the peer does not answer.
    pub fn try_open_within(&self, to: SocketAddr, limit: Duration) -> io::Result<Incoming> {
        let connection = Connection::try_open_from(self.source, to)?;
        let mut connection = connection.reads_within(limit);
        connection.write(&self.clone().header("Connection", "close"))?;
        connection.read_head()
    }

    /// Sends it over a new connection; the body is read as it arrives.
    #[must_use]
    pub fn open(&self, to: SocketAddr) -> Incoming {
        let mut connection = Connection::try_open_from(self.source, to)
            .unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
        connection
            .write(&self.clone().header("Connection", "close"))
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path));
        connection
            .read_head()
            .unwrap_or_else(|error| panic!("{} {}: no response: {error}", self.method, self.path))
    }

    fn is_set(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    pub(super) fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.is_set("host") {
            text.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            text.push_str("Transfer-Encoding: chunked\r\n");
        } else if !self.is_set("content-length") && (self.method == "POST" || !self.body.is_empty())
        {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if self.chunked {
            for chunk in self.body.chunks(8192) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}
