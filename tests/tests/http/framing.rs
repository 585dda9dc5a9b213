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
