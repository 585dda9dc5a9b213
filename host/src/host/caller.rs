//! The gateway's own requests to a server: send one, get its result, whichever
//! form the response has.

use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body as _;

use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::sse::Decoder;
use crate::protocol::{headers, splice};
use crate::seam::{Body, Pool, collect};

use super::instance::Instance;

/// Largest answer to a request of the gateway's own: a list page or an
/// `InitializeResult`.
const MAX_ANSWER: usize = 16 << 20;

#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Refused(String),
    #[error("no answer: {0}")]
    Unanswered(String),
}

/// One request over an open instance.
pub async fn call(
    instance: &Instance,
    pool: &Pool,
    id: &str,
    method: &str,
    params: &str,
) -> Result<Bytes, CallError> {
    let message = jsonrpc::request(id, method, params);
    let envelope =
        Envelope::parse(&message).map_err(|error| CallError::Unanswered(error.to_string()))?;
    let forwarded = HeaderMap::new();
    result_of(instance.post(message.clone(), &envelope, true, pool, &forwarded).await).await
}

/// The result in a response, of which only the final message counts.
pub async fn result_of(response: Response<Body>) -> Result<Bytes, CallError> {
    let events = headers::is_type(response.headers(), headers::EVENT_STREAM);
    let status = response.status();
    let answer = if events {
        last_response(response.into_body()).await?
    } else {
        collect(response.into_body(), MAX_ANSWER)
            .await
            .map_err(|error| CallError::Unanswered(error.to_string()))?
    };
    let envelope = Envelope::parse(&answer)
        .map_err(|error| CallError::Unanswered(format!("HTTP {status}: {error}")))?;
    match (envelope.result, envelope.error) {
        (Some(result), _) => match splice::span(&answer, result) {
            Some(span) => Ok(answer.slice(span)),
            None => Err(CallError::Unanswered("an answer without a result".into())),
        },
        (None, Some(error)) => Err(CallError::Refused(error.get().to_owned())),
        (None, None) => Err(CallError::Unanswered(format!("HTTP {status} without an answer"))),
    }
}

async fn last_response(mut body: Body) -> Result<Bytes, CallError> {
    let mut decoder = Decoder::new(MAX_ANSWER);
    let mut found = None;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| CallError::Unanswered(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        decoder
            .feed(&data, |event| {
                if Envelope::parse(&event.data).is_ok_and(|e| e.kind() == Kind::Response) {
                    found = Some(Bytes::from(event.data));
                }
            })
            .map_err(|error| CallError::Unanswered(error.to_string()))?;
        if let Some(found) = found.take() {
            return Ok(found);
        }
    }
    Err(CallError::Unanswered("the stream ended without a response".into()))
}
