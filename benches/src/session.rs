//! One MCP client on one connection, with a session or without one, and its echo calls.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::alone::{self, Found};
use crate::connection::Connection;
use crate::endpoint::{ClientKind, Endpoint, Opening, post};

const VERSION: &str = "2025-11-25";
/// Call numbers always have eight digits, since they are overwritten in place.
const FIRST_CALL: u32 = 10_000_000;
/// With two servers half of all attempts fail; 64 in a row do so with probability 2^-64.
const OPENING_ATTEMPTS: u32 = 64;

pub struct Session {
    connection: Connection,
    endpoint: Endpoint,
    /// The header lines that name the session in each request.
    headers: String,
    request: Vec<u8>,
    /// Both offsets of the call's number in `request`: in the id and in the text.
    numbers: [usize; 2],
    number: u32,
    /// What the answer must contain: `"id":NNNNNNNN`, and the marker that starts the text.
    expected: [Vec<u8>; 2],
    /// The number of `initialize` requests until a call succeeded.
    pub initializes: u32,
}

impl Session {
    /// Initializes a session and makes its first call. `marker` distinguishes sessions; the text of
    /// each call has at least `body_bytes` bytes.
    pub async fn open(endpoint: &Endpoint, marker: usize, body_bytes: usize) -> Result<Self> {
        let mut connection = Connection::open(endpoint.port).await?;
        match endpoint.client {
            ClientKind::Session => {}
            ClientKind::Probing => {
                let found = alone::discover(&mut connection, endpoint).await?;
                ensure!(found == Found::Refused, "requests without a session are served");
            }
            ClientKind::Alone | ClientKind::Conversation => {
                return Self::open_alone(connection, endpoint, marker, body_bytes).await;
            }
        }
        for attempt in 1..=OPENING_ATTEMPTS {
            let (id, version) = initialize(&mut connection, endpoint).await?;
            let headers = format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: {version}\r\n");
            if !initialized(&mut connection, endpoint, &headers).await? {
                continue;
            }
            let mut session = Self::new(connection, endpoint, (&headers, ""), marker, body_bytes);
            session.initializes = attempt;
            match session.call().await? {
                200 => return Ok(session),
                404 if endpoint.opening == Opening::UntilRouted => connection = session.connection,
                status => bail!("first call answered {status}"),
            }
        }
        bail!("no session was routed to its server in {OPENING_ATTEMPTS} attempts")
    }

    /// Asks what is served, and makes the first call.
    async fn open_alone(
        mut connection: Connection,
        endpoint: &Endpoint,
        marker: usize,
        body_bytes: usize,
    ) -> Result<Self> {
        let found = alone::discover(&mut connection, endpoint).await?;
        let conversation = match (endpoint.client, found) {
            (_, Found::Refused) => bail!("requests without a session are not served"),
            (ClientKind::Alone, Found::Served(Some(_))) => {
                bail!("the gateway answers in the server's place, and does not pass requests on")
            }
            (ClientKind::Conversation, Found::Served(None)) => bail!("no conversation was named"),
            (_, Found::Served(conversation)) => conversation,
        };
        let headers = alone::headers("tools/call", Some(endpoint.tool));
        let meta = format!(r#","_meta":{}"#, alone::meta(conversation.as_deref()));
        let mut session = Self::new(connection, endpoint, (&headers, &meta), marker, body_bytes);
        match session.call().await? {
            200 => Ok(session),
            status => bail!("first call answered {status}"),
        }
    }

    /// A client whose calls have these headers, and these members behind the arguments.
    fn new(
        connection: Connection,
        endpoint: &Endpoint,
        (headers, members): (&str, &str),
        marker: usize,
        body_bytes: usize,
    ) -> Self {
        let tool = endpoint.tool;
        let marker = format!("s{marker:05}-");
        let filler = "x".repeat(body_bytes.saturating_sub(marker.len() + 8));
        let before_id = r#"{"jsonrpc":"2.0","id":"#;
        let before_text = format!(
            r#","method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"{marker}"#
        );
        let body =
            format!("{before_id}{FIRST_CALL}{before_text}{FIRST_CALL}{filler}\"}}{members}}}}}");
        let id = before_id.len();
        let text = id + 8 + before_text.len();
        let request = post(endpoint, headers, &body);
        let head = request.len() - body.len();
        Self {
            connection,
            endpoint: endpoint.clone(),
            headers: headers.to_owned(),
            request,
            numbers: [head + id, head + text],
            number: FIRST_CALL,
            expected: [
                format!(r#""id":{FIRST_CALL}"#).into_bytes(),
                format!("{marker}{FIRST_CALL}").into_bytes(),
            ],
            initializes: 0,
        }
    }

    /// Makes one call and returns its status; an error if a 200 does not answer this call.
    pub async fn call(&mut self) -> Result<u16> {
        self.count_up();
        let response = self.connection.exchange(&self.request).await?;
        if response.status == 200 {
            let [id, text] = &self.expected;
            let right = has_id(response.body, id) && memmem::find(response.body, text).is_some();
            ensure!(right, "wrong answer: {}", excerpt(response.body));
        }
        Ok(response.status)
    }

    /// The requests that were sent so far, and answered.
    pub fn exchanges(&self) -> u32 {
        self.connection.exchanges
    }

    /// Opens the session's GET stream on a new connection.
    pub async fn listen(&self) -> Result<TcpStream> {
        let Endpoint { port, path, .. } = &self.endpoint;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n{}\r\n",
            self.headers
        );
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while memmem::find(&head, b"\r\n\r\n").is_none() {
            ensure!(stream.read_buf(&mut head).await? > 0, "the stream ended: {}", excerpt(&head));
        }
        ensure!(head.starts_with(b"HTTP/1.1 200"), "no stream: {}", excerpt(&head));
        Ok(stream)
    }

    /// Ends the session, if there is one.
    pub async fn end(mut self) -> Result<()> {
        if matches!(self.endpoint.client, ClientKind::Alone | ClientKind::Conversation) {
            return Ok(());
        }
        let Endpoint { port, path, .. } = &self.endpoint;
        let request =
            format!("DELETE {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{}\r\n", self.headers);
        let status = self.connection.exchange(request.as_bytes()).await?.status;
        ensure!((200..300).contains(&status), "DELETE answered {status}");
        Ok(())
    }

    fn count_up(&mut self) {
        self.number += 1;
        let mut digits = [0; 8];
        let mut rest = self.number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        for at in self.numbers {
            self.request[at..at + 8].copy_from_slice(&digits);
        }
        for expected in &mut self.expected {
            let at = expected.len() - 8;
            expected[at..].copy_from_slice(&digits);
        }
    }
}

/// The session id and the negotiated version.
async fn initialize(connection: &mut Connection, endpoint: &Endpoint) -> Result<(String, String)> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{VERSION}","capabilities":{{}},"clientInfo":{{"name":"mooring-load","version":"1"}}}}}}"#
    );
    let response = connection.exchange(&post(endpoint, "", &body)).await?;
    let (status, body) = (response.status, response.body);
    ensure!(status == 200, "initialize answered {status}: {}", excerpt(body));
    let id = response.session_id.context("initialize gave no session id")?;
    let version = version(body).with_context(|| format!("no version in {}", excerpt(body)))?;
    Ok((id.to_owned(), version.to_owned()))
}

/// Sends `notifications/initialized`; returns whether the server knows the session.
async fn initialized(
    connection: &mut Connection,
    endpoint: &Endpoint,
    headers: &str,
) -> Result<bool> {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let status = connection.exchange(&post(endpoint, headers, body)).await?.status;
    match status {
        200..300 => Ok(true),
        404 if endpoint.opening == Opening::UntilRouted => Ok(false),
        _ => bail!("notifications/initialized answered {status}"),
    }
}

fn version(body: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"protocolVersion\"";
    let rest = &body[memmem::find(body, KEY)? + KEY.len()..];
    std::str::from_utf8(rest.split(|&byte| byte == b'"').nth(1)?).ok()
}

/// Whether the body has this id. Some servers write a space after the colon.
fn has_id(body: &[u8], id: &[u8]) -> bool {
    let (key, number) = id.split_at(id.len() - 8);
    memmem::find(body, id).is_some() || memmem::find(body, &[key, b" ", number].concat()).is_some()
}

pub fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_json_and_in_an_event() {
        assert_eq!(version(br#"{"result":{"protocolVersion":"2025-06-18"}}"#), Some("2025-06-18"));
        assert_eq!(
            version(b"data: {\"protocolVersion\" : \"2025-03-26\"}\n\n"),
            Some("2025-03-26")
        );
        assert_eq!(version(b"{}"), None);
    }

    #[test]
    fn an_id_counts_only_if_it_is_this_calls_id() {
        assert!(has_id(br#"{"id":10000001,"result":{}}"#, br#""id":10000001"#));
        assert!(has_id(br#"{"id": 10000001}"#, br#""id":10000001"#));
        assert!(!has_id(br#"{"id":10000002}"#, br#""id":10000001"#));
    }
}
