//! The answer to a request that the gateway itself has sent, whichever form the response has.

use bytes::Bytes;
use http::Response;

use crate::model::visible::visible;
use crate::net::{Body, EventReader, Read, collect};
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::objects::object_only;
use crate::protocol::{headers, splice};

/// Largest answer to a request of the gateway's own, in bytes: a list page or an
/// `InitializeResult`.
const MAX_ANSWER: usize = 16 << 20;
/// Bytes kept of a server's error.
const MAX_SAID: usize = 2048;

/// Why a request of the gateway's own has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The server's error as JSON, or the gateway's in its place.
    #[error("{0}")]
    Refused(String, RefusalKind),
    #[error("no answer: {0}")]
    Unanswered(String),
}

/// What an error says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// It does not have the method.
    NoSuchMethod,
    /// It has refused the request for another reason.
    Other,
    /// Nothing: the error is the gateway's, which has no answer of the server.
    NotTheServers,
}

/// Marks a response whose error is the gateway's, in the server's place.
#[derive(Debug, Clone, Copy)]
pub struct RunnerAnswer;

/// The code of such an error that is not among the counted errors of the server yet.
#[derive(Debug, Clone, Copy)]
pub struct Uncounted(pub i64);

/// Marks a response as the gateway's, with an error that is yet to be counted.
pub fn mark_own(response: &mut Response<Body>, code: i64) {
    let extensions = response.extensions_mut();
    extensions.insert(RunnerAnswer);
    extensions.insert(Uncounted(code));
}

/// The result of the request that this response answers. Messages before the answer
/// are ignored.
pub async fn result_of(response: Response<Body>) -> Result<Bytes, CallError> {
    result_hearing(response, |_| {}).await
}

/// The same; `hear` gets the requests of the server that come before the answer.
pub async fn result_hearing(
    response: Response<Body>,
    hear: impl FnMut(&Envelope<'_>),
) -> Result<Bytes, CallError> {
    let events = headers::is_type(response.headers(), headers::EVENT_STREAM);
    let status = response.status();
    let is_servers = response.extensions().get::<RunnerAnswer>().is_none();
    let answer = if events {
        first_response(response.into_body(), hear).await?
    } else {
        collect(response.into_body(), MAX_ANSWER)
            .await
            .map_err(|error| CallError::Unanswered(error.to_string()))?
    };
    let answer = response_in(&answer).unwrap_or(answer);
    let envelope = Envelope::parse(&answer)
        .map_err(|error| CallError::Unanswered(format!("HTTP {status}: {error}")))?;
    match (envelope.result, envelope.error) {
        (Some(result), _) => match splice::span(&answer, result) {
            Some(span) => Ok(answer.slice(span)),
            None => Err(CallError::Unanswered("an answer without a result".into())),
        },
        (None, Some(error)) => {
            let refusal =
                if is_servers { refusal(error.get()) } else { RefusalKind::NotTheServers };
            Err(CallError::Refused(visible(error.get(), MAX_SAID).to_string(), refusal))
        }
        (None, None) => {
            Err(CallError::Unanswered(format!("HTTP {status} with neither a result nor an error")))
        }
    }
}

/// The first response in this message, if it is a batch.
pub fn response_in(message: &Bytes) -> Option<Bytes> {
    let batch = jsonrpc::batch(message).ok()??;
    let parts = batch.into_iter().filter_map(|part| splice::span(message, part));
    let mut parts = parts.map(|span| message.slice(span));
    parts.find(|part| is_response(part))
}

pub fn is_response(message: &[u8]) -> bool {
    Envelope::parse(message).is_ok_and(|envelope| envelope.kind() == Kind::Response)
}

pub fn refusal(error: &str) -> RefusalKind {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Error {
        code: i64,
    }
    object_only!(Error);
    match serde_json::from_str::<Error>(error).map(|error| error.code) {
        Ok(code::METHOD_NOT_FOUND) => RefusalKind::NoSuchMethod,
        Ok(code::SERVER_LOST | code::UNAVAILABLE | code::CANCELLED | code::TIMED_OUT) => {
            RefusalKind::NotTheServers
        }
        Ok(_) | Err(_) => RefusalKind::Other,
    }
}

/// The first response in an event stream.
pub async fn first_response(
    body: Body,
    mut hear: impl FnMut(&Envelope<'_>),
) -> Result<Bytes, CallError> {
    let mut events = EventReader::new(body, MAX_ANSWER);
    while let Some(read) = events.next().await {
        match read {
            Read::Event(event) => {
                let message = Bytes::from(event.data);
                let message = response_in(&message).unwrap_or(message);
                match Envelope::parse(&message) {
                    Ok(envelope) if envelope.kind() == Kind::Response => return Ok(message.clone()),
                    Ok(envelope) if envelope.kind() == Kind::Request => hear(&envelope),
                    Ok(_) | Err(_) => {}
                }
            }
            Read::Comment => {}
            Read::Broken(error) => return Err(CallError::Unanswered(error.to_string())),
        }
    }
    Err(CallError::Unanswered("the stream ended without a response".into()))
}

/// The reason given for cancelling a request of the gateway's own.
pub const NO_LONGER_WANTED: &str = "the gateway no longer waits for the answer";
