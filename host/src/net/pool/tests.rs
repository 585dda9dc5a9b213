//! How connections are kept, returned and closed.

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::net::peer::{
    CHUNKS, ENOUGH, PLAIN, Peer, drained, pool, pool_that_trusts, post, provider, read_request,
    text, written,
};
use crate::net::{Proxy, ProxyKind, collect};

use super::*;

/// Waits until this side has seen the end of all idle connections.
async fn until_closed(pool: &Pool) {
    while pool.idle.has_open() {
        tokio::task::yield_now().await;
    }
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
        assert_eq!(pool.resting(), 1);
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
        assert_eq!(pool.resting(), 0, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_closed() {
    let secs = Duration::from_secs;
    for (pool, rest) in [(pool(), secs(3)), (pool().with_rest(secs(20)), secs(20))] {
        let (target, mut requests) = Peer::start().await.answering(vec![vec![PLAIN, PLAIN]]);
        let began = tokio::time::Instant::now();
        assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
        assert_eq!(pool.resting(), 1);
        // The peer's task ends with the connection.
        drained(&mut requests, 2).await;
        assert_eq!(requests.recv().await, None);
        assert_eq!(pool.resting(), 0);
        assert!(!pool.idle.is_swept());
        let rested = began.elapsed();
        assert!(rest < rested && rested <= rest + secs(2), "{rested:?}");
    }
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
    let whole = |text: &'static str| Message::from(post(Body::from(Bytes::from(text))));
    for (is_new, message, expected) in [
        (false, whole("ping"), "ping"),
        (true, whole("ping"), "ping"),
        (false, whole(""), ""),
        (false, post(begun()).into(), "ping"),
        (false, written("ping"), "ping"),
        (true, written("ping"), "ping"),
    ] {
        let peer = Peer::start().await;
        let pool = pool();
        let connection = pool.connection(&peer.target).await.unwrap();
        let Wire::Socket { mut socket, home, .. } = connection.0 else { unreachable!() };
        let (stream, _) = peer.listener.accept().await.unwrap();
        // Closed with a reset, after which nothing can be written.
        stream.set_zero_linger().unwrap();
        drop(stream);
        while socket.probe_rest() {
            tokio::task::yield_now().await;
        }
        let connection = Connection(Wire::Socket { socket, home, is_new });
        match connection.send(message).await.map(|_| ()) {
            Err(Unanswered::Stale(message)) => {
                assert!(!is_new);
                let again = match message {
                    Message::Request(request) => {
                        collect(request.into_body(), ENOUGH).await.unwrap()
                    }
                    Message::Written(written) => written.body,
                };
                assert_eq!(again, expected);
            }
            Err(Unanswered::Failed(failure)) => {
                assert!(is_new);
                assert!(matches!(failure, Failure::NotSent(_)), "{failure}");
            }
            Ok(()) => panic!("a closed connection has answered"),
        }
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
    assert_eq!(pool.resting(), 0);
}

#[tokio::test]
async fn who_looks_at_the_head_alone_does_not_cost_a_connection() {
    let (target, mut requests) = Peer::start().await.answering(vec![vec![CHUNKS, PLAIN, CHUNKS]]);
    let pool = pool();
    for _ in 0..3 {
        drop(pool.send(&target, post(Bytes::new())).await.unwrap());
        assert_eq!(pool.resting(), 1);
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
    assert_eq!(pool.resting(), 1);
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
    assert!(pool.idle.is_swept());
    drop(first);
    assert!(!pool.idle.is_swept());
}

/// A server of `localhost` that speaks TLS, with its certificate.
async fn tls_server() -> (TlsAcceptor, CertificateDer<'static>, TcpListener) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate, listener)
}

#[tokio::test]
async fn over_tls_it_is_the_same_with_a_server_that_proves_its_name() {
    let (acceptor, certificate, listener) = tls_server().await;
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        // The first client trusts no authority.
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
        assert_eq!(pool.resting(), 1);
    }
    drop(pool);
    assert_eq!(serving.await.unwrap(), 4);
}

/// What a proxy does with a connection: it reads CONNECT, and passes all that follows.
async fn pass_on(mut client: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> String {
    let asked = read_request(&mut client).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    client.flush().await.unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    asked
}

#[tokio::test]
async fn a_server_that_proves_its_name_is_reached_through_proxies() {
    for is_tls in [false, true] {
        let (acceptor, certificate, listener) = tls_server().await;
        let port = listener.local_addr().unwrap().port();
        let proxies = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = proxies.local_addr().unwrap().port();
        let proxy_tls = acceptor.clone();
        let proxying = tokio::spawn(async move {
            let (client, _) = proxies.accept().await.unwrap();
            match is_tls {
                true => pass_on(proxy_tls.accept(client).await.unwrap(), port).await,
                false => pass_on(client, port).await,
            }
        });
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            while read_request(&mut stream).await.is_some() {
                stream.write_all(PLAIN).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let kind = if is_tls { ProxyKind::Https } else { ProxyKind::Http };
        let proxy = Proxy::new(kind, ("localhost", place), None, "HTTPS_PROXY");
        let uri = format!("https://localhost:{port}/").parse().unwrap();
        let target = Target::through(&uri, Some(proxy), None).unwrap();
        let pool = pool_that_trusts(Some(certificate));
        for _ in 0..2 {
            assert_eq!(text(pool.send(&target, post(Bytes::from("x"))).await.unwrap()).await, "ok");
        }
        assert_eq!(pool.resting(), 1);
        // Without the proxy it is another target, whose connections are its own.
        assert!(pool.take(&Target::of(&uri).unwrap(), 0).is_none());
        drop(pool);
        let asked = proxying.await.unwrap();
        assert!(asked.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{asked}");
    }
}

/// Counts the questions, and answers them as it is told.
struct Asked {
    count: std::sync::atomic::AtomicUsize,
    answers: std::sync::atomic::AtomicBool,
}

impl Introduce for Asked {
    fn epoch(&self) -> u64 {
        0
    }

    fn introduce<'a>(
        &'a self,
        _: &'a Target,
        _: &'a mut Socket,
    ) -> futures_util::future::BoxFuture<'a, Result<Introduced, Unreached>> {
        Box::pin(std::future::ready(Ok(Introduced::Ready)))
    }

    fn ask<'a>(
        &'a self,
        _: &'a Target,
        _: &'a mut Socket,
    ) -> futures_util::future::BoxFuture<'a, Result<(), Unreached>> {
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answers = self.answers.load(std::sync::atomic::Ordering::Relaxed);
        let answer = if answers { Ok(()) } else { Err(Unreached::silent(String::new())) };
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test]
async fn a_process_that_was_quiet_is_asked_before_it_is_sent_anything() {
    use std::sync::atomic::Ordering::Relaxed;
    let (target, mut requests) = Peer::start().await.answering(vec![vec![PLAIN; 500]; 3]);
    let asked = Arc::new(Asked { count: 0.into(), answers: true.into() });
    let pool = pool().introduced_by(Arc::<Asked>::clone(&asked));
    let send = async || {
        let before = asked.count.load(Relaxed);
        assert_eq!(text(pool.send(&target, post(Bytes::new())).await.unwrap()).await, "ok");
        asked.count.load(Relaxed) - before
    };
    assert_eq!(send().await, 0, "a new connection");
    let mut sent = 1;
    // A busy machine may take a while for any of these.
    while sent < 80 && send().await > 0 {
        sent += 1;
    }
    assert!(sent < 80, "what was heard right before is not asked");
    std::thread::sleep(HEARD_LATELY * 3);
    assert_eq!(send().await, 1);
    let connections = |seen: Vec<String>| seen.iter().filter(|it| *it == "connection").count();
    assert_eq!(connections(drained(&mut requests, sent + 3).await), 1);
    asked.answers.store(false, Relaxed);
    std::thread::sleep(HEARD_LATELY * 3);
    assert_eq!(send().await, 1);
    assert_eq!(connections(drained(&mut requests, 2).await), 1, "another connection");
}
