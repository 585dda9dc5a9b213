//! Sends spans to a collector, over OTLP with HTTP and protobuf (OTLP 1.x, "OTLP/HTTP"). The task is
//! not woken for each span, but looks by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::sync::{mpsc, oneshot};

use crate::net::{Body, Pool, Target, collect};
use crate::sync::Seldom;

use super::counts::TraceCounts;
use super::span::{Attributes, Span, request};

/// How often the task looks for spans.
const LOOK: Duration = Duration::from_millis(200);
/// Spans in one request.
const AT_ONCE: usize = 512;
/// How often a request is made that the collector could not take, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, so that its connection can be used again.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks for all waiting spans to be sent, and to be told when that is done.
pub type ExportOrder = oneshot::Sender<()>;

/// Where spans go.
#[derive(Debug, Clone)]
pub struct Collector {
    pub target: Target,
    /// The path of the collector's `/v1/traces`.
    pub path: Uri,
    /// What the settings add to each request.
    pub headers: HeaderMap,
    /// What all spans of this process have in common.
    pub resource: Attributes,
}

/// The task that sends spans.
#[derive(Debug)]
pub struct SpanExporter {
    collector: Collector,
    waiting: mpsc::Receiver<Span>,
    orders: mpsc::Receiver<ExportOrder>,
    counts: Arc<TraceCounts>,
    complaints: Seldom,
}

impl SpanExporter {
    pub(super) fn new(
        collector: Collector,
        waiting: mpsc::Receiver<Span>,
        orders: mpsc::Receiver<ExportOrder>,
        counts: Arc<TraceCounts>,
    ) -> Self {
        Self { collector, waiting, orders, counts, complaints: Seldom::default() }
    }

    /// Sends spans until the process no longer makes any.
    pub async fn run(mut self, pool: Pool) {
        loop {
            let order = tokio::select! {
                () = tokio::time::sleep(LOOK) => None,
                order = self.orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
            };
            self.send_waiting(&pool).await;
            if let Some(order) = order {
                let _ = order.send(());
            }
        }
    }

    async fn send_waiting(&mut self, pool: &Pool) {
        loop {
            let mut batch = Vec::new();
            while batch.len() < AT_ONCE
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            let count = batch.len() as u64;
            let counter = match self.send(pool, &batch).await {
                Ok(()) => &self.counts.sent,
                Err(why) => {
                    self.complaints.warn(|| format!("spans are lost: the collector {why}"));
                    &self.counts.failed
                }
            };
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    async fn send(&self, pool: &Pool, spans: &[Span]) -> Result<(), String> {
        let body = Bytes::from(request(&self.collector.resource, spans));
        let mut attempt = 1;
        loop {
            let sending = self.post(pool, body.clone());
            let sent = tokio::time::timeout(TIMEOUT, sending).await;
            match sent.unwrap_or_else(|_| Err((true, "does not answer in time".to_owned()))) {
                Err((true, _)) if attempt < ATTEMPTS => attempt += 1,
                sent => return sent.map_err(|(_, why)| why),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One attempt. An error says whether another one makes sense.
    async fn post(&self, pool: &Pool, body: Bytes) -> Result<(), (bool, String)> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.collector.path.clone();
        request.headers_mut().clone_from(&self.collector.headers);
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        request.headers_mut().insert(header::CONTENT_TYPE, protobuf);
        let sent = pool.send(&self.collector.target, request).await;
        let response = sent.map_err(|failure| (true, format!("is not reached: {failure}")))?;
        let status = response.status();
        let _ = collect(response.into_body(), MAX_ANSWER).await;
        if status.is_success() {
            return Ok(());
        }
        let is_busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        Err((is_busy, format!("answers {status}")))
    }
}
