//! Answers and notifications of a server of the revision without sessions, as a client of a session
//! gets them.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::jsonrpc::code;
use crate::protocol::lenient::{Members, elements, text};
use crate::protocol::methods::{List, READ};
use crate::protocol::splice::quoted;

use super::outgoing::push;
use super::result::COMPLETE;
use super::{arguments, meta, methods::Method, tasks};

/// Whose request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// That of a client with a session.
    Session,
    /// That of a client without, for which the edge has a session in its place.
    Sessionless {
        /// Whether it takes a task for an answer.
        takes_tasks: bool,
    },
}

/// The result without what only this revision has: every other member keeps its bytes.
///
/// # Errors
/// The type of a result that its client does not know.
pub fn result(method: &str, result: &RawValue, audience: Audience) -> Result<Bytes, String> {
    let text_of_it = result.get();
    let Some(members) = Members::of(text_of_it).filter(|_| text_of_it.starts_with('{')) else {
        return Ok(Bytes::copy_from_slice(text_of_it.as_bytes()));
    };
    let is_task = match members.text("resultType") {
        Some(kind) if kind == tasks::TASK => {
            if audience != (Audience::Sessionless { takes_tasks: true }) {
                return Err(kind);
            }
            true
        }
        Some(kind) if kind != COMPLETE => return Err(kind),
        Some(_) | None => false,
    };
    let is_kept = Method::of(method).is_some_and(Method::is_kept);
    let mut out = String::with_capacity(text_of_it.len());
    out.push('{');
    for (name, value) in members.iter() {
        match name {
            "resultType" if !is_task => {}
            "ttlMs" | "cacheScope" if is_kept => {}
            "_meta" => {
                if let Some(rest) = without(value, meta::SERVER) {
                    push(&mut out, name, &rest);
                }
            }
            // What a client must not use it must not see (2026-07-28, server/tools).
            "tools" if method == List::Tools.method() => {
                push(&mut out, name, &usable_tools(value));
            }
            _ => push(&mut out, name, value.get()),
        }
    }
    out.push('}');
    Ok(out.into())
}

/// The tools whose annotations can be followed.
fn usable_tools(tools: &RawValue) -> String {
    let is_usable = |tool: &RawValue| arguments::is_valid(tool.get().as_bytes());
    let Some(all) = elements(Some(tools)) else { return tools.get().to_owned() };
    if all.iter().all(|tool| is_usable(tool)) {
        return tools.get().to_owned();
    }
    let usable = all.into_iter().filter(|tool| is_usable(tool)).map(RawValue::get);
    format!("[{}]", usable.collect::<Vec<_>>().join(","))
}

/// An object without one member. `None` if nothing is left of it.
#[must_use]
pub fn without(object: &RawValue, member: &str) -> Option<String> {
    let Some(members) = Members::of(object.get()).filter(|_| object.get().starts_with('{')) else {
        return Some(object.get().to_owned());
    };
    if !members.iter().any(|(name, _)| name == member) {
        return Some(object.get().to_owned());
    }
    let mut out = String::from("{");
    for (name, value) in members.iter().filter(|(name, _)| *name != member) {
        push(&mut out, name, value.get());
    }
    out.push('}');
    (out.len() > 2).then_some(out)
}

/// The code of an error. `None` if it cannot be read.
#[must_use]
pub fn code_of(error: &RawValue) -> Option<i64> {
    Members::of(error.get())?.get("code")?.get().parse().ok()
}

/// An error under the code that it has in a session's revision.
#[must_use]
pub fn error(method: &str, error: &RawValue, audience: Audience) -> String {
    let Some(members) = Members::of(error.get()) else { return error.get().to_owned() };
    let other = match code_of(error) {
        // There a resource that does not exist has a code of its own.
        Some(code::INVALID_PARAMS) if method == READ => code::RESOURCE,
        Some(code::MISSING_CAPABILITY) if audience == Audience::Session => code::INVALID_REQUEST,
        // Neither is the client's fault: the gateway has written headers and revision.
        Some(code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION) => code::INTERNAL,
        Some(_) | None => return error.get().to_owned(),
    };
    let mut out = String::from("{");
    for (name, value) in members.iter() {
        match name {
            "code" => push(&mut out, name, &other.to_string()),
            _ => push(&mut out, name, value.get()),
        }
    }
    out.push('}');
    out
}

/// A tool's result that says what has gone wrong, for its model to read.
#[must_use]
pub fn tool_error(why: &str) -> Bytes {
    let why = quoted(why);
    format!("{{\"content\":[{{\"type\":\"text\",\"text\":{why}}}],\"isError\":true}}").into()
}

/// The parameters of a notification without the id of the `subscriptions/listen` that it came for.
#[must_use]
pub fn notice_params(params: Option<&RawValue>) -> Option<String> {
    let params = params?;
    let Some(members) = Members::of(params.get()) else { return Some(params.get().to_owned()) };
    let mut out = String::from("{");
    for (name, value) in members.iter() {
        match name {
            "_meta" => {
                if let Some(rest) = without(value, meta::SUBSCRIPTION) {
                    push(&mut out, name, &rest);
                }
            }
            _ => push(&mut out, name, value.get()),
        }
    }
    out.push('}');
    (out.len() > 2).then_some(out)
}

/// The id of the `subscriptions/listen` that a notification came for, as JSON.
#[must_use]
pub fn subscription(params: Option<&RawValue>) -> Option<&RawValue> {
    Members::of(params?.get())?.object("_meta")?.get(meta::SUBSCRIPTION)
}

/// The resources that a server has said it will tell of, in its acknowledgement.
#[must_use]
pub fn acknowledged(params: Option<&RawValue>) -> Vec<String> {
    let honoured = params.and_then(|params| Members::of(params.get())?.object("notifications"));
    let uris = honoured.and_then(|all| elements(all.get("resourceSubscriptions")));
    uris.unwrap_or_default().into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Audience = Audience::Session;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn results_lose_what_sessions_do_not_have_and_nothing_else() {
        let list = raw(
            r#"{"resultType":"complete","ttlMs":1,"cacheScope":"public","tools":[ {"name":"a","x":1.0} ],"_meta":{"io.modelcontextprotocol/serverInfo":{},"v/x":1}}"#,
        );
        let got = result("tools/list", list, SESSION).unwrap();
        assert_eq!(got, r#"{"tools":[ {"name":"a","x":1.0} ],"_meta":{"v/x":1}}"#);
        let call = raw(r#"{"content":[],"ttlMs":1,"resultType":"complete"}"#);
        assert_eq!(result("tools/call", call, SESSION).unwrap(), r#"{"content":[],"ttlMs":1}"#);
        let bare = raw(r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#);
        assert_eq!(result("tools/call", bare, SESSION).unwrap(), "{}");
        let task = raw(r#"{"resultType":"task","taskId":"t","ttlMs":null}"#);
        let taking = Audience::Sessionless { takes_tasks: true };
        assert_eq!(result("tools/call", task, taking).unwrap(), task.get());
        for other in [SESSION, Audience::Sessionless { takes_tasks: false }] {
            assert_eq!(result("tools/call", task, other), Err("task".to_owned()));
        }
        assert_eq!(result("x", raw("[1]"), SESSION).unwrap(), "[1]");
        let odd = raw(
            r#"{"tools":[{"name":"a"},{"name":"b","inputSchema":{"properties":{"p":{"type":"string","x-mcp-header":""}}}}]}"#,
        );
        assert_eq!(result("tools/list", odd, SESSION).unwrap(), r#"{"tools":[{"name":"a"}]}"#);
    }

    #[test]
    fn errors_have_the_codes_of_sessions() {
        for (method, code, expect) in [
            ("resources/read", -32602, -32002),
            ("tools/call", -32602, -32602),
            ("tools/call", -32021, -32600),
            ("tools/call", -32020, -32603),
            ("tools/call", -32022, -32603),
            ("tools/call", -32601, -32601),
            ("tools/call", 7, 7),
        ] {
            let given = format!(r#"{{"code":{code},"message":"m","data":{{"x":1.0}}}}"#);
            let got = error(method, raw(&given), SESSION);
            assert_eq!(got, given.replace(&code.to_string(), &expect.to_string()), "{method}");
        }
        assert_eq!(error("x", raw("7"), SESSION), "7");
        let incapable = raw(r#"{"code":-32021,"message":"m"}"#);
        let without = Audience::Sessionless { takes_tasks: false };
        assert_eq!(error("tools/call", incapable, without), incapable.get());
    }

    #[test]
    fn notifications_lose_the_id_of_their_subscription() {
        let params = raw(r#"{"uri":"a://b","_meta":{"io.modelcontextprotocol/subscriptionId":3}}"#);
        assert_eq!(subscription(Some(params)).unwrap().get(), "3");
        assert_eq!(notice_params(Some(params)).as_deref(), Some(r#"{"uri":"a://b"}"#));
        let bare = raw(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}"#);
        assert_eq!(notice_params(Some(bare)), None);
        let ack = raw(
            r#"{"notifications":{"resourceSubscriptions":["a://b",7],"toolsListChanged":true}}"#,
        );
        assert_eq!(acknowledged(Some(ack)), ["a://b"]);
        assert!(acknowledged(None).is_empty() && acknowledged(Some(raw("[]"))).is_empty());
    }
}
