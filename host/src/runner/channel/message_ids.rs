//! The ids and progress tokens by which messages are matched.

use serde_json::value::RawValue;

use crate::protocol::jsonrpc::{Envelope, MAX_ID, Malformed};
use crate::protocol::splice::RequestTarget;
use crate::protocol::strict::Meta;

/// Longest id, in bytes, that is remembered for questions and cancellations: the
/// other side chooses its length.
pub const LONGEST_ID: usize = 256;

/// The request id in a `notifications/cancelled`, as it is written there.
#[must_use]
pub fn cancelled_request<'a>(cancelled: &Envelope<'a>) -> Option<&'a str> {
    RequestTarget::of(cancelled.params)?.request_id.map(RawValue::get)
}

/// The progress token of a request, if it asks for progress.
pub fn progress_token(request: &Envelope<'_>) -> Option<String> {
    raw_token(request).map(|token| key(token.get()))
}

/// Why a client's message is not taken, although it is one: what is kept of it has bounds.
pub fn check_token(message: &Envelope<'_>) -> Result<(), Malformed> {
    let may_be_long = message.params.is_some_and(|params| params.get().len() > MAX_ID);
    let is_long = may_be_long && raw_token(message).is_some_and(|token| token.get().len() > MAX_ID);
    if is_long { Err(Malformed::long_token()) } else { Ok(()) }
}

fn raw_token<'a>(request: &Envelope<'a>) -> Option<&'a RawValue> {
    let params = request.params.filter(|params| params.get().contains("progressToken"));
    let meta: Meta<'_> = serde_json::from_str(RequestTarget::of(params)?.meta?.get()).ok()?;
    meta.progress_token
}

/// The progress token of a progress notification.
pub fn token_of(progress: &Envelope<'_>) -> Option<String> {
    RequestTarget::of(progress.params)?.progress_token.map(|token| key(token.get()))
}

/// An id or token as a key, the same for every way to write the same string in JSON.
pub fn key(raw: &str) -> String {
    if raw.starts_with('"')
        && raw.contains('\\')
        && let Ok(text) = serde_json::from_str::<String>(raw)
    {
        return crate::protocol::splice::quoted(&text);
    }
    raw.to_owned()
}
