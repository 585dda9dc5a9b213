//! A session from `initialize` to DELETE, on a gateway without a cluster.

use mooring_tests::{Gateway, Session, servers, settings};
use serde_json::json;

fn gateway() -> Gateway {
    Gateway::start_with(&settings::standalone(json!({
        "counter": servers::counter(),
        "notes": servers::notes(),
        "clock": servers::clock(),
    })))
}

#[test]
fn a_session_keeps_the_state_of_its_server() {
    let gateway = gateway();
    for (path, tool) in [("/mcp", "counter-count"), ("/mcp/counter", "count")] {
        let session = gateway.client(path).initialize();
        assert_eq!([session.count(tool), session.count(tool), session.count(tool)], [1, 2, 3]);
    }
}

#[test]
fn two_sessions_see_nothing_of_each_other() {
    let gateway = gateway();
    for (path, tool) in [("/mcp", "counter-count"), ("/mcp/counter", "count")] {
        let (one, two) = (gateway.client(path).initialize(), gateway.client(path).initialize());
        assert_ne!(one.id, two.id);
        assert_eq!([one.count(tool), one.count(tool), two.count(tool)], [1, 2, 1]);
    }
}

#[test]
fn a_body_larger_than_what_is_kept_passes() {
    let gateway = gateway();
    let text = "0123456789abcdef".repeat(20_000);
    for (path, add, list) in
        [("/mcp", "notes-add_note", "notes-list_notes"), ("/mcp/notes", "add_note", "list_notes")]
    {
        let session = gateway.client(path).initialize();
        let params = json!({"name": add, "arguments": {"text": text}});
        for chunked in [false, true] {
            let (message, _) = session.message("tools/call", params.clone());
            let request = session.post(&message);
            let request = if chunked { request.chunked() } else { request };
            request.send(gateway.address()).expect(200);
        }
        let notes = session.call(list, json!({}));
        assert_eq!(notes["structuredContent"]["notes"], json!([text, text]), "{path}");
    }
}

#[test]
fn each_revision_with_sessions_is_negotiated() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
            let session = gateway.client(path).revision(revision).initialize();
            assert_eq!(session.result["protocolVersion"], revision, "{path}");
            session.try_request("tools/list", json!({})).expect(200);
        }
    }
    let unknown = gateway.client("/mcp").revision("2001-01-01").initialize();
    assert_eq!(unknown.result["protocolVersion"], "2025-11-25");
}

#[test]
fn a_client_may_begin_anew_with_its_old_id_still_attached() {
    let gateway = gateway();
    let client = gateway.client("/mcp").header("Mcp-Session-Id", "gone");
    let response = client.try_initialize().expect(200);
    let id = response.header("mcp-session-id").unwrap();
    Session::resumed(&gateway.client("/mcp"), id).try_request("ping", json!({})).expect(200);
}

#[test]
fn session_ids_are_never_logged_in_full() {
    let mut gateway = gateway();
    let session = gateway.client("/mcp").initialize();
    session.count("counter-count");
    session.delete().expect(200);
    gateway.terminate();
    assert!(!gateway.log().contains(&session.id));
}

#[test]
fn an_error_of_the_server_reaches_the_client_untouched() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/notes"] {
        let session = gateway.client(path).initialize();
        let prompt = if path == "/mcp" { "notes-summarize" } else { "summarize" };
        session.request("prompts/get", json!({"name": prompt}));
        let answer = session.answer("resources/read", json!({"uri": "note://99"}));
        assert_eq!(answer["error"]["code"], -32002, "{answer}");
    }
}
