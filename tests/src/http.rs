//! HTTP/1.1 over a socket: every header is the test's own, nothing is added
//! behind its back except what it did not set itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::deadline::PATIENCE;
use crate::sse::{self, Event};

/// A request; `Host`, `Connection` and `Content-Length` are filled in where the
/// test says nothing of them.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
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

    /// Sets a header, in place of one of that name.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut request = self.without(name);
        request.headers.push((name.to_owned(), value.to_owned()));
        request
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

    /// Sends the body in chunks, without saying its length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Sends it over a connection of its own and reads the whole response.
    #[must_use]
    pub fn send(&self, to: SocketAddr) -> Response {
        self.open(to).whole()
    }

    /// The response, or why there is none.
    ///
    /// # Errors
    /// If the peer does not answer.
    pub fn try_send(&self, to: SocketAddr) -> io::Result<Response> {
        let mut connection = Connection::try_open(to)?;
        connection.write(&self.clone().header("Connection", "close"))?;
        connection.read_head()?.try_whole()
    }

    /// Sends it over a connection of its own; the body is read as it comes.
    #[must_use]
    pub fn open(&self, to: SocketAddr) -> Incoming {
        let mut connection = Connection::open(to);
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

    fn bytes(&self, host: SocketAddr) -> Vec<u8> {
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

/// A connection that several requests may use, one after the other.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    stream: TcpStream,
}

impl Connection {
    #[must_use]
    pub fn open(to: SocketAddr) -> Self {
        Self::try_open(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
    }

    /// # Errors
    /// If nobody listens.
    pub fn try_open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { peer: to, stream })
    }

    /// Another deadline for each read.
    #[must_use]
    pub fn reads_within(self, limit: Duration) -> Self {
        self.stream.set_read_timeout(Some(limit)).expect("a deadline");
        self
    }

    /// One request and its whole response; the connection stays open.
    #[must_use]
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.write(request).expect("the request is sent");
        let head = self.read_head().expect("a response");
        head.whole()
    }

    /// Bytes as they are, for what no HTTP library would send. A peer that has
    /// stopped reading is no error: its answer says why.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// # Errors
    /// If no response comes.
    pub fn read_head(&mut self) -> io::Result<Incoming> {
        Incoming::read(self.stream.try_clone()?)
    }

    fn write(&mut self, request: &Request) -> io::Result<()> {
        match self.stream.write_all(&request.bytes(self.peer)) {
            // It may have answered before it read everything.
            Err(error) if is_cut(&error) => Ok(()),
            other => other,
        }
    }
}

fn is_cut(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A response whose body is still to come.
pub struct Incoming {
    pub status: u16,
    headers: Vec<(String, String)>,
    body: BufReader<Body>,
}

impl Incoming {
    fn read(stream: TcpStream) -> io::Result<Self> {
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
        Ok(Self { status, headers, body: BufReader::new(Body { stream, length }) })
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The next event of a stream; none at its end.
    pub fn next_event(&mut self) -> Option<Event> {
        sse::next(&mut self.body)
    }

    /// The next event of a stream that must go on.
    pub fn event(&mut self) -> Event {
        self.next_event().expect("the stream ended where an event was expected")
    }

    /// Reads the rest.
    #[must_use]
    pub fn whole(self) -> Response {
        self.try_whole().unwrap_or_else(|error| panic!("the response broke off: {error}"))
    }

    fn try_whole(mut self) -> io::Result<Response> {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body)?;
        Ok(Response { status: self.status, headers: self.headers, body })
    }
}

#[derive(Debug)]
enum Length {
    Known(usize),
    Chunked { left: usize, begun: bool },
    UntilEnd,
}

struct Body {
    stream: TcpStream,
    length: Length,
}

impl Body {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// The size of the next chunk; 0 at the end.
    fn chunk(&mut self, begun: bool) -> io::Result<usize> {
        if begun {
            self.line()?;
        }
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or("");
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
        if size == 0 {
            self.line()?;
        }
        Ok(size)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.length {
            Length::UntilEnd => self.stream.read(into),
            Length::Known(0) => Ok(0),
            Length::Known(left) => {
                let most = left.min(into.len());
                let got = self.stream.read(&mut into[..most])?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.length = Length::Known(left - got);
                Ok(got)
            }
            Length::Chunked { left: 0, begun } => match self.chunk(begun)? {
                0 => {
                    self.length = Length::Known(0);
                    Ok(0)
                }
                left => {
                    self.length = Length::Chunked { left, begun: true };
                    self.read(into)
                }
            },
            Length::Chunked { left, begun } => {
                let most = left.min(into.len());
                let got = self.stream.read(&mut into[..most])?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.length = Length::Chunked { left: left - got, begun };
                Ok(got)
            }
        }
    }
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).first().copied()
    }

    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let name = name.to_ascii_lowercase();
        let same = self.headers.iter().filter(|(known, _)| *known == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} with no JSON ({error}): {}", self.status, self.text())
        })
    }

    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut body = self.body.as_slice();
        std::iter::from_fn(|| sse::next(&mut body as &mut &[u8])).collect()
    }

    /// The JSON-RPC messages in it, however they are framed.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        if self.is_event_stream() {
            self.events().iter().map(Event::json).collect()
        } else {
            vec![self.json()]
        }
    }

    /// `error.code` of the JSON-RPC error that it is.
    #[must_use]
    pub fn error_code(&self) -> i64 {
        let body = self.json();
        body["error"]["code"].as_i64().unwrap_or_else(|| panic!("no JSON-RPC error: {body}"))
    }

    /// `error.message` of the JSON-RPC error that it is.
    #[must_use]
    pub fn error_message(&self) -> String {
        let body = self.json();
        let message = body["error"]["message"].as_str();
        message.unwrap_or_else(|| panic!("no JSON-RPC error: {body}")).to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.body.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.body.consume(amount);
    }
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.body.read(into)
    }
}
