//! Simulated nodes, all in this process. They speak the cluster's protocol: each listens, proves
//! its identity, registers, sends heartbeats, reports its sessions page by page, and has servers
//! that echo.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use mooring::cluster::{Heartbeat, LoadReport, Registration, ServerReport};
use mooring::model::{SessionId, UnixMillis};
use mooring::protocol::headers::seam;
use mooring::protocol::proof::handshake::{Called, Hello, PROOF_LINE, Party, Proof};
use mooring::protocol::proof::request_proof::{Proved, RequestProof};
use mooring_benches::connection::Connection;
use mooring_benches::echo::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A node's default interval.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Servers of each node.
pub const SERVERS: usize = 5;
/// Sessions on one page of a report.
const PAGE: usize = 1000;
const INCARNATION: &str = "00000000-0000-4000-8000-000000000000";
const SECRET: &str = "00000000-0000-4000-8000-000000000001";
/// Bytes of the largest request to a node.
const MAX_REQUEST: usize = 64 * 1024;
/// Pause before a node tries again to register, and the longest one.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#;

/// A simulated node. Clones are handles to the same one.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    id: String,
    number: usize,
    port: u16,
    /// The sessions that it holds, all at the same server.
    held: Mutex<BTreeSet<SessionId>>,
}

impl Node {
    /// Begins to listen. The node holds these sessions already.
    pub async fn listen(number: usize, held: BTreeSet<SessionId>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let id = name(number);
        let node = Self(Arc::new(Inner { id, number, port, held: Mutex::new(held) }));
        let served = node.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let node = served.clone();
                tokio::spawn(async move { node.serve(Wire::new(stream)).await });
            }
        });
        Ok(node)
    }

    /// Registers, and tries again as a node does where the coordinator is busy or away.
    pub async fn register(&self, coordinator: u16) {
        let mut pause = PAUSE;
        while self.try_to_register(coordinator).await.is_err() {
            // No two nodes in step.
            tokio::time::sleep(pause.mul_f64(0.5 + self.spread() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub async fn try_to_register(&self, coordinator: u16) -> Result<()> {
        let Inner { id, port, .. } = &*self.0;
        let registration = Registration {
            id: id.clone(),
            name: id.clone(),
            url: format!("http://127.0.0.1:{port}"),
            servers: servers(),
            incarnation: INCARNATION.to_owned(),
            secret: Some(SECRET.to_owned()),
            advertised: true,
            load: Some(load()),
            ..Registration::default()
        };
        let mut connection = Connection::open(coordinator).await?;
        let status = post(&mut connection, coordinator, "register", id, &registration).await?;
        ensure!(status == 200, "register answered {status}");
        Ok(())
    }

    /// Sends full heartbeats on one connection, one in each interval. A coordinator that does not
    /// know the node, or is another one since, gets a registration.
    pub async fn beat(self, coordinator: u16) {
        // Spreads the nodes' heartbeats over the interval.
        tokio::time::sleep(HEARTBEAT.mul_f64(self.spread())).await;
        let mut timer = tokio::time::interval(HEARTBEAT);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connection = None;
        loop {
            timer.tick().await;
            if connection.is_none() {
                connection = Connection::open(coordinator).await.ok();
            }
            let Some(open) = &mut connection else { continue };
            let heartbeat = Heartbeat {
                id: self.0.id.clone(),
                incarnation: INCARNATION.to_owned(),
                servers: Some(servers()),
                load: Some(load()),
                ..Heartbeat::default()
            };
            match post(open, coordinator, "heartbeat", &self.0.id, &heartbeat).await {
                Ok(200) => {}
                Ok(_refused) => self.register(coordinator).await,
                Err(_broken) => connection = None,
            }
        }
    }

    /// A number from 0 to 1, evenly spread over the nodes.
    fn spread(&self) -> f64 {
        self.0.number as f64 * 0.618 % 1.0
    }

    /// Answers the coordinator on one connection.
    async fn serve(&self, mut wire: Wire) -> Result<()> {
        wire.stream.set_nodelay(true)?;
        while let Some((head, body)) = wire.request().await? {
            match header(&head, seam::LINK.as_str()) {
                Some(hello) => self.prove(&mut wire, hello).await?,
                None => wire.stream.write_all(&self.answer(&head, &body)).await?,
            }
        }
        Ok(())
    }

    /// The node's side of the handshake.
    async fn prove(&self, wire: &mut Wire, hello: &str) -> Result<()> {
        let own = Party { id: self.0.id.clone(), incarnation: INCARNATION.to_owned() };
        let hello = Hello::parse(hello.as_bytes()).context("hello")?;
        let begun = Called::receive(SECRET.as_bytes(), &own, &hello);
        let (called, challenge) = begun.ok().context("another node is called")?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {}\r\n\
             {}: {challenge}\r\n\r\n",
            seam::LINK_PROTOCOL,
            seam::LINK
        );
        wire.stream.write_all(answer.as_bytes()).await?;
        let line = wire.take(PROOF_LINE).await?;
        let given = Proof::parse(&line).context("proof")?;
        let proof = called.prove(&given).ok().context("the coordinator's proof is wrong")?;
        Ok(wire.stream.write_all(proof.line().as_bytes()).await?)
    }

    fn answer(&self, head: &str, body: &[u8]) -> Vec<u8> {
        let path = head.split(' ').nth(1).unwrap_or("");
        if let Some(query) = path.strip_prefix("/cluster/bindings") {
            return json(&self.page(query.strip_prefix("?after=").unwrap_or("")), "");
        }
        let session = header(head, seam::SESSION.as_str()).and_then(SessionId::parse);
        if head.starts_with("DELETE ") {
            if let Some(session) = session {
                self.held().remove(&session);
            }
            return json("", "");
        }
        if let (Some(session), true) = (session, header(head, seam::OPEN.as_str()).is_some()) {
            let start = if self.held().insert(session) { "fresh" } else { "existing" };
            return json(INITIALIZED, &format!("{}: {start}\r\n", seam::START));
        }
        match Message::parse(body).filter(Message::is_request) {
            Some(message) => {
                let mut answer = Vec::new();
                message.answer(&mut answer);
                json(&String::from_utf8_lossy(&answer).replace("NODE", &self.0.id), "")
            }
            None if path.ends_with("/mcp") => {
                b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec()
            }
            None => json(&format!("{{\"initialize\":{INITIALIZED}}}"), ""),
        }
    }

    /// A page of held sessions, after a place in the list: `SESSION%2FSERVER`.
    fn page(&self, after: &str) -> String {
        let held = self.held();
        let after = after.split('%').next().and_then(SessionId::parse);
        let page: Vec<SessionId> = match after {
            Some(after) => {
                use std::ops::Bound::{Excluded, Unbounded};
                held.range((Excluded(after), Unbounded)).take(PAGE).copied().collect()
            }
            None => held.iter().take(PAGE).copied().collect(),
        };
        let bindings: Vec<String> = page
            .iter()
            .map(|session| {
                format!(r#"{{"session":"{session}","server":"{}","openedAt":1}}"#, server(0))
            })
            .collect();
        let next = page.last().filter(|_| page.len() == PAGE);
        let next = next.map(|last| format!(r#","next":"{last}/{}""#, server(0)));
        format!(r#"{{"bindings":[{}]{}}}"#, bindings.join(","), next.unwrap_or_default())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<SessionId>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of a node.
pub fn name(number: usize) -> String {
    format!("node-{number}")
}

pub fn server(number: usize) -> String {
    format!("server-{number}")
}

fn servers() -> Vec<ServerReport> {
    (0..SERVERS).map(|number| ServerReport::Name(server(number))).collect()
}

fn load() -> LoadReport {
    LoadReport { slots: 100, cpus: 2, ..LoadReport::default() }
}

/// Sends one of a node's requests to its coordinator. Returns the status of the answer.
async fn post(
    connection: &mut Connection,
    port: u16,
    what: &str,
    id: &str,
    message: &impl serde::Serialize,
) -> Result<u16> {
    let body = serde_json::to_string(message)?;
    let (path, called) = (format!("/api/cluster/{what}"), format!("http://127.0.0.1:{port}"));
    let proved = Proved { method: "POST", path: &path, body: body.as_bytes() };
    let proof = RequestProof::make(SECRET.as_bytes(), id, &called, UnixMillis::now(), &proved);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{}: {proof}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        seam::PROOF,
        body.len()
    );
    Ok(connection.exchange(request.as_bytes()).await?.status)
}

fn json(body: &str, headers: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n\
         {body}",
        body.len()
    )
    .into_bytes()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A connection as a node reads it.
struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// The head and the body of the next request; `None` if the connection has ended before it.
    async fn request(&mut self) -> Result<Option<(String, Vec<u8>)>> {
        let end = loop {
            if let Some(end) = memmem::find(&self.input, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.read().await? {
                return Ok(None);
            }
        };
        let head = String::from_utf8(self.take(end).await?)?;
        let length = header(&head, "content-length").map_or(Ok(0), str::parse)?;
        let body = self.take(length).await?;
        Ok(Some((head, body)))
    }

    async fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        ensure!(count <= MAX_REQUEST, "a request of more than {MAX_REQUEST} bytes");
        while self.input.len() < count {
            ensure!(self.read().await?, "the connection has ended within a request");
        }
        let rest = self.input.split_off(count);
        Ok(std::mem::replace(&mut self.input, rest))
    }

    async fn read(&mut self) -> Result<bool> {
        ensure!(self.input.len() <= MAX_REQUEST, "a head of more than {MAX_REQUEST} bytes");
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }
}
