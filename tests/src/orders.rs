//! Calls of the verbatim server's tools, which make it send given messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Session;
use crate::http::Incoming;

/// The verbatim server's tools for these calls.
pub fn tools() -> Value {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    json!({"tools": [tool("emit"), tool("announce")]})
}

/// Has the server send these messages and then a result on the returned response.
#[track_caller]
pub fn emit(session: &Session, tool: &str, messages: &[Value]) -> (Incoming, Value) {
    let answer = |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    order(session, tool, messages, Some(&answer))
}

/// Like [`emit`], with an answer that the test makes from the request's id.
#[track_caller]
pub fn emit_answer(
    session: &Session,
    tool: &str,
    messages: &[Value],
    answer: &dyn Fn(&Value) -> Value,
) -> (Incoming, Value) {
    order(session, tool, messages, Some(answer))
}

/// Has the server answer and send these messages afterwards: on a pipe, with no call in flight.
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

/// Has the server send these messages on the returned response and leave the call open.
#[track_caller]
pub fn left_open(session: &Session, tool: &str, messages: &[Value]) -> (Incoming, Value) {
    order(session, tool, messages, None)
}

/// Has the server send these messages outside of any call; they are sent when this returns.
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
