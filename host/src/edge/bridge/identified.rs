//! Which conversation a request belongs to, by the operator's plugin, and what the plugin is shown.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::edge::access::forwarded;
use crate::edge::routing::bind::query;
use crate::edge::worker::{Edge, Worker};
use crate::model::Principal;
use crate::protocol::era::field;
use crate::protocol::headers;
use crate::protocol::splice::{self, RequestTarget};
use crate::wasm::{ConversationAnswer, ConversationInput};

use super::conversation::{OpenedHandle, Speaker};

/// Bytes of a value that the plugin is shown: a longer one names no conversation.
const MAX_VALUE: usize = 64 * 1024;

impl Worker {
    /// The plugin's answer. It abstains where it does not tell conversations apart.
    pub(super) fn identified(
        &self,
        speaker: &Speaker<'_>,
        handle: Option<&OpenedHandle>,
    ) -> ConversationAnswer {
        let edge = &self.edge;
        let plan = edge.strategy.conversation_plan().filter(|_| edge.config.sticky);
        let Some(plan) = plan else { return ConversationAnswer::Abstain };
        let values: Vec<Option<String>> = plan
            .iter()
            .map(|input| value_of(edge, input, speaker, handle))
            .map(|value| value.filter(|value| value.len() <= MAX_VALUE))
            .collect();
        let borrowed: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        edge.strategy.identify(self.index, &plan, &borrowed)
    }
}

fn value_of(
    edge: &Edge,
    input: &ConversationInput,
    speaker: &Speaker<'_>,
    handle: Option<&OpenedHandle>,
) -> Option<String> {
    use ConversationInput as Input;
    let Speaker { context, principal, envelope, message, claim, recent, .. } = *speaker;
    match input {
        Input::Principal => {
            (*principal != Principal::anonymous()).then(|| principal.as_str().to_owned())
        }
        Input::Header(name) => {
            let name: HeaderName = name.parse().ok()?;
            // The name of the header with the gateway's key may be any. `Authorization` is shown
            // where the operator allows it.
            let key = &edge.config.key_header;
            let is_key = *key != AUTHORIZATION && name == *key;
            if is_key { None } else { header(&context.headers, &name) }
        }
        Input::Cookie(name) => headers::cookie(&context.headers, name).map(str::to_owned),
        Input::Query(name) => query(&context.uri, name),
        Input::RpcMethod => Some(envelope.method().to_owned()),
        Input::RpcTarget => {
            let target = RequestTarget::of(envelope.params)?;
            splice::string(target.name.or(target.uri)?)
        }
        Input::Body(pointer) => {
            let whole: Value = serde_json::from_slice(message).ok()?;
            match whole.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) if number.is_i64() || number.is_u64() => {
                    Some(number.to_string())
                }
                _ => None,
            }
        }
        Input::ClientName => Some(claim.client_name()).filter(|name| !name.is_empty()),
        Input::ClientAddress => {
            let trusted = &edge.config.trusted_proxies;
            let address = forwarded::client(trusted, &context.headers, context.peer);
            Some(address.to_canonical().to_string())
        }
        Input::Connection => Some(recent.conversation().to_string()),
        Input::Handle => {
            let of_cookie = || edge.cookie_handle(speaker).map(|handle| handle.id);
            handle.map(|handle| handle.id).or_else(of_cookie).map(|id| id.to_string())
        }
    }
}

/// A header that comes once. Those that repeat the body are decoded.
fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    field::text(name, field::only(headers, name).ok()??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn headers_are_shown_if_they_come_once_and_decoded_where_they_repeat_the_body() {
        let mut all = HeaderMap::new();
        let mut add = |name: &'static str, value: &'static str| {
            all.append(name, HeaderValue::from_static(value));
        };
        add("mcp-param-thread", "=?base64?w7Y=?=");
        add("mcp-param-bad", "=?base64?w7?=");
        add("x-thread", " =?base64?w7Y=?= ");
        add("x-twice", "a");
        add("x-twice", "a");
        let of = |name: &'static str| header(&all, &HeaderName::from_static(name));
        assert_eq!(of("mcp-param-thread").as_deref(), Some("\u{f6}"));
        assert_eq!(of("x-thread").as_deref(), Some("=?base64?w7Y=?="));
        for absent in ["mcp-param-bad", "x-twice", "x-other"] {
            assert_eq!(of(absent), None, "{absent}");
        }
    }
}
