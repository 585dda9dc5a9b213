//! A collector: where it is, and how a request is sent to it, over HTTP with protobuf.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::net::{Body, Pool, Target, collect};

use super::attributes::Attributes;

/// How often a request is made that the collector could not take, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, so that its connection can be used again.
const MAX_ANSWER: usize = 64 * 1024;

/// Where something goes.
#[derive(Debug, Clone)]
pub struct Collector {
    pub target: Target,
    /// The path of what is told: spans, metrics or log records.
    pub path: Uri,
    /// What the settings add to each request.
    pub headers: HeaderMap,
    /// What all that this process tells has in common.
    pub resource: Attributes,
}

/// A request that was not taken.
struct Failure {
    /// Whether another attempt makes sense.
    may_repeat: bool,
    why: String,
}

impl Collector {
    /// Sends one request, again if the collector cannot take it now.
    ///
    /// # Errors
    /// What the collector does or says, as the end of a sentence that it begins.
    pub async fn send(&self, pool: &Pool, body: Vec<u8>) -> Result<(), String> {
        let body = Bytes::from(body);
        let mut attempt = 1;
        loop {
            let sent = tokio::time::timeout(TIMEOUT, self.attempt(pool, body.clone())).await;
            let sent = sent.unwrap_or_else(|_| Err(again("does not answer in time".to_owned())));
            match sent {
                Err(failure) if failure.may_repeat && attempt < ATTEMPTS => attempt += 1,
                sent => return sent.map_err(|failure| failure.why),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, pool: &Pool, body: Bytes) -> Result<(), Failure> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        request.headers_mut().clone_from(&self.headers);
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        request.headers_mut().insert(header::CONTENT_TYPE, protobuf);
        post(pool, &self.target, request).await
    }
}

async fn post(pool: &Pool, target: &Target, request: Request<Body>) -> Result<(), Failure> {
    let sent = pool.send(target, request).await;
    let response = sent.map_err(|failure| again(format!("is not reached: {failure}")))?;
    let status = response.status();
    let _ = collect(response.into_body(), MAX_ANSWER).await;
    if status.is_success() {
        return Ok(());
    }
    let may_repeat = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    Err(Failure { may_repeat, why: format!("answers {status}") })
}

fn again(why: String) -> Failure {
    Failure { may_repeat: true, why }
}
