//! A batch's answers are made as its client reads them.

use mooring_tests::{Canned, Connection, Gateway, OverSse, Session, eventually, process};
use serde_json::{Value, json};

/// Bytes of the list that each request asks for.
const LIST: usize = 1 << 20;
/// Requests in one batch.
const REQUESTS: usize = 250;

fn canned() -> Canned {
    let tools = (0..16).map(|n| {
        json!({"name": format!("tool{n}"), "description": "x".repeat(LIST / 16), "inputSchema": {"type": "object"}})
    });
    Canned::new()
        .with_capabilities(json!({"tools": {}}))
        .answers("tools/list", json!({"tools": tools.collect::<Vec<_>>()}))
}

fn gateway(canned: &Canned) -> Gateway {
    let gateway = Gateway::start_with(&json!({"mcpServers": {"large": canned.entry()}}));
    gateway.wait_until_discovered(&["large"]);
    gateway
}

fn batch() -> Value {
    (0..REQUESTS).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"})).collect()
}

fn old(gateway: &Gateway) -> Session {
    gateway.client("/mcp").revision("2025-03-26").initialize()
}

#[test]
fn a_batch_of_large_lists_holds_one_of_them_at_a_time() {
    let canned = canned();
    let gateway = gateway(&canned);
    let session = old(&gateway);
    session.request("tools/list", json!({}));
    let before = process::resident(gateway.pid());
    let mut connection = Connection::open(gateway.address());
    connection.send_request(&session.post(&batch()));
    let mut stream = connection.read_head().unwrap();
    let first = stream.event().json();
    assert!(first["result"]["tools"].as_array().is_some_and(|tools| tools.len() == 16));
    // Answers that are made ahead have no event: this is the time in which they would be.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let held = process::resident(gateway.pid()).saturating_sub(before);
    assert!(held < 64 << 20, "{} MiB", held >> 20);
    let mut seen = vec![false; REQUESTS];
    seen[usize::try_from(first["id"].as_u64().unwrap()).unwrap()] = true;
    for _ in 1..REQUESTS {
        let answer = stream.event().json();
        seen[usize::try_from(answer["id"].as_u64().unwrap()).unwrap()] = true;
    }
    assert!(seen.iter().all(|seen| *seen), "each is answered");
    assert!(stream.next_event().is_none(), "and then it ends");
}

#[test]
fn lists_over_http_sse_wait_for_their_reader() {
    let canned = canned();
    let gateway = gateway(&canned);
    let mut session = OverSse::initialize(gateway.address(), "/sse");
    session.request("tools/list", json!({}));
    let before = process::resident(gateway.pid());
    for id in 0..REQUESTS {
        session.send(&json!({"jsonrpc": "2.0", "id": format!("n{id}"), "method": "tools/list"}));
    }
    let held = process::resident(gateway.pid()).saturating_sub(before);
    assert!(held < 64 << 20, "{} MiB", held >> 20);
    for id in 0..REQUESTS {
        session.answer_to(&json!(format!("n{id}")));
    }
    eventually("nothing waits", || {
        let text = gateway.get("/metrics").expect(200).text();
        text.lines().any(|line| line == "mooring_answers_bytes 0").then_some(())
    });
}
