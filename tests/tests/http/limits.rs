//! Requests above a limit: refused with the limit's name, without affecting other clients.

use mooring_tests::{Cluster, Connection, Gateway, servers, settings};
use rustix::process::Signal;
use serde_json::json;

fn gateway() -> Gateway {
    Gateway::start_with(&json!({
        "mcpServers": {"counter": servers::counter(), "notes": servers::notes()},
        "groups": [{"name": "desk", "servers": ["notes"]}],
        "systemConfig": {"limits": {"requestBody": 100_000}},
    }))
}

#[test]
fn a_declared_body_over_the_limit_is_413_before_it_is_sent() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/counter"] {
        let session = gateway.client(path).initialize();
        let mut connection = Connection::open(gateway.address());
        connection.send_raw(
            format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Accept: application/json, text/event-stream\r\nMcp-Session-Id: {}\r\n\
                 Content-Length: 100001\r\n\r\n",
                gateway.address(),
                session.id
            )
            .as_bytes(),
        );
        let response = connection.read_head().unwrap().whole().expect(413);
        let says = response.error_message();
        assert!(says.contains("100000") && says.contains("limits.requestBody"), "{says}");
    }
}

#[test]
fn a_chunked_body_over_the_limit_is_413_that_names_it() {
    let gateway = gateway();
    for path in ["/mcp", "/mcp/notes", "/mcp/desk"] {
        let session = gateway.client(path).initialize();
        let tool = if path == "/mcp/notes" { "add_note" } else { "notes-add_note" };
        let text = "x".repeat(100_000);
        let params = json!({"name": tool, "arguments": {"text": text}});
        let (message, _) = session.message("tools/call", params);
        let response = session.post(&message).chunked().send(gateway.address()).expect(413);
        let says = response.error_message();
        assert!(says.contains("100000") && says.contains("limits.requestBody"), "{path}: {says}");
        session.try_request("ping", json!({})).expect(200);
    }
}

#[test]
fn a_body_that_is_too_large_or_breaks_off_is_no_fault_of_the_node() {
    let limits = json!({"systemConfig": {"limits": {"requestBody": 100_000}}});
    let coordinator = settings::merged(settings::coordinator(json!({})), limits);
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    cluster.add("n", json!({"notes": servers::notes()}));
    cluster.wait_for_active(1);
    let session = cluster.client("/mcp/notes").initialize();
    let params = json!({"name": "add_note", "arguments": {"text": "x".repeat(120_000)}});
    let (message, _) = session.message("tools/call", params);
    let too_large = session.post(&message).chunked().send(cluster.coordinator.address());
    assert_eq!(too_large.status, 413, "{}", too_large.text());
    let mut connection = Connection::open(cluster.coordinator.address());
    connection.send_raw(
        format!(
            "POST /mcp/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: */*\r\nMcp-Session-Id: {}\r\nContent-Length: 90000\r\n\r\n{}",
            session.id,
            "x".repeat(80_000)
        )
        .as_bytes(),
    );
    drop(connection);
    session.call("list_notes", json!({}));
    assert!(!cluster.coordinator.log().contains("did not answer"));
}

#[test]
fn a_header_block_over_the_limit_is_431() {
    let gateway = gateway();
    let long = "x".repeat(70 * 1024);
    let client = gateway.client("/mcp").header("X-Long", &long);
    client.try_initialize().expect(431);
    let many = (0..3000).fold(gateway.client("/mcp"), |client, n| {
        client.header(&format!("X-Header-{n}"), "some value of a header")
    });
    many.try_initialize().expect(431);
    let fits = "x".repeat(30 * 1024);
    gateway.client("/mcp").header("X-Long", &fits).try_initialize().expect(200);
}

#[test]
fn initialize_may_say_64_kib_of_its_client_which_outlive_a_restart() {
    let mut gateway = gateway();
    let params = |size: usize| {
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"experimental": {"long": {"x": "x".repeat(size)}}},
            "clientInfo": {"name": "long", "version": "1"},
        })
    };
    for path in ["/mcp", "/mcp/counter"] {
        let response = gateway.client(path).params(params(65 * 1024)).try_initialize();
        let says = response.expect(413).error_message();
        assert!(says.contains("initialize") && says.contains("65536"), "{says}");
        let session = gateway.client(path).params(params(60 * 1024)).initialize();
        gateway.restart_after(Signal::KILL);
        session.request("tools/list", json!({}));
        session.delete().expect(200);
        gateway.restart_after(Signal::KILL);
        session.try_request("tools/list", json!({})).expect(404);
    }
    let kept = std::fs::read_dir(gateway.data_folder().join("sessions")).unwrap();
    assert_eq!(kept.count(), 0);
}
