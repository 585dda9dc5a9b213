//! The ids and progress tokens by which messages are matched.

use serde_json::value::RawValue;

use crate::protocol::jsonrpc::Envelope;
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
    let params = request.params.filter(|params| params.get().contains("progressToken"));
    let meta: Meta<'_> = serde_json::from_str(RequestTarget::of(params)?.meta?.get()).ok()?;
    meta.progress_token.map(|token| key(token.get()))
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
