//! A collector: where it is, and how often a request is sent to it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};

use crate::net::{Pool, Target};

use super::attributes::Attributes;
use super::grpc::GrpcChannel;
use super::http_request;
use super::outcome::{ExportReceipt, ExportRefusal};

/// How often a request is made that the collector could not take, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that a collector gets by saying so: more would be lost meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where something goes.
#[derive(Debug, Clone)]
pub struct Collector {
    pub target: Target,
    /// The path of what is told: spans, metrics or log records.
    pub path: Uri,
    pub transport: OtlpTransport,
    /// What the settings add to each request.
    pub headers: HeaderMap,
    /// What all that this process tells has in common.
    pub resource: Attributes,
}

/// What requests to a collector go over.
#[derive(Debug, Clone)]
pub enum OtlpTransport {
    Http,
    Grpc(GrpcChannel),
}

impl Collector {
    /// Sends one request, again if the collector cannot take it now.
    ///
    /// # Errors
    /// What the collector does or says, as the end of a sentence that it begins.
    pub async fn send(&self, pool: &Pool, body: Vec<u8>) -> Result<ExportReceipt, String> {
        let body = Bytes::from(body);
        let mut attempt = 1;
        loop {
            let sent = tokio::time::timeout(TIMEOUT, self.attempt(pool, &body)).await;
            let late = || Err(ExportRefusal::now("does not answer in time".to_owned()));
            let pause = match sent.unwrap_or_else(|_| late()) {
                Ok(taken) => return Ok(taken),
                Err(untaken) if untaken.may_repeat && attempt < ATTEMPTS => {
                    untaken.wait.map_or(PAUSE, |wait| wait.clamp(PAUSE, MAX_PAUSE))
                }
                Err(untaken) => return Err(untaken.why),
            };
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, pool: &Pool, body: &Bytes) -> Result<ExportReceipt, ExportRefusal> {
        let place = (&self.target, &self.path);
        match &self.transport {
            OtlpTransport::Http => {
                http_request::post(pool, place, &self.headers, body.clone()).await
            }
            OtlpTransport::Grpc(channel) => channel.call(pool, place, &self.headers, body).await,
        }
    }
}
