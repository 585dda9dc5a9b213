//! Exchanges with a peer that does what a test says, byte by byte.

use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use http_body::Body as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::protocol::http1::MAX_HEAD;
use crate::seam::collect;

const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKS: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
const ENOUGH: usize = 8 << 20;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn pool() -> Pool {
    pool_that_trusts(None)
}

fn pool_that_trusts(certificate: Option<CertificateDer<'static>>) -> Pool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificate);
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Pool::new(Arc::new(tls))
}

struct Peer {
    target: Target,
    listener: TcpListener,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = at(listener.local_addr().unwrap());
        Self { target, listener }
    }

    /// Answers each connection's requests with these, and closes it after the last.
    /// Gives the requests and the number of connections.
    fn answering(self, answers: Vec<Vec<&'static [u8]>>) -> (Target, mpsc::Receiver<String>) {
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

fn at(address: SocketAddr) -> Target {
    Target::of(&format!("http://{address}/").parse().unwrap()).unwrap()
}

/// Head and body, for a body with a length. None at the end.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
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

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/mcp").body(body.into()).unwrap()
}

async fn text(response: Response<Body>) -> String {
    let body = collect(response.into_body(), ENOUGH).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

fn resting(pool: &Pool) -> usize {
    pool.shared.lock().idle.values().map(Vec::len).sum()
}

/// Waits until the other side's end of all resting connections is known here.
async fn until_closed(pool: &Pool) {
    let is_open = || {
        let mut resting = pool.shared.lock();
        resting.idle.values_mut().flatten().any(|idle| idle.socket.is_at_rest())
    };
    while is_open() {
        tokio::task::yield_now().await;
    }
}

async fn drained(requests: &mut mpsc::Receiver<String>, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(requests.recv().await.unwrap());
    }
    assert!(requests.is_empty());
    seen
}

#[tokio::test]
async fn one_connection_serves_one_call_after_the_other() {
    const NOTHING: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    let answers = vec![vec![PLAIN, CHUNKS, NOTHING, PLAIN]];
    let (target, mut requests) = Peer::start().await.answering(answers);
    let pool = pool();
    for expected in ["ok", "ok", "", "ok"] {
        let response = pool.send(&target, post(Bytes::from("ping"))).await.unwrap();
        assert_eq!(text(response).await, expected);
        assert_eq!(resting(&pool), 1);
    }
    let seen = drained(&mut requests, 5).await;
    assert_eq!(seen[0], "connection");
    let host = target.host_header().to_str().unwrap();
    let expected = format!("POST /mcp HTTP/1.1\r\nhost: {host}\r\ncontent-length: 4\r\n\r\nping");
    assert!(seen[1..].iter().all(|request| *request == expected), "{seen:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let answers = vec![vec![PLAIN], vec![PLAIN]];
    let (target, mut requests) = Peer::start().await.answering(answers);
    let pool = pool();
    assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
    until_closed(&pool).await;
    assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
    let seen = drained(&mut requests, 4).await;
    assert_eq!(seen.iter().filter(|what| *what == "connection").count(), 2);
}

#[tokio::test]
async fn a_connection_with_anything_left_on_it_is_not_used_again() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ] {
        let (target, _requests) = Peer::start().await.answering(vec![vec![answer]]);
        let pool = pool();
        assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
        assert_eq!(resting(&pool), 0, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_closed() {
    let (target, mut requests) = Peer::start().await.answering(vec![vec![PLAIN, PLAIN]]);
    let pool = pool();
    assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
    assert_eq!(resting(&pool), 1);
    // Its task ends when the connection does.
    drained(&mut requests, 2).await;
    assert_eq!(requests.recv().await, None);
    assert_eq!(resting(&pool), 0);
    assert!(!pool.shared.lock().is_swept);
}

#[tokio::test]
async fn what_was_surely_not_sent_is_told_from_what_may_have_run() {
    let peer = Peer::start().await;
    let (target, pool) = (peer.target.clone(), pool());
    drop(peer);
    let refused = pool.send(&target, post(Bytes::new())).await.unwrap_err();
    assert!(matches!(refused, Failure::NotSent(_)), "{refused}");

    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-", b"nonsense\r\n\r\n"] {
        let (target, _requests) = Peer::start().await.answering(vec![vec![answer]]);
        let broken = pool.send(&target, post(Bytes::new())).await.unwrap_err();
        assert!(matches!(broken, Failure::Broken(_)), "{answer:?}: {broken}");
    }
}

#[tokio::test]
async fn a_request_that_a_used_connection_did_not_take_is_given_back() {
    let begun = || Body::Begun(Bytes::from("pi"), Box::new(Body::Full(Bytes::from("ng"))));
    let whole = |text: &'static str| Body::from(Bytes::from(text));
    for (is_new, body, expected) in [
        (false, whole("ping"), "ping"),
        (true, whole("ping"), "ping"),
        (false, whole(""), ""),
        (false, begun(), "ping"),
    ] {
        let peer = Peer::start().await;
        let pool = pool();
        let connection = pool.connection(&peer.target).await.unwrap();
        let mut connection = Connection { is_new, ..connection };
        let (stream, _) = peer.listener.accept().await.unwrap();
        // Closed with a reset, after which nothing can be written.
        stream.set_zero_linger().unwrap();
        drop(stream);
        while connection.socket.is_at_rest() {
            tokio::task::yield_now().await;
        }
        match connection.send(post(body)).await.map(|_| ()) {
            Err(Unanswered::Stale(request)) => {
                assert!(!is_new);
                let again = collect(request.into_body(), ENOUGH).await.unwrap();
                assert_eq!(again, expected);
            }
            Err(Unanswered::Failed(failure)) => {
                assert!(is_new);
                assert!(matches!(failure, Failure::NotSent(_)), "{failure}");
            }
            Ok(()) => panic!("nobody can have answered"),
        }
    }
}

#[tokio::test]
async fn a_body_without_a_length_goes_out_in_chunks() {
    let peer = Peer::start().await;
    let (pieces, body) = mpsc::channel(1);
    let sending = async {
        let request = post(Body::Channel(body));
        text(pool().send(&peer.target, request).await.unwrap()).await
    };
    let answering = async {
        let (mut stream, _) = peer.listener.accept().await.unwrap();
        let head = read_request(&mut stream).await.unwrap();
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
        // The head is here before there is any body.
        for piece in ["Wiki", "", "pedia 0123456"] {
            pieces.send(Bytes::from(piece)).await.unwrap();
        }
        drop(pieces);
        let expected = "4\r\nWiki\r\nd\r\npedia 0123456\r\n0\r\n\r\n";
        let mut body = vec![0; expected.len()];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        stream.write_all(PLAIN).await.unwrap();
        stream
    };
    let (answer, _) = tokio::join!(sending, answering);
    assert_eq!(answer, "ok");
}

#[tokio::test]
async fn the_length_of_a_body_is_what_it_is_and_not_what_a_header_says() {
    let half = |rest: &'static str| {
        Body::Begun(Bytes::from("half"), Box::new(Body::Full(Bytes::from(rest))))
    };
    for (is_right, body) in
        [(true, half("more")), (false, half("more").until(std::future::ready(())))]
    {
        let (target, mut requests) = Peer::start().await.answering(vec![vec![PLAIN]]);
        let mut request = post(body);
        request.headers_mut().insert("content-length", "1".parse().unwrap());
        let sent = pool().send(&target, request).await;
        assert!(sent.is_ok(), "{:?}", sent.err());
        assert_eq!(requests.recv().await.unwrap(), "connection");
        let seen = requests.recv().await.unwrap();
        let expected =
            if is_right { "content-length: 8\r\n\r\nhalfmore" } else { "chunked\r\n\r\n" };
        assert!(seen.ends_with(expected), "{seen}");
    }
    let (target, _requests) = Peer::start().await.answering(vec![vec![PLAIN]]);
    let broken = half("more").broken_when(std::future::ready(()));
    let failure = pool().send(&target, post(broken)).await.unwrap_err();
    assert!(matches!(failure, Failure::Broken(_)), "{failure}");
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_sent() {
    let peer = Peer::start().await;
    let pool = pool();
    let (pieces, body) = mpsc::channel(1);
    let sending = pool.send(&peer.target, post(Body::Channel(body)));
    let answering = async {
        let (mut stream, _) = peer.listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        stream
    };
    let (response, mut stream) = tokio::join!(sending, answering);
    let response = response.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(text(response).await, "no");
    // A connection in the middle of a request is of no use.
    assert_eq!(resting(&pool), 0);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    drop(pieces);
}

#[tokio::test]
async fn an_answer_counts_also_where_the_rest_of_the_request_is_not_taken() {
    let peer = Peer::start().await;
    let large = Bytes::from(vec![b'x'; ENOUGH]);
    let pool = pool();
    let sending = pool.send(&peer.target, post(large));
    let answering = async {
        let (mut stream, _) = peer.listener.accept().await.unwrap();
        let mut some = [0; 1024];
        stream.read_exact(&mut some).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        // Read on, so that the end is no reset, which would take the answer along.
        while stream.read(&mut some).await.unwrap_or(0) > 0 {}
    };
    let receiving = async {
        let response = sending.await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(text(response).await, "no");
    };
    tokio::join!(receiving, answering);
    assert_eq!(resting(&pool), 0);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_no_response() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfway",
    ] {
        let (target, _requests) = Peer::start().await.answering(vec![vec![answer]]);
        let pool = pool();
        let response = pool.send(&target, post(Bytes::new())).await.unwrap();
        assert!(collect(response.into_body(), ENOUGH).await.is_err(), "{answer:?}");
        assert_eq!(resting(&pool), 0);
    }
}

#[tokio::test]
async fn a_response_that_is_dropped_closes_its_connection() {
    let peer = Peer::start().await;
    let pool = pool();
    let sending = pool.send(&peer.target, post(Bytes::new()));
    let answering = async {
        let (mut stream, _) = peer.listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        stream
    };
    let (response, mut stream) = tokio::join!(sending, answering);
    drop(response);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(resting(&pool), 0);
}

#[tokio::test]
async fn who_looks_at_the_head_alone_does_not_cost_a_connection() {
    let (target, mut requests) = Peer::start().await.answering(vec![vec![CHUNKS, PLAIN, CHUNKS]]);
    let pool = pool();
    for _ in 0..3 {
        drop(pool.send(&target, post(Bytes::new())).await.unwrap());
        assert_eq!(resting(&pool), 1);
    }
    drained(&mut requests, 4).await;
}

#[tokio::test]
async fn a_large_request_is_let_go_once_it_was_sent() {
    struct Large {
        bytes: Vec<u8>,
        _held: mpsc::Sender<()>,
    }
    impl AsRef<[u8]> for Large {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    let (target, _requests) = Peer::start().await.answering(vec![vec![PLAIN]]);
    let (_held, mut let_go) = mpsc::channel(1);
    let pool = pool();
    let body = Bytes::from_owner(Large { bytes: vec![b'x'; 1_000_000], _held });
    assert_eq!(text(pool.send(&target, post(body)).await.unwrap()).await, "ok");
    assert_eq!(resting(&pool), 1);
    assert_eq!(let_go.recv().await, None);
}

#[test]
fn connections_are_swept_also_after_the_end_of_the_runtime_that_did() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pool = pool();
    let first = runtime();
    first.block_on(async {
        let (target, _requests) = Peer::start().await.answering(vec![vec![PLAIN]]);
        assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
    });
    assert!(pool.shared.lock().is_swept);
    drop(first);
    assert!(!pool.shared.lock().is_swept);
}

#[tokio::test]
async fn a_long_response_arrives_whole() {
    let long: String = (0..200_000).map(|n| format!("{n:07} ")).collect();
    let size = long.len();
    let cut: Vec<&str> = vec![&long[..1], &long[1..100_000], &long[100_000..]];
    let chunks: String =
        cut.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    for response in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{long}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n\r\n{long}"),
    ] {
        let response: &'static [u8] = Vec::leak(response.into_bytes());
        let (target, _requests) = Peer::start().await.answering(vec![vec![response]]);
        let received = pool().send(&target, post(Bytes::new())).await.unwrap();
        let hint = received.body().size_hint().exact();
        assert!(hint.is_none_or(|hint| hint == size as u64), "{hint:?}");
        assert!(text(received).await == long);
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_given_up() {
    let peer = Peer::start().await;
    let sent = {
        let pool = pool();
        let mut sending = pin!(pool.send(&peer.target, post(Bytes::new())));
        let endless = async {
            let (mut stream, _) = peer.listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            let mut sent = 0;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok() {
                sent += 1;
            }
            sent
        };
        let (failure, sent) = tokio::join!(async { sending.as_mut().await.unwrap_err() }, endless);
        assert!(failure.to_string().contains(&MAX_HEAD.to_string()), "{failure}");
        sent
    };
    // As much as lies in the sockets, and no end of memory.
    assert!(sent < 1_000_000);
}

#[tokio::test]
async fn over_tls_it_is_the_same_with_a_server_that_proves_its_name() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        // The first client trusts nobody.
        let (stream, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(stream).await.is_err());
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut served = 0;
        while let Some(request) = read_request(&mut stream).await {
            served += 1;
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        served
    });
    let target = Target::of(&format!("https://localhost:{port}/").parse().unwrap()).unwrap();
    let refused = pool().send(&target, post(Bytes::new())).await.unwrap_err();
    assert!(matches!(&refused, Failure::NotSent(why) if why.starts_with("TLS: ")), "{refused}");

    let pool = pool_that_trusts(Some(certificate));
    for size in [1, 5_000, 1_000_000, 2] {
        let echoed = pool.send(&target, post(Bytes::from("x".repeat(size)))).await.unwrap();
        assert_eq!(text(echoed).await.len(), size);
        assert_eq!(resting(&pool), 1);
    }
    drop(pool);
    assert_eq!(serving.await.unwrap(), 4);
}
