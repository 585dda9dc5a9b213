//! A request to a collector over HTTP/1.1, with protobuf.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::net::{Body, Pool, Target, collect};
use crate::protocol::headers::retry_after;

use super::outcome::{ExportReceipt, ExportRefusal};

/// Bytes of an answer that are read, so that its connection can be used again.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends one request, once.
///
/// # Errors
/// If it was not taken.
pub async fn post(
    pool: &Pool,
    (target, path): (&Target, &Uri),
    headers: &HeaderMap,
    body: Bytes,
) -> Result<ExportReceipt, ExportRefusal> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.clone();
    request.headers_mut().clone_from(headers);
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    request.headers_mut().insert(header::CONTENT_TYPE, protobuf);
    let sent = pool.send(target, request).await;
    let response =
        sent.map_err(|failure| ExportRefusal::now(format!("is not reached: {failure}")))?;
    let (head, body) = response.into_parts();
    let answer = collect(body, MAX_ANSWER).await;
    if head.status.is_success() {
        return Ok(answer.map(|answer| ExportReceipt::read(&answer)).unwrap_or_default());
    }
    Err(ExportRefusal {
        may_repeat: may_repeat(head.status),
        wait: retry_after(&head.headers),
        why: format!("answers {}", head.status),
    })
}

/// Whether a request with this answer is to be repeated (OTLP 1.x, "Failures").
#[must_use]
pub fn may_repeat(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
