//! What requests over HTTP+SSE hold while they wait for their answers: no connection waits with them.

use mooring_tests::{Canned, Gateway, OverSse, Response, eventually, orders, settings};
use serde_json::{Value, json};

/// A header that is kept with its request.
const PADDING: usize = 40_000;

fn never_answered(id: usize) -> Value {
    let params = json!({"name": "emit", "arguments": {"messages": []}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

fn post(session: &OverSse, message: &Value, gateway: &Gateway) -> Response {
    let padding = "x".repeat(PADDING);
    session.post(message).header("X-Padding", &padding).send(gateway.address())
}

#[test]
fn requests_that_wait_have_a_part_of_the_memory_and_others_have_theirs() {
    let server = Canned::new().answers("tools/list", orders::tools());
    let entry = settings::merged(server.entry(), json!({"isolation": "shared"}));
    let gateway = Gateway::start_with(&settings::standalone(json!({"one": entry})));
    let open = || OverSse::initialize(gateway.address(), "/sse/one");
    let mut sessions = vec![open()];
    let mut waiting = 0;
    let refused = loop {
        assert!(waiting < 5000, "there is no end");
        if waiting % 200 == 199 {
            sessions.push(open());
        }
        let message = never_answered(1000 + waiting);
        let response = post(sessions.last().unwrap(), &message, &gateway);
        if response.status != 202 {
            break response.expect(429);
        }
        waiting += 1;
    };
    assert!(waiting > 1000, "{waiting}");
    assert!(refused.header("retry-after").is_some());
    assert!(refused.error_message().contains("HTTP+SSE"), "{}", refused.text());
    let page = gateway.get("/metrics").expect(200).text();
    assert!(page.contains("mooring_limit_refusals_total{limit=\"posted\"} 1\n"), "{page}");
    let last = sessions.last().unwrap();
    let elsewhere = last.post(&never_answered(7)).from(Some([127, 0, 0, 9].into()));
    elsewhere.send(gateway.address()).expect(202);
    // What is answered, or given up, makes room.
    sessions[0].notify("notifications/cancelled", json!({"requestId": 1000}));
    eventually("room for one more", || {
        (post(last, &never_answered(8), &gateway).status == 202).then_some(())
    });
}
