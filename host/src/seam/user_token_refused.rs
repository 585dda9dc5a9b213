//! How a server refuses the token of its client's user: as such, or for what it is not good for
//! (`insufficient_scope`, RFC 6750 §3.1). The runner says so in an error that it marks as such a refusal;
//! the scopes that are wanted stand in its data.

use std::fmt;

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::lenient::Members;

/// Most scopes that are read, and bytes of one.
const MAX_SCOPES: usize = 64;
const MAX_SCOPE: usize = 256;

/// A refusal, after which nothing has run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserTokenRefused {
    /// What the token has to be good for; empty if another token may do that is good for the same.
    pub scopes: Vec<String>,
}

impl UserTokenRefused {
    /// The error in the place of an answer. `id` is the request's, as JSON.
    #[must_use]
    pub fn error(&self, id: Option<&str>, server: &ServerName) -> Bytes {
        let text = format!("server {server} {self}; it has not run the request");
        self.error_with(id, &text)
    }

    /// The same, in other words.
    #[must_use]
    pub fn error_with(&self, id: Option<&str>, text: &str) -> Bytes {
        if self.scopes.is_empty() {
            return jsonrpc::error(id, code::UNAVAILABLE, text);
        }
        let data = serde_json::json!({"scopes": self.scopes}).to_string();
        jsonrpc::error_with(id, code::UNAVAILABLE, text, &data)
    }

    /// What such an error says.
    #[must_use]
    pub fn read(error: &[u8]) -> Self {
        let scopes = || {
            let error = Envelope::parse(error).ok()?.error?;
            let data = Members::of(error.get())?.object("data")?;
            serde_json::from_str::<Vec<String>>(data.get("scopes")?.get()).ok()
        };
        let mut scopes = scopes().unwrap_or_default();
        scopes.retain(|scope| is_scope(scope));
        scopes.truncate(MAX_SCOPES);
        Self { scopes }
    }
}

impl fmt::Display for UserTokenRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scopes.as_slice() {
            [] => f.write_str("refuses the token of this client's user"),
            scopes => write!(
                f,
                "wants more than the token of this client's user is good for: the scopes \"{}\"",
                scopes.join(" ")
            ),
        }
    }
}

/// RFC 6749 §3.3.
fn is_scope(text: &str) -> bool {
    let is_its = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\';
    (1..=MAX_SCOPE).contains(&text.len()) && text.bytes().all(is_its)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_as_it_was_written() {
        let server = ServerName::parse("crm").unwrap();
        for scopes in [&[][..], &["mcp.write"], &["a", "b:c"]] {
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let refused = UserTokenRefused { scopes };
            let error = refused.error(Some("7"), &server);
            assert_eq!(UserTokenRefused::read(&error), refused);
            assert!(std::str::from_utf8(&error).unwrap().contains("has not run the request"));
        }
    }

    #[test]
    fn what_is_no_list_of_scopes_is_none() {
        for data in [
            "null",
            "[]",
            r#"{"scopes":"a"}"#,
            r#"{"scopes":[1]}"#,
            r#"{"scopes":["","a b","\"","\u00e4"]}"#,
        ] {
            let error = format!(
                r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":1,"message":"m","data":{data}}}}}"#
            );
            assert_eq!(UserTokenRefused::read(error.as_bytes()), UserTokenRefused::default());
        }
        assert_eq!(UserTokenRefused::read(b"{"), UserTokenRefused::default());
    }
}
