//! Heads that a proxy and the gateway could read differently are refused, and the connection with
//! them, before anything behind them is read.

use mooring_tests::{Connection, Gateway, servers, settings};
use serde_json::json;

fn gateway() -> Gateway {
    Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})))
}

/// The status of a request whose head has these lines, and whether a second request on the
/// connection is answered.
fn status(gateway: &Gateway, line: &str, headers: &[String]) -> (u16, bool) {
    let mut connection = Connection::open(gateway.address());
    let second = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.send_raw(format!("{line}\r\n{}\r\n\r\n{second}", headers.join("\r\n")).as_bytes());
    let first = connection.read_head().unwrap();
    let status = first.status;
    let _ = first.whole();
    (status, connection.read_head().is_ok())
}

#[test]
fn one_request_has_one_host() {
    let gateway = gateway();
    let own = format!("Host: {}", gateway.address());
    for path in ["/health", "/mcp", "/api/cluster/status", "/cluster/bindings", "/sse"] {
        let line = format!("GET {path} HTTP/1.1");
        for hosts in [
            vec![own.clone(), own.clone()],
            vec![own.clone(), "Host: evil.example.com".to_owned()],
            vec!["Host: evil.example.com".to_owned(), own.clone()],
            vec!["X-None: 1".to_owned()],
        ] {
            assert_eq!(status(&gateway, &line, &hosts), (400, false), "{line} {hosts:?}");
        }
    }
    assert_eq!(status(&gateway, "GET /livez HTTP/1.1", &[own]), (200, true));
}

#[test]
fn an_absolute_target_names_the_host_it_is_sent_to() {
    let gateway = gateway();
    let own = format!("Host: {}", gateway.address());
    for target in ["http://evil.example.com/livez", "http://localhost:1/livez", "http://x@y/livez"]
    {
        let line = format!("GET {target} HTTP/1.1");
        assert_eq!(status(&gateway, &line, std::slice::from_ref(&own)), (400, false), "{target}");
    }
    let same = format!("GET http://{}/livez HTTP/1.1", gateway.address());
    assert_eq!(status(&gateway, &same, &[own]), (200, true));
}

#[test]
fn the_only_transfer_coding_is_chunked() {
    let gateway = gateway();
    let own = format!("Host: {}", gateway.address());
    for coding in ["gzip, chunked", "chunked, chunked", "identity, chunked"] {
        let headers = [own.clone(), format!("Transfer-Encoding: {coding}")];
        for line in ["POST /mcp HTTP/1.1", "POST /api/cluster/register HTTP/1.1"] {
            let (status, goes_on) = status(&gateway, line, &headers);
            assert!(matches!(status, 400 | 501) && !goes_on, "{coding}: {status}");
        }
    }
    let session = gateway.client("/mcp").initialize();
    assert_eq!(session.count("counter-count"), 1);
}

#[test]
fn a_body_has_one_length() {
    let gateway = gateway();
    let own = format!("Host: {}", gateway.address());
    let (chunked, length) =
        ("Transfer-Encoding: chunked".to_owned(), "Content-Length: 5".to_owned());
    for line in ["POST /mcp HTTP/1.1", "POST /messages HTTP/1.1", "GET /livez HTTP/1.1"] {
        for headers in [
            [own.clone(), length.clone(), chunked.clone()],
            [own.clone(), chunked.clone(), length.clone()],
            [own.clone(), "transfer-encoding: Chunked".to_owned(), "CONTENT-LENGTH:5".to_owned()],
            [chunked.clone(), own.clone(), "content-length: 0".to_owned()],
            [own.clone(), length.clone(), "Transfer-encoding:\tchunked".to_owned()],
        ] {
            assert_eq!(status(&gateway, line, &headers), (400, false), "{line} {headers:?}");
        }
    }
    // In two parts, cut anywhere.
    let head = format!("GET /livez HTTP/1.1\r\n{own}\r\n{length}\r\n{chunked}\r\n\r\n0\r\n\r\n");
    for cut in [3, 20, head.len() - 30, head.len() - 7] {
        let mut connection = Connection::open(gateway.address());
        let (one, two) = head.as_bytes().split_at(cut);
        connection.send_raw(one);
        std::thread::sleep(std::time::Duration::from_millis(50));
        connection.send_raw(two);
        let answer = connection.read_head().unwrap();
        assert_eq!(answer.status, 400, "cut at {cut}");
    }
}

#[test]
fn chunks_alone_are_served_again_and_again() {
    let gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    let (message, _) = session.message("ping", json!({}));
    let mut connection = Connection::open(gateway.address());
    for _ in 0..3 {
        let answer = connection.exchange(&session.post(&message).chunked()).expect(200);
        assert!(answer.json()["result"].is_object());
    }
    // Behind another request at once: its head was not seen apart, so that the connection ends.
    let first = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address());
    let second = first.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let mut connection = Connection::open(gateway.address());
    connection.send_raw([first.clone(), second, first].concat().as_bytes());
    for status in [200, 200] {
        let answer = connection.read_head().unwrap();
        assert_eq!(answer.status, status);
        let _ = answer.whole();
    }
    assert!(connection.read_head().is_err());
}

#[test]
fn lines_of_a_head_end_as_lines_do() {
    let gateway = gateway();
    let own = gateway.address();
    for head in [
        format!("GET /livez HTTP/1.1\nHost: {own}\n\n"),
        format!("GET /livez HTTP/1.1\r\nHost: {own}\n\n"),
        format!("GET /livez HTTP/1.1\r\nX-A: b\nHost: {own}\r\n\r\n"),
        format!("POST /mcp HTTP/1.1\r\nHost: {own}\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let mut connection = Connection::open(own);
        connection.send_raw(head.as_bytes());
        let answer = connection.read_head().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{head:?}");
    }
    // Empty lines in front of a head are none of it.
    let mut connection = Connection::open(own);
    connection.send_raw(format!("\r\nGET /livez HTTP/1.1\r\nHost: {own}\r\n\r\n").as_bytes());
    assert_eq!(connection.read_head().unwrap().status, 200);
}

#[test]
fn http_1_0_does_without_a_host() {
    let gateway = gateway();
    for path in ["/livez", "/health", "/mcp"] {
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(
            format!("GET {path} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n").as_bytes(),
        );
        let answer = connection.read_head().unwrap();
        let status = answer.status;
        let text = answer.whole().text();
        assert_ne!(status, 403, "{path}: {text}");
        assert!(!text.contains("Host"), "{path}: {text}");
    }
}
