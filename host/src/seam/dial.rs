//! Outgoing HTTP connections: a pool for one worker.
//!
//! A connection lies in the pool of the worker that opened it, so an exchange
//! wakes no other thread. It goes back when its response body has ended, and is
//! taken again last-in-first-out. A request that was surely not sent comes back
//! as [`Failure::NotSent`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, Uri, header};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName as TlsName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Body;

/// A connection that is not up by then is refused; nodes are near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the idle timeouts of common servers: Node's is 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept for one target, by worker.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// Why an exchange gave no response head.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Surely nothing of the request went out.
    #[error("{0}")]
    NotSent(String),
    /// The request, or a part of it, went out; then the connection broke.
    #[error("{0}")]
    Broken(String),
}

/// Where to connect: parsed once, used as the pool's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    tls: bool,
    host: Arc<str>,
    port: u16,
    /// Made once: every request carries it.
    host_header: HeaderValue,
}

impl Target {
    /// None without an `http` or `https` scheme and a host.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host_header = HeaderValue::from_str(&authority(tls, host, port)).ok()?;
        Some(Self { tls, host: host.into(), port, host_header })
    }
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

#[derive(Default)]
struct Shared {
    idle: Mutex<HashMap<Target, Vec<Idle>>>,
}

/// Cloning gives a handle to the same pool.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    tls: TlsConnector,
}

impl Pool {
    /// `tls` says which authorities `https` targets are checked against.
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self { shared: Arc::default(), tls: TlsConnector::from(tls) }
    }

    /// Sends the request, whose URI is path and query only.
    ///
    /// # Errors
    /// [`Failure`] if no response head came.
    pub async fn send(
        &self,
        target: &Target,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        loop {
            match self.connection(target).await?.send(request).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::Stale(unsent)) => request = *unsent,
                Err(Unanswered::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// A connection for one request: one that is there, or a new one. Nothing is
    /// sent yet.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if there is no way to the target.
    pub async fn connection(&self, target: &Target) -> Result<Connection, Failure> {
        let (sender, is_new) = match self.take(target).await {
            Some(sender) => (sender, false),
            // Rare and large (TLS): boxed, so that every exchange's future stays small.
            None => (Box::pin(self.connect(target)).await.map_err(Failure::NotSent)?, true),
        };
        let lease = Lease { pool: self.clone(), target: target.clone(), sender: None };
        Ok(Connection { sender, lease, is_new })
    }

    async fn take(&self, target: &Target) -> Option<SendRequest<Body>> {
        loop {
            let mut idle = {
                let mut all = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
                all.get_mut(target)?.pop()?
            };
            if idle.since.elapsed() > MAX_IDLE || idle.sender.is_closed() {
                continue;
            }
            // Its last response has ended or was dropped: it is ready in a
            // moment, or closes.
            if idle.sender.is_ready() || idle.sender.ready().await.is_ok() {
                return Some(idle.sender);
            }
        }
    }

    fn put(&self, target: &Target, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut all = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.entry(target.clone()).or_default();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    async fn connect(&self, target: &Target) -> Result<SendRequest<Body>, String> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.handshake(target)).await {
            Ok(done) => done,
            Err(_) => Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }

    async fn handshake(&self, target: &Target) -> Result<SendRequest<Body>, String> {
        let stream = TcpStream::connect((&*target.host, target.port))
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        let _ = stream.set_nodelay(true);
        let mut builder = http1::Builder::new();
        builder.max_headers(256);
        if !target.tls {
            let (sender, connection) =
                builder.handshake(TokioIo::new(stream)).await.map_err(|e| reason(&e))?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let name = TlsName::try_from(target.host.to_string()).map_err(|e| e.to_string())?;
        let stream =
            self.tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|e| reason(&e))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A connection that waits for its next request.
pub struct Connection {
    sender: SendRequest<Body>,
    lease: Lease,
    is_new: bool,
}

/// Why a connection gave no response head.
pub enum Unanswered {
    /// It was closed since its last request; this one, of which nothing went out,
    /// is for another connection.
    Stale(Box<Request<Body>>),
    Failed(Failure),
}

impl Connection {
    /// Sends the request at once; what it gives is the wait for the head, which
    /// borrows nothing. Dropping that gives the exchange up.
    pub fn send(
        self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Unanswered>> + Send + use<> {
        let Self { mut sender, mut lease, is_new } = self;
        if !request.headers().contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, lease.target.host_header.clone());
        }
        let sent = sender.try_send_request(request);
        async move {
            let response = sent.await.map_err(|mut error| {
                let reason = reason(error.error());
                match error.take_message() {
                    Some(unsent) if !is_new => Unanswered::Stale(Box::new(unsent)),
                    Some(_) => Unanswered::Failed(Failure::NotSent(reason)),
                    None => Unanswered::Failed(Failure::Broken(reason)),
                }
            })?;
            lease.sender = Some(sender);
            Ok(response.map(|body| Body::Incoming(body).with_guard(lease)))
        }
    }
}

/// Gives the connection back when the response body ends or is dropped.
struct Lease {
    pool: Pool,
    target: Target,
    sender: Option<SendRequest<Body>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.put(&self.target, sender);
        }
    }
}

/// As a `Host` header names it: without the scheme's own port.
fn authority(tls: bool, host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match (tls, port) {
        (false, 80) | (true, 443) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

fn reason(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
