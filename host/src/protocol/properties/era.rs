//! Checks the ladder of eras: a message is one without a session only if its headers say what its
//! body says, whatever the body is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::era::answered::{self, Audience};
use super::super::era::input::InputRequired;
use super::super::era::ladder::{self, Era};
use super::super::era::outgoing::{self, Introduction, OfRequest};
use super::super::era::result::Additions;
use super::super::era::{REVISION, field, meta};
use super::super::jsonrpc::Envelope;
use super::super::lenient::Members;
use super::super::request_state::RequestState;

/// Takes the bytes as a header's value, as a state, and as one message.
pub fn hold(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(value) = field::encoded(text)
    {
        assert_eq!(field::decoded(value.as_bytes()).as_deref(), Ok(text));
    }
    if let Ok(text) = field::decoded(input) {
        assert_eq!(field::decoded(encoded(&text).as_bytes()), Ok(text));
    }
    if let Some(state) = RequestState::read(input) {
        assert_eq!(RequestState::read(&state.to_bytes()), Some(state));
    }
    let Ok(envelope) = Envelope::parse(input) else { return };
    if let Some(result) = envelope.result.and_then(|result| Additions::default().to(result)) {
        let result: Value = serde_json::from_str(&result).expect("still JSON");
        assert_eq!(result["resultType"], "complete");
    }
    hold_upstream(&envelope);
    assert!(
        !matches!(ladder::era(&envelope, &HeaderMap::new()), Ok(Era::Modern(_))),
        "taken without headers"
    );
    let Ok(message) = serde_json::from_slice::<Value>(input) else { return };
    let headers = headers_of(&message);
    if let Ok(Era::Modern(claim)) = ladder::era(&envelope, &headers) {
        assert_eq!(message["params"]["_meta"][meta::VERSION], REVISION);
        assert!(message["params"]["_meta"][meta::CAPABILITIES].is_object());
        assert_eq!(claim.version, REVISION);
        for name in headers.keys() {
            let mut other = headers.clone();
            other.insert(name.clone(), HeaderValue::from_static("other"));
            let read = ladder::era(&envelope, &other);
            let is_its_own = field::decoded(headers[name].as_bytes()).as_deref() == Ok("other");
            assert!(is_its_own || read.is_err(), "{name} may say anything");
        }
    }
}

/// What goes to servers of the revision and comes back is JSON, and says what it must.
fn hold_upstream(envelope: &Envelope<'_>) {
    let said = Introduction { capabilities: "{}".to_owned(), client: None };
    let method = envelope.method();
    if let Some(params) = outgoing::params(envelope.params, &said, OfRequest::default()) {
        let members = Members::of(&params).expect("still JSON");
        let said = members.object("_meta").expect("what the revision requires");
        assert_eq!(said.text(meta::VERSION).as_deref(), Some(REVISION));
        assert!(members.get("requestState").or(members.get("inputResponses")).is_none());
        let _ = outgoing::headers(method, envelope.params, &[]);
    }
    let Some(result) = envelope.result else { return };
    for audience in [Audience::Session, Audience::Sessionless { takes_tasks: true }] {
        let Ok(result) = answered::result(method, result, audience) else { continue };
        serde_json::from_slice::<&RawValue>(&result).expect("still JSON");
    }
    if let Some(Ok(input)) = InputRequired::of(result) {
        assert!(!input.questions.is_empty() || input.state.is_some());
    }
}

fn encoded(text: &str) -> String {
    format!("=?base64?{}?=", STANDARD.encode(text))
}

/// The headers that such a message has to come with.
fn headers_of(message: &Value) -> HeaderMap {
    let params = &message["params"];
    let named = match message["method"].as_str() {
        Some("tools/call" | "prompts/get") => params["name"].as_str(),
        Some("resources/read") => params["uri"].as_str(),
        Some("tasks/get" | "tasks/update" | "tasks/cancel") => params["taskId"].as_str(),
        _ => None,
    };
    let said = [
        ("mcp-protocol-version", params["_meta"][meta::VERSION].as_str()),
        ("mcp-method", message["method"].as_str()),
        ("mcp-name", named),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in said {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&encoded(value)).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}
