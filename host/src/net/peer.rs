//! For tests: a server that answers with the bytes that a test gives it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Body, Message, Pool, Target, Written, WrittenHead, collect};

pub const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const CHUNKS: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
pub const ENOUGH: usize = 8 << 20;

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub fn pool() -> Pool {
    pool_that_trusts(None)
}

pub fn pool_that_trusts(certificate: Option<CertificateDer<'static>>) -> Pool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificate);
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Pool::new(Arc::new(tls))
}

pub struct Peer {
    pub target: Target,
    pub listener: TcpListener,
}

impl Peer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = at(listener.local_addr().unwrap());
        Self { target, listener }
    }

    /// Answers the requests of each connection in order, and closes it after its last answer.
    /// The receiver gets `connection` for each connection, and the text of each request.
    pub fn answering(self, answers: Vec<Vec<&'static [u8]>>) -> (Target, mpsc::Receiver<String>) {
        let (seen, requests) = mpsc::channel(100);
        let (target, listener) = (self.target, self.listener);
        tokio::spawn(async move {
            for answers in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                seen.send("connection".to_owned()).await.unwrap();
                for answer in answers {
                    let Some(request) = read_request(&mut stream).await else { break };
                    seen.send(request).await.unwrap();
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
        (target, requests)
    }
}

pub fn at(address: SocketAddr) -> Target {
    Target::of(&format!("http://{address}/").parse().unwrap()).unwrap()
}

/// Head and body of a request whose body has a length or is empty. `None` at the end.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        text.push(char::from(byte[0]));
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(text + &String::from_utf8(body).unwrap())
}

pub fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/mcp").body(body.into()).unwrap()
}

pub fn written(body: &'static str) -> Message {
    let head = Request::post("/mcp").header("host", "peer").header("x-own", "1").body(()).unwrap();
    Written { head: WrittenHead::of(&head), more: Vec::new(), body: body.into() }.into()
}

pub async fn text(response: Response<Body>) -> String {
    let body = collect(response.into_body(), ENOUGH).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

pub async fn drained(requests: &mut mpsc::Receiver<String>, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(requests.recv().await.unwrap());
    }
    assert!(requests.is_empty());
    seen
}
