//! What a request of the revision without sessions repeats in its headers: its revision, its method,
//! what it names, and the arguments that a tool's schema marks (`x-mcp-header`).
//!
//! The marks are read from the lists of tools that pass through.

use std::collections::HashMap;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::protocol::era::arguments::{Mirrored, mirrored};
use crate::protocol::era::{meta, outgoing};
use crate::protocol::headers;
use crate::protocol::lenient::{Members, elements};
use crate::sync::Locked;

use super::message::{self, Request};

/// Tools of one endpoint whose marks are kept.
const MAX_TOOLS: usize = 100_000;
/// The id of the bridge's own request for a list.
pub const OWN_ID: &str = "\"mooring-connect\"";

/// The marked arguments of tools, by their names.
#[derive(Default)]
pub struct MarkedTools(Locked<HashMap<String, Vec<Mirrored>>>);

impl MarkedTools {
    /// The headers of a request that names its revision.
    pub fn headers(&self, request: &Request, body: &Bytes) -> HeaderMap {
        let params = message::params(body);
        let name = params.and_then(|params| Members::of(params.get())?.text("name"));
        let marked = match name.filter(|_| request.method == "tools/call") {
            Some(name) => self.0.lock().get(&name).cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        let mut made = outgoing::headers(&request.method, params, &marked);
        // The one that it names, which need not be one that is known here.
        if let Some(Ok(revision)) = request.revision.as_ref().map(|revision| revision.parse()) {
            made.insert(headers::PROTOCOL_VERSION, revision);
        }
        made
    }

    /// Reads a page of the list of tools, and returns the cursor of the next one.
    pub fn learn(&self, answer: &[u8]) -> Option<String> {
        let result = Members::of_bytes(answer)?.object("result")?;
        let mut marked = self.0.lock();
        for tool in elements(result.get("tools")).unwrap_or_default() {
            let Some(name) = Members::of(tool.get()).and_then(|tool| tool.text("name")) else {
                continue;
            };
            match mirrored(tool.get().as_bytes()) {
                marks if marks.is_empty() => drop(marked.remove(&name)),
                marks if marked.len() < MAX_TOOLS => drop(marked.insert(name, marks)),
                _ => {}
            }
        }
        result.text("nextCursor")
    }
}

/// A request for the list of tools, by the client of this request.
pub fn list_of_tools(of: &[u8], cursor: Option<&str>) -> Bytes {
    let said = message::params(of).and_then(|params| Members::of(params.get())?.object("_meta"));
    let said = said.unwrap_or_default();
    let of_client = [meta::VERSION, meta::CAPABILITIES, meta::CLIENT];
    let own: Map<String, Value> = of_client
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), value(said.get(name)?)?)))
        .collect();
    let mut params = json!({"_meta": own});
    if let Some(cursor) = cursor {
        params["cursor"] = json!(cursor);
    }
    let params = params.to_string();
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{OWN_ID},"method":"tools/list","params":{params}}}"#
    ))
}

fn value(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::connect::message::{Kind, kind};

    fn request(method: &str, params: Value) -> (Request, Bytes) {
        let mut params = params;
        params["_meta"] =
            json!({meta::VERSION: "2026-07-28", meta::CAPABILITIES: {}, "progressToken": 1});
        let line =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let Kind::Request(request) = kind(&line) else { panic!("{line}") };
        (request, Bytes::from(line))
    }

    #[test]
    fn a_call_repeats_what_the_list_has_marked() {
        let tools = MarkedTools::default();
        let (call, body) = request("tools/call", json!({"name": "t", "arguments": {"r": "eu"}}));
        assert!(!tools.headers(&call, &body).contains_key("mcp-param-region"));
        let schema =
            |mark: Value| json!({"properties": {"r": {"type": "string", "x-mcp-header": mark}}});
        let page = |mark: Value| {
            let tools = json!([{"name": "t", "inputSchema": schema(mark)}]);
            json!({"id": 1, "result": {"tools": tools, "nextCursor": "c"}}).to_string()
        };
        assert_eq!(tools.learn(page(json!("Region")).as_bytes()).as_deref(), Some("c"));
        let headers = tools.headers(&call, &body);
        for (name, value) in [
            ("mcp-param-region", "eu"),
            (headers::NAME.as_str(), "t"),
            (headers::METHOD.as_str(), "tools/call"),
            (headers::PROTOCOL_VERSION.as_str(), "2026-07-28"),
        ] {
            assert_eq!(headers[name], value);
        }
        tools.learn(page(Value::Null).as_bytes());
        assert!(!tools.headers(&call, &body).contains_key("mcp-param-region"), "not any more");
        assert_eq!(tools.learn(br#"{"id":1,"error":{}}"#), None);
    }

    #[test]
    fn the_own_request_for_the_list_says_who_its_client_is() {
        let (_, body) = request("tools/call", json!({"name": "t"}));
        let asked: Value = serde_json::from_slice(&list_of_tools(&body, Some("c"))).unwrap();
        let own = json!({meta::VERSION: "2026-07-28", meta::CAPABILITIES: {}});
        assert_eq!(asked["params"], json!({"_meta": own, "cursor": "c"}));
        let Kind::Request(request) = kind(&asked.to_string()) else { panic!("{asked}") };
        assert_eq!((request.id.as_str(), request.method.as_str()), (OWN_ID, "tools/list"));
    }
}
