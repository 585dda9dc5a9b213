//! Requests to a server of the revision without sessions, made of a session's: what the session has
//! said once, each of them says (2026-07-28, basic, "Request Metadata").

use http::header::{HeaderMap, HeaderValue};
use serde_json::value::RawValue;

use crate::protocol::headers::{METHOD, NAME, PROTOCOL_VERSION};
use crate::protocol::lenient::{Members, text};
use crate::protocol::log_level::LogLevel;
use crate::protocol::splice::quoted;

use super::arguments::Mirrored;
use super::methods::named_by;
use super::{REVISION, arguments, field, meta, tasks};

/// What a client says of itself in every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Its capabilities, as JSON.
    pub capabilities: String,
    /// Its name and version, as JSON.
    pub client: Option<String>,
}

impl Introduction {
    /// What the parameters of `initialize` say. Tasks are left out, which are others in this
    /// revision, and so is the announcement that roots may change, which it does not have.
    #[must_use]
    pub fn of(initialize: &[u8]) -> Self {
        let params = Members::of_bytes(initialize).unwrap_or_default();
        let capabilities = params.get("capabilities").and_then(|raw| {
            let mut said: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(raw.get()).ok()?;
            said.shift_remove("tasks");
            if let Some(roots) = said.get_mut("roots").and_then(|roots| roots.as_object_mut()) {
                roots.shift_remove("listChanged");
            }
            if let Some(all) = said.get_mut("extensions").and_then(|all| all.as_object_mut()) {
                all.shift_remove(tasks::EXTENSION);
            }
            Some(serde_json::Value::Object(said).to_string())
        });
        let client = params.get("clientInfo").filter(|raw| {
            let said = Members::of(raw.get()).unwrap_or_default();
            said.text("name").is_some() && said.text("version").is_some()
        });
        Self {
            capabilities: capabilities.unwrap_or_else(|| "{}".to_owned()),
            client: client.map(|raw| raw.get().to_owned()),
        }
    }

    /// Its capabilities with the extension of tasks, as JSON.
    fn capabilities_with_tasks(&self) -> String {
        let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>;
        let mut said = read(&self.capabilities).unwrap_or_default();
        let all = said.entry("extensions").or_insert_with(|| serde_json::json!({}));
        if !all.is_object() {
            *all = serde_json::json!({});
        }
        all[tasks::EXTENSION] = serde_json::json!({});
        serde_json::Value::Object(said).to_string()
    }

    /// Whether a capability is among them, or a member of it.
    #[must_use]
    pub fn has(&self, capability: &str, member: Option<&str>) -> bool {
        let said = Members::of(&self.capabilities).unwrap_or_default();
        let Some(raw) = said.get(capability) else { return false };
        let Some(member) = member else { return true };
        Members::of(raw.get()).is_some_and(|members| members.get(member).is_some())
    }
}

/// What one request says beside that.
#[derive(Debug, Default, Clone, Copy)]
pub struct OfRequest<'a> {
    /// Log messages from this level on are wanted.
    pub level: Option<LogLevel>,
    /// Progress is wanted under this token, as JSON, in place of the client's.
    pub token: Option<&'a str>,
    /// What the server has asked for: the answers and its state, each as JSON.
    pub answers: Option<&'a str>,
    /// The server's state, as JSON.
    pub state: Option<&'a str>,
    /// Whether its client takes a task for an answer, beside what the session has said.
    pub takes_tasks: bool,
    /// Whether the client's own answers go to the server: they are for one of its tasks.
    pub brings_answers: bool,
}

/// The parameters of a request, made of the client's: everything in them stays as it is but what
/// the revision itself says in `_meta`. `None` if the client's are no object.
#[must_use]
pub fn params(
    of_client: Option<&RawValue>,
    said: &Introduction,
    request: OfRequest<'_>,
) -> Option<String> {
    let given = match of_client.filter(|params| params.get() != "null") {
        Some(params) if params.get().starts_with('{') => Members::of(params.get())?,
        Some(_) => return None,
        None => Members::default(),
    };
    let mut out = String::with_capacity(of_client.map_or(0, |params| params.get().len()) + 512);
    out.push('{');
    push(&mut out, "_meta", &with_meta(given.get("_meta"), said, request)?);
    for (name, value) in given.iter() {
        let is_kept = match name {
            "_meta" | "requestState" => false,
            "inputResponses" => request.brings_answers,
            _ => true,
        };
        if is_kept {
            push(&mut out, name, value.get());
        }
    }
    if let Some(answers) = request.answers {
        push(&mut out, "inputResponses", answers);
    }
    if let Some(state) = request.state {
        push(&mut out, "requestState", state);
    }
    out.push('}');
    Some(out)
}

fn with_meta(
    of_client: Option<&RawValue>,
    said: &Introduction,
    request: OfRequest<'_>,
) -> Option<String> {
    let mut out = String::from("{");
    push(&mut out, meta::VERSION, &quoted(REVISION));
    match request.takes_tasks {
        true => push(&mut out, meta::CAPABILITIES, &said.capabilities_with_tasks()),
        false => push(&mut out, meta::CAPABILITIES, &said.capabilities),
    }
    if let Some(client) = &said.client {
        push(&mut out, meta::CLIENT, client);
    }
    if let Some(level) = request.level {
        push(&mut out, meta::LOG_LEVEL, &level.json());
    }
    if let Some(token) = request.token {
        push(&mut out, "progressToken", token);
    }
    let own = [
        meta::VERSION,
        meta::CAPABILITIES,
        meta::CLIENT,
        meta::LOG_LEVEL,
        "progressToken",
        tasks::TAKEN,
    ];
    if let Some(raw) = of_client.filter(|raw| raw.get().starts_with('{')) {
        for (name, value) in Members::of(raw.get())?.iter() {
            if !own.contains(&name) {
                push(&mut out, name, value.get());
            }
        }
    }
    out.push('}');
    Some(out)
}

pub(super) fn push(out: &mut String, name: &str, value: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(&quoted(name));
    out.push(':');
    out.push_str(value);
}

/// The headers that repeat what such a request says: its revision, its method, what it names, and
/// the annotated arguments of a tool.
#[must_use]
pub fn headers(method: &str, params: Option<&RawValue>, mirrored: &[Mirrored]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(REVISION));
    if let Some(value) = field::encoded(method) {
        headers.insert(METHOD, value);
    }
    let Some(members) = params.and_then(|params| Members::of(params.get())) else { return headers };
    let named = named_by(method).and_then(|member| members.get(member)).and_then(text);
    if let Some(value) = named.as_deref().and_then(field::encoded) {
        headers.insert(NAME, value);
    }
    if !mirrored.is_empty() {
        let given = members.get("arguments").map(RawValue::get);
        headers.extend(arguments::repeated(mirrored, given));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_a_session_has_said_once_is_said_again() {
        let said = Introduction::of(
            br#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true},"tasks":{},
            "elicitation":{"url":{}},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}},
            "clientInfo":{"name":"c","version":"1","title":"C"}}"#,
        );
        let capabilities: Value = serde_json::from_str(&said.capabilities).unwrap();
        let expect = json!({"roots": {}, "elicitation": {"url": {}}, "extensions": {"a/b": {}}});
        assert_eq!(capabilities, expect);
        assert_eq!(said.client.as_deref(), Some(r#"{"name":"c","version":"1","title":"C"}"#));
        assert!(said.has("elicitation", Some("url")) && !said.has("elicitation", Some("form")));
        assert!(said.has("roots", None) && !said.has("sampling", None));
        for odd in [&b"{}"[..], b"", br#"{"capabilities":[],"clientInfo":{"name":"c"}}"#] {
            let said = Introduction::of(odd);
            assert_eq!((&*said.capabilities, said.client), ("{}", None));
        }
    }

    #[test]
    fn the_clients_own_parameters_keep_their_bytes() {
        let said = Introduction { capabilities: "{}".into(), client: None };
        let given = raw(
            r#"{ "name":"t","arguments":{"n":1.0,"b":12345678901234567890123},"requestState":"forged",
            "_meta":{"progressToken":7,"traceparent":"00-1","io.modelcontextprotocol/logLevel":"debug"}}"#,
        );
        let request = OfRequest { token: Some("3"), ..OfRequest::default() };
        let got = params(Some(given), &said, request).unwrap();
        assert_eq!(
            got,
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":3,"traceparent":"00-1"},"name":"t","arguments":{"n":1.0,"b":12345678901234567890123}}"#
        );
        let retry = OfRequest {
            level: LogLevel::parse("info"),
            answers: Some(r#"{"a":{}}"#),
            state: Some("\"s\""),
            ..OfRequest::default()
        };
        let got: Value = serde_json::from_str(&params(None, &said, retry).unwrap()).unwrap();
        assert_eq!(got["inputResponses"], json!({"a": {}}));
        assert_eq!(got["requestState"], "s");
        assert_eq!(got["_meta"][meta::LOG_LEVEL], "info");
        assert_eq!(params(Some(raw("[1]")), &said, OfRequest::default()), None);
    }

    #[test]
    fn a_client_that_takes_tasks_says_so_with_its_request() {
        let said =
            Introduction { capabilities: r#"{"extensions":{"a/b":{}}}"#.into(), client: None };
        let given =
            raw(r#"{"taskId":"t","inputResponses":{"k":1.0},"_meta":{"mooring/tasks":true}}"#);
        let request = OfRequest { takes_tasks: true, brings_answers: true, ..OfRequest::default() };
        let got: Value =
            serde_json::from_str(&params(Some(given), &said, request).unwrap()).unwrap();
        let expect = json!({"extensions": {"a/b": {}, "io.modelcontextprotocol/tasks": {}}});
        assert_eq!(got["_meta"][meta::CAPABILITIES], expect);
        assert_eq!(got["inputResponses"], json!({"k": 1.0}));
        let text = params(Some(given), &said, OfRequest::default()).unwrap();
        assert!(!text.contains("tasks") && !text.contains("inputResponses"), "{text}");
        let bare = Introduction { capabilities: "{}".into(), client: None };
        assert!(tasks::are_among(&bare.capabilities_with_tasks()));
        let headers = headers("tasks/get", Some(given), &[]);
        assert_eq!(headers["mcp-name"], "t");
    }

    #[test]
    fn headers_repeat_what_the_body_says() {
        let tool = br#"{"inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},"o":{"type":"string","x-mcp-header":"O"}}}}"#;
        let mirrored = arguments::mirrored(tool);
        let call = raw(r#"{"name":"\u00e4","arguments":{"r":" x","n":42,"o":null}}"#);
        let headers = headers("tools/call", Some(call), &mirrored);
        let got = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(got("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(got("mcp-method"), Some("tools/call"));
        assert_eq!(got("mcp-name"), Some("=?base64?w6Q=?="));
        assert_eq!(got("mcp-param-region"), Some("=?base64?IHg=?="));
        assert_eq!((got("mcp-param-n"), got("mcp-param-o")), (Some("42"), None));
        arguments::check(&mirrored, Some(r#"{"r":" x","n":42}"#), &headers).unwrap();
        let read = super::headers("resources/read", Some(raw(r#"{"uri":"a://b"}"#)), &[]);
        assert_eq!(read["mcp-name"], "a://b");
        assert!(super::headers("tools/list", None, &[]).get("mcp-name").is_none());
    }
}
