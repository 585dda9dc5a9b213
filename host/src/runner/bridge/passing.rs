//! Requests of clients without sessions at a process that serves all of them: what has to differ in
//! them is their ids, everything else passes as it came.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::protocol::era::answered::subscription;
use crate::protocol::jsonrpc::{Envelope, Kind, MAX_ID};
use crate::protocol::lenient::Members;
use crate::protocol::methods;
use crate::protocol::splice::{self, Edit, RequestTarget};
use crate::runner::channel::message_ids::raw_token;

/// What the client calls its request, each as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNames {
    pub id: String,
    pub token: Option<String>,
}

impl OwnNames {
    /// Those of a request. `None` if it is none, or one is too long to be kept.
    #[must_use]
    pub fn of(request: &Envelope<'_>) -> Option<Self> {
        let id = request.id_text().filter(|_| request.kind() == Kind::Request)?.to_owned();
        let token = raw_token(request).map(|token| token.get().to_owned());
        let is_short = |text: &String| text.len() <= MAX_ID;
        (is_short(&id) && token.as_ref().is_none_or(is_short)).then_some(Self { id, token })
    }

    /// The request under the number by which the process knows it.
    #[must_use]
    pub fn numbered(&self, message: &Bytes, request: &Envelope<'_>, number: u64) -> Option<Bytes> {
        let number = number.to_string();
        let mut edits: Vec<Edit> = vec![(splice::span(message, request.id?)?, number.clone())];
        if let Some(token) = raw_token(request) {
            edits.push((splice::span(message, token)?, number));
        }
        Some(splice::edit(message, edits))
    }

    /// What the process says, as the client knows it.
    #[must_use]
    pub fn restored(&self, message: &Bytes) -> Bytes {
        let Ok(envelope) = Envelope::parse(message) else { return message.clone() };
        let mut edits: Vec<Edit> = Vec::new();
        let mut replace = |written: Option<&RawValue>, own: Option<&String>| {
            let span = written.and_then(|written| splice::span(message, written));
            edits.extend(span.zip(own.cloned()));
        };
        if envelope.kind() == Kind::Response {
            replace(envelope.id, Some(&self.id));
            replace(subscription(envelope.result), Some(&self.id));
        } else if envelope.method() == methods::PROGRESS {
            let target = RequestTarget::of(envelope.params);
            replace(target.and_then(|target| target.progress_token), self.token.as_ref());
        } else {
            replace(subscription(envelope.params), Some(&self.id));
        }
        splice::edit(message, edits)
    }
}

/// Whether a request asks for log messages.
#[must_use]
pub fn wants_logs(request: &Envelope<'_>) -> bool {
    let meta = request.params.and_then(|params| Members::of(params.get())?.object("_meta"));
    let level = crate::protocol::era::meta::LOG_LEVEL;
    meta.is_some_and(|meta| meta.get(level).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_and_tokens_differ_on_the_way() {
        let text = r#"{ "jsonrpc":"2.0","id":"a b","method":"tools/call","params":{"name":"t","arguments":{"n":1.0},"_meta":{"progressToken":"p","x":1}}}"#;
        let message = Bytes::from_static(text.as_bytes());
        let envelope = Envelope::parse(&message).unwrap();
        let names = OwnNames::of(&envelope).unwrap();
        let numbered = names.numbered(&message, &envelope, 7).unwrap();
        assert_eq!(numbered, text.replace(r#""a b""#, "7").replace(r#""p""#, "7"));
        let check = |said: &'static str, expect: &str| {
            assert_eq!(names.restored(&Bytes::from_static(said.as_bytes())), expect);
        };
        check(
            r#"{"jsonrpc":"2.0","id":7,"result":{"n":7}}"#,
            r#"{"jsonrpc":"2.0","id":"a b","result":{"n":7}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":7}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":7}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"a b"}}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
            r#"{"jsonrpc":"2.0","id":"a b","result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"a b"}}}"#,
        );
        check("no message", "no message");
    }

    #[test]
    fn a_request_without_an_id_has_no_names() {
        for text in [r#"{"jsonrpc":"2.0","method":"x"}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]
        {
            assert_eq!(OwnNames::of(&Envelope::parse(text.as_bytes()).unwrap()), None);
        }
    }
}
