//! How requests are written and responses are read.

use std::pin::pin;

use bytes::Bytes;
use http_body::Body as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::net::peer::{ENOUGH, PLAIN, Peer, pool, post, read_request, text, written};
use crate::net::{Body, Failure, collect};
use crate::protocol::http1::MAX_HEAD;

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
        // The head arrives before there is any body.
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
async fn what_was_written_before_goes_out_with_its_own_body() {
    let (target, mut requests) = Peer::start().await.answering(vec![vec![PLAIN, PLAIN]]);
    let pool = pool();
    for body in ["ping", ""] {
        assert_eq!(text(pool.send(&target, written(body)).await.unwrap()).await, "ok");
    }
    assert_eq!(requests.recv().await.unwrap(), "connection");
    let head = "POST /mcp HTTP/1.1\r\nhost: peer\r\nx-own: 1\r\n";
    for (length, body) in [(4, "ping"), (0, "")] {
        let expected = format!("{head}content-length: {length}\r\n\r\n{body}");
        assert_eq!(requests.recv().await.unwrap(), expected);
    }
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
    // A connection in the middle of a request is not used again.
    assert_eq!(pool.resting(), 0);
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
        // Reads on, so that the close is not a reset, which would discard the answer.
        while stream.read(&mut some).await.unwrap_or(0) > 0 {}
    };
    let receiving = async {
        let response = sending.await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(text(response).await, "no");
    };
    tokio::join!(receiving, answering);
    assert_eq!(pool.resting(), 0);
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
        assert_eq!(pool.resting(), 0);
    }
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
    // As much as the sockets buffer, not all of it.
    assert!(sent < 1_000_000);
}
