//! A collector of OpenTelemetry over gRPC, whose answers a test scripts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::{BufMut as _, Bytes};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::deadline::eventually;

/// A call of the gateway.
#[derive(Debug, Clone)]
pub struct GrpcCall {
    pub path: String,
    pub scheme: String,
    pub authority: String,
    pub headers: HeaderMap,
    pub message: Vec<u8>,
    /// The number of its connection, from 0.
    pub connection: usize,
}

impl GrpcCall {
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().expect("text")
    }
}

/// What a collector does with a call.
#[derive(Debug, Clone)]
pub enum GrpcReply {
    /// Answers with this message.
    Taken(Vec<u8>),
    /// The same, and wants no further call on this connection.
    TakenForTheLastTime,
    /// Answers with this status, in trailers behind an empty message or in headers alone.
    Refused { trailers: Vec<(&'static str, String)>, is_alone: bool },
    /// Answers as a proxy does that finds no collector.
    Http(u16),
}

impl GrpcReply {
    #[must_use]
    pub fn taken() -> Self {
        Self::Taken(Vec::new())
    }

    /// A status in headers alone.
    #[must_use]
    pub fn status(code: u32) -> Self {
        Self::Refused { trailers: vec![("grpc-status", code.to_string())], is_alone: true }
    }
}

type Script = dyn Fn(&GrpcCall, usize) -> GrpcReply + Send + Sync;

struct Shared {
    calls: Mutex<Vec<GrpcCall>>,
    connections: AtomicUsize,
    script: Box<Script>,
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Vec<GrpcCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The collector. It ends when it is dropped, with its connections.
pub struct GrpcCollector {
    address: SocketAddr,
    is_tls: bool,
    shared: Arc<Shared>,
    ends: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GrpcCollector {
    /// Takes everything.
    #[must_use]
    pub fn start() -> Self {
        Self::scripted(|_, _| GrpcReply::taken())
    }

    /// Does what the script says, by the call and by how many calls came before.
    #[must_use]
    pub fn scripted(
        script: impl Fn(&GrpcCall, usize) -> GrpcReply + Send + Sync + 'static,
    ) -> Self {
        Self::at(0, None, script)
    }

    /// Speaks TLS.
    #[must_use]
    pub fn over_tls(tls: ServerConfig) -> Self {
        Self::at(0, Some(tls), |_, _| GrpcReply::taken())
    }

    /// The same at this port, unless it is 0.
    #[must_use]
    pub fn at(
        port: u16,
        tls: Option<ServerConfig>,
        script: impl Fn(&GrpcCall, usize) -> GrpcReply + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (calls, connections) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { calls, connections, script: Box::new(script) });
        let (ends, ended) = oneshot::channel::<()>();
        let is_tls = tls.is_some();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener, acceptor, served) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, is_tls, shared, ends: Some(ends), thread: Some(thread) }
    }

    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    #[must_use]
    pub fn calls(&self) -> Vec<GrpcCall> {
        self.shared.calls().clone()
    }

    /// The calls of one service, which is named by a part of its path.
    #[must_use]
    pub fn calls_of(&self, service: &str) -> Vec<GrpcCall> {
        self.calls().into_iter().filter(|call| call.path.contains(service)).collect()
    }

    /// Waits for so many calls of one service.
    #[track_caller]
    pub fn wait_for_calls(&self, service: &str, count: usize) -> Vec<GrpcCall> {
        eventually(&format!("{count} calls of {service}"), || {
            Some(self.calls_of(service)).filter(|calls| calls.len() >= count)
        })
    }
}

impl Drop for GrpcCollector {
    fn drop(&mut self) {
        drop(self.ends.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match tls {
                None => speak(stream, number, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, number, shared).await;
                    }
                }
            }
        });
    }
}

async fn speak<S>(stream: S, number: usize, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let last = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = last.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let (shared, last) = (Arc::clone(&shared), Arc::clone(&last));
        tokio::spawn(async move {
            if answer(request, respond, number, &shared).await.is_none() {
                last.notify_one();
            }
        });
    }
}

/// Answers a call; `None` if it is to be the last one.
async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: &Shared,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    let (prefix, message) = bytes.split_at_checked(5).expect("a message");
    assert_eq!(prefix[0], 0, "it is not compressed");
    let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes"));
    assert_eq!(length as usize, message.len());
    let call = GrpcCall {
        path: head.uri.path().to_owned(),
        scheme: head.uri.scheme_str().unwrap_or_default().to_owned(),
        authority: head.uri.authority().map(|it| it.to_string()).unwrap_or_default(),
        headers: head.headers,
        message: message.to_vec(),
        connection,
    };
    let before = {
        let mut calls = shared.calls();
        calls.push(call.clone());
        calls.len() - 1
    };
    let reply = (shared.script)(&call, before);
    let is_last = matches!(reply, GrpcReply::TakenForTheLastTime);
    let fine = || vec![("grpc-status", "0".to_owned())];
    let (message, trailers) = match reply {
        GrpcReply::Http(status) => {
            let response = Response::builder().status(status).body(()).expect("a response");
            let _ = respond.send_response(response, true);
            return Some(());
        }
        GrpcReply::Refused { trailers, is_alone: true } => {
            let mut response = Response::new(());
            *response.headers_mut() = map(&trailers);
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", kind);
            let _ = respond.send_response(response, true);
            return Some(());
        }
        GrpcReply::Refused { trailers, is_alone: false } => (None, trailers),
        GrpcReply::Taken(message) => (Some(message), fine()),
        GrpcReply::TakenForTheLastTime => (Some(Vec::new()), fine()),
    };
    let mut response = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    let mut out = respond.send_response(response, false).ok()?;
    if let Some(message) = message {
        let mut framed = vec![0];
        framed.put_u32(u32::try_from(message.len()).expect("a small message"));
        framed.put_slice(&message);
        let _ = out.send_data(framed.into(), false);
    }
    let _ = out.send_trailers(map(&trailers));
    (!is_last).then_some(())
}

fn map(entries: &[(&'static str, String)]) -> HeaderMap {
    let entry = |(name, value): &(&'static str, String)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    entries.iter().map(entry).collect()
}
