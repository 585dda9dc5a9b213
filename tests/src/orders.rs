//! Calls of the verbatim server's tools: what it is to say, in its own words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Session;
use crate::http::Incoming;

/// The tools of the verbatim server that a test orders with.
pub fn tools() -> Value {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    json!({"tools": [tool("emit"), tool("announce")]})
}

/// Has the server say these messages and then a result, on the response that this gives.
#[track_caller]
pub fn emit(session: &Session, tool: &str, messages: &[Value]) -> (Incoming, Value) {
    let answer = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    order(session, tool, messages, Some(&answer))
}

/// The same with an answer of the test's own, made from the request's id.
#[track_caller]
pub fn emit_answer(
    session: &Session,
    tool: &str,
    messages: &[Value],
    answer: &dyn Fn(&Value) -> Value,
) -> (Incoming, Value) {
    order(session, tool, messages, Some(answer))
}

/// Has the server answer, and say these messages after it: on a pipe, when nothing is under way.
#[track_caller]
pub fn late(session: &Session, tool: &str, messages: &[Value]) {
    let (mut message, id) = session.message("tools/call", Value::Null);
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    let all: Vec<Value> = [&[answer], messages].concat();
    message["params"] = json!({"name": tool, "arguments": {"messages": coded(&all)}});
    session.post(&message).send(session.client.address()).expect(200);
}

pub fn coded(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| STANDARD.encode(message.to_string())).collect()
}

/// Has the server say these messages and leave the call open, on the response that this gives.
#[track_caller]
pub fn left_open(session: &Session, tool: &str, messages: &[Value]) -> (Incoming, Value) {
    order(session, tool, messages, None)
}

/// Has the server say these messages by itself; they are said when this returns.
#[track_caller]
pub fn announce(session: &Session, tool: &str, messages: &[Value]) {
    let (response, id) = order(session, tool, messages, None);
    let messages = response.whole().expect(200).messages();
    assert!(messages.iter().any(|message| message["id"] == id), "{messages:?}");
}

fn order(
    session: &Session,
    tool: &str,
    messages: &[Value],
    answer: Option<&dyn Fn(&Value) -> Value>,
) -> (Incoming, Value) {
    let (mut message, id) = session.message("tools/call", Value::Null);
    let all: Vec<Value> =
        messages.iter().cloned().chain(answer.map(|answer| answer(&id))).collect();
    message["params"] = json!({"name": tool, "arguments": {"messages": coded(&all)}});
    (session.post(&message).open(session.client.address()), id)
}

pub fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}
