//! The `requestState` of a request that waits for input (2026-07-28, basic/patterns/mrtr).
//!
//! It holds all that a gateway needs to go on with the request, so that any gateway with the key
//! can: the server's session, and where in the stream of the request its questions stand. It is
//! sealed for one scope and principal, for one request, and for a while.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::objects::object_only;

/// Questions of one request that wait at the same time.
pub const MOST_QUESTIONS: usize = 64;
/// How long input is waited for.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// A question of the server that waits for the client's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct WaitingQuestion {
    /// The client's name for it.
    pub key: String,
    /// Its id, as JSON.
    pub id: String,
    /// What is asked.
    pub method: String,
}
object_only!(both WaitingQuestion);

impl WaitingQuestion {
    /// A URL that has to be opened before the request is sent anew: no server waits for an answer.
    #[must_use]
    pub fn of_url(key: &str) -> Self {
        Self { key: key.to_owned(), id: String::new(), method: "elicitation/create".to_owned() }
    }
}

/// A request that waits for input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct RequestState {
    /// What was asked for, as [`digest`] has it.
    pub digest: String,
    /// The request's id at the server, as JSON; empty if the request is to be sent anew.
    pub request: String,
    /// The event of the first question that waits.
    pub first: String,
    /// The last event that was read.
    pub seen: String,
    /// In the order in which they came.
    pub questions: Vec<WaitingQuestion>,
    /// The last number in a question's name.
    pub asked: u32,
    /// Whether the session is that of this request alone, and ends with it.
    pub alone: bool,
    /// The conversation, if the request has named it by the gateway's own name; else empty.
    pub handle: String,
}
object_only!(both RequestState);

impl RequestState {
    /// The form that [`Self::read`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` for anything else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A digest of what a request asks for: equal for a request that is sent again, whatever the order
/// of its members is by then.
#[must_use]
pub fn digest(method: &str, name: Option<&RawValue>, arguments: Option<&RawValue>) -> String {
    let mut hash = Sha256::new();
    for text in [Some(method.to_owned()), name.and_then(canonical), arguments.and_then(canonical)] {
        let text = text.unwrap_or_default();
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a value whose members are sorted. `None` if it cannot be read.
#[must_use]
pub fn canonical(value: &RawValue) -> Option<String> {
    let value: Value = serde_json::from_str(value.get()).ok()?;
    Some(sorted(value).to_string())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_state_comes_back() {
        let question =
            WaitingQuestion { key: "1".into(), id: "\"7@s\"".into(), method: "roots/list".into() };
        let state = RequestState {
            digest: digest("tools/call", None, None),
            request: "5".into(),
            first: "a-1-2@s".into(),
            seen: "a-1-3@s".into(),
            questions: vec![question],
            asked: 1,
            alone: true,
            handle: "h".into(),
        };
        assert_eq!(RequestState::read(&state.to_bytes()), Some(state));
        for other in [&b""[..], b"{}", b"[]", b"\xff"] {
            assert_eq!(RequestState::read(other), None);
        }
    }

    #[test]
    fn a_request_is_the_same_whatever_the_order_of_its_members() {
        let of = |arguments| digest("tools/call", Some(raw("\"t\"")), Some(raw(arguments)));
        assert_eq!(of(r#"{"a":1,"b":{"c":[],"d":2}}"#), of(r#"{ "b":{"d":2,"c":[]}, "a":1 }"#));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
        assert_ne!(of("{}"), digest("tools/call", Some(raw("\"u\"")), Some(raw("{}"))));
        assert_ne!(of("{}"), digest("prompts/get", Some(raw("\"t\"")), Some(raw("{}"))));
    }
}
