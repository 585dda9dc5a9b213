//! No message carries another one to a process: neither in a form that some readers understand
//! otherwise, nor behind something that some readers take for the end of a line.

use mooring_tests::{Canned, Gateway, Session, servers, settings};
use serde_json::{Value, json};

/// What ends a line for Python's `splitlines`; Node's `readline` knows some of it.
fn ends_line(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn server() -> Canned {
    Canned::new().answers("tools/call", json!({"content": [{"type": "text", "text": "ran"}]}))
}

fn post(session: &Session, body: impl Into<Vec<u8>>) -> mooring_tests::Response {
    session.with(session.client.post()).body(body).send(session.client.address())
}

#[test]
fn nothing_within_a_message_ends_its_line() {
    let server = server();
    let hiding = json!({"tools": {"other": {"enabled": false}}});
    let gateway = Gateway::start_with(&settings::standalone(json!({
        "own": server.entry(),
        "shared": servers::isolated(server.entry(), "shared"),
        "judged": settings::merged(server.entry(), hiding),
    })));
    server.answer(
        "tools/list",
        &json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
    );
    for path in ["/mcp/own", "/mcp/shared", "/mcp/judged"] {
        let session = gateway.client(path).initialize();
        let before = server.received().len();
        let inner = r#"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}"#;
        let text = format!("a\u{2028}{inner}\u{2029}{inner}\u{85}é漢“😀\u{80}\u{202a}");
        let arguments = format!("{{\"x\":\"{text}\",\"{}\":1}}", "y\u{2028}");
        let body = format!(
            "{{\r\n\"jsonrpc\":\"2.0\",\n\"id\":9,\r\"method\":\"tools/call\",\n\n\"params\":{{\"name\":\"t\",\"arguments\":{arguments}}}\r\n}}\n"
        );
        post(&session, body).expect(200);
        let log = server.received();
        let lines: Vec<&str> = log[before..].trim_end().split(ends_line).collect();
        let calls: Vec<&&str> = lines.iter().filter(|line| line.contains("tools/call")).collect();
        assert_eq!(calls.len(), 1, "{path}: {lines:?}");
        let (_, heard) = calls[0].split_once(' ').unwrap();
        let heard: Value = serde_json::from_str(heard).unwrap();
        let meant: Value = serde_json::from_str(&arguments).unwrap();
        assert_eq!(heard["params"]["arguments"], meant, "{path}");
    }
}

/// Messages that some reader takes for one with another id or token, or for several: at a shared
/// process those are the numbers of other sessions' calls.
fn smuggled() -> Vec<String> {
    let inner = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"smuggled"}}"#;
    let call = |more: &str, params: &str| {
        let params = format!(r#"{{"name":"smuggled"{params}}}"#);
        format!(r#"{{"jsonrpc":"2.0","id":900,"method":"tools/call","params":{params}{more}}}"#)
    };
    let mut bodies = vec![
        format!(r#"["2.0",900,"tools/call",{inner}]"#),
        format!("[{inner}]"),
        format!("{}\n{inner}", inner.replace("\"id\":1", "\"id\":900")),
        r#"{"jsonrpc":"2.0","id":900,"method":"tools/call","params":["smuggled"]}"#.to_owned(),
    ];
    for more in [
        r#","ID":1"#,
        r#","Id":1"#,
        r#","\u0069d":1"#,
        r#","id\u0000":1"#,
        r#","\u0131d":1"#,
        r#","Method":"tools/call""#,
        r#","Params":{}"#,
        r#","result":{}"#,
        r#","Result":{}"#,
    ] {
        bodies.push(call(more, ""));
    }
    for params in [
        r#","_meta":{"progressToken":7,"progresstoken":1}"#,
        r#","_meta":{"progressToken":7,"progressToken":1}"#,
        r#","_meta":{"progressToken":{"a":1}}"#,
        r#","_meta":{"progressToken":7},"_Meta":{"progressToken":1}"#,
        r#","_meta":{"progressToken":7},"_meta":{"progressToken":1}"#,
        r#","_meta":[1]"#,
    ] {
        bodies.push(call("", params));
    }
    for params in [
        r#"{"requestId":900,"RequestId":1,"reason":"smuggled"}"#,
        r#"{"requestId":900,"requestId":1,"reason":"smuggled"}"#,
        r#"{"requestId":900,"request\u0049d":1,"reason":"smuggled"}"#,
        r#"{"RequestId":1,"reason":"smuggled"}"#,
        r#"["smuggled"]"#,
    ] {
        bodies.push(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#
        ));
    }
    for (method, params) in [
        ("tasks/get", r#"{"taskId":"x","TaskId":"smuggled"}"#),
        ("tasks/cancel", r#"{"taskid":"smuggled"}"#),
        ("resources/subscribe", r#"{"uri":"a","URI":"smuggled"}"#),
        ("resources/unsubscribe", r#"{"uri":"smuggled","uri":"a"}"#),
    ] {
        bodies
            .push(format!(r#"{{"jsonrpc":"2.0","id":900,"method":"{method}","params":{params}}}"#));
    }
    for id in ["[1]", "{\"a\":1}", "1.0", "1e0", "null", "\"\\ud800\""] {
        bodies.push(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"smuggled"}}}}"#
        ));
    }
    bodies
}

#[test]
fn no_message_brings_a_number_of_its_own_to_a_shared_process() {
    let server = server();
    let shared = |isolation: &str| servers::isolated(server.entry(), isolation);
    let gateway = Gateway::start_with(&settings::standalone(json!({"shared": shared("shared")})));
    for revision in ["2025-11-25", "2025-03-26"] {
        let session = gateway.client("/mcp/shared").revision(revision).initialize();
        let call = || session.call("fine", json!({}));
        call();
        for body in smuggled() {
            let is_batch = revision == "2025-03-26" && body.starts_with('[');
            let body = if is_batch { format!("[{body}]") } else { body };
            let response = post(&session, &*body);
            match response.status {
                // Half a surrogate pair comes back as the id: no reader here takes that.
                200 => {
                    let answer = response.text();
                    assert!(answer.contains(r#""error":{"#), "{body}: {answer}");
                    assert!(!answer.contains(r#""result":"#), "{body}: {answer}");
                }
                status => assert!([202, 400].contains(&status), "{body}: {status}"),
            }
        }
        call();
        let log = server.received();
        let leaked: Vec<&str> = log.lines().filter(|line| line.contains("smuggled")).collect();
        assert_eq!(leaked, [""; 0], "{revision}");
    }
    // The part of a batch gets its number too.
    let session = gateway.client("/mcp/shared").revision("2025-03-26").initialize();
    let call = |id: u32| {
        let params = json!({"name": "part", "_meta": {"progressToken": id}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    post(&session, json!([call(1), call(2)]).to_string()).expect(200);
    let told = server.told();
    let numbers = told.iter().filter(|(_, told)| told["params"]["name"] == "part");
    let numbers: Vec<(&Value, &Value)> =
        numbers.map(|(_, told)| (&told["id"], &told["params"]["_meta"]["progressToken"])).collect();
    assert_eq!(numbers.len(), 2);
    for (id, token) in numbers {
        assert_eq!(id, token);
        assert!(id.as_u64() > Some(2), "{id}");
    }
}
