//! What a client of the revision without sessions, 2026-07-28, puts into its requests, and what it
//! asks first.

use anyhow::Result;
use memchr::memmem;

use crate::connection::Connection;
use crate::endpoint::{Endpoint, post};

const REVISION: &str = "2026-07-28";
/// What the gateway calls a conversation that it has named.
const CONVERSATION: &[u8] = b"\"mooring/conversation\"";

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Requests without a session are not served.
    Refused,
    /// They are. The gateway may have named a conversation.
    Served(Option<String>),
}

/// Asks what is served, as SDKs do that know both eras.
pub async fn discover(connection: &mut Connection, endpoint: &Endpoint) -> Result<Found> {
    let meta = meta(None);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{"_meta":{meta}}}}}"#
    );
    let request = post(endpoint, &headers("server/discover", None), &body);
    let response = connection.exchange(&request).await?;
    let is_served =
        response.status == 200 && memmem::find(response.body, b"\"supportedVersions\"").is_some();
    Ok(if is_served { Found::Served(conversation(response.body)) } else { Found::Refused })
}

/// The headers that repeat what a request says.
pub fn headers(method: &str, name: Option<&str>) -> String {
    let name = name.map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
    format!("MCP-Protocol-Version: {REVISION}\r\nMcp-Method: {method}\r\n{name}")
}

/// The `_meta` of a request, as JSON.
pub fn meta(conversation: Option<&str>) -> String {
    let named = conversation.map(|name| format!(r#","mooring/conversation":"{name}""#));
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{REVISION}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"mooring-load","version":"1"}}{}}}"#,
        named.unwrap_or_default()
    )
}

fn conversation(body: &[u8]) -> Option<String> {
    let rest = &body[memmem::find(body, CONVERSATION)? + CONVERSATION.len()..];
    std::str::from_utf8(rest.split(|&byte| byte == b'"').nth(1)?).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_that_was_named_is_found_and_goes_into_the_next_request() {
        let body = br#"{"result":{"_meta":{"mooring/conversation": "a.b-c","x":1}}}"#;
        assert_eq!(conversation(body).as_deref(), Some("a.b-c"));
        assert_eq!(conversation(b"{}"), None);
        let meta: serde_json::Value =
            serde_json::from_str(&meta(Some("a.b-c"))).unwrap_or_default();
        assert_eq!(meta["mooring/conversation"], "a.b-c");
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], REVISION);
    }
}
