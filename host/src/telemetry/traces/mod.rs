//! Traces: spans of calls, told to a collector over OTLP.

mod counts;
mod exporter;
mod protobuf;
mod sampler;
mod span;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::protocol::trace_context::TraceContext;

pub use exporter::{Collector, SpanExporter};
pub use span::{Attributes, SpanKind};

pub use counts::TraceCounts;
use exporter::ExportOrder;
use sampler::Sampler;
use span::Span;

/// Spans that wait to be sent.
const WAITING: usize = 8192;
/// Longest time for the last spans, at the end of the process.
const LAST: Duration = Duration::from_secs(2);

/// What begins and takes the spans of this process.
#[derive(Debug)]
pub struct Traces {
    sampler: Sampler,
    spans: mpsc::Sender<Span>,
    orders: mpsc::Sender<ExportOrder>,
    counts: Arc<TraceCounts>,
}

/// A span that has begun.
#[derive(Debug, Clone)]
pub struct BegunSpan {
    pub context: TraceContext,
    /// The span of the caller.
    pub parent: Option<u64>,
    began: (SystemTime, Instant),
}

impl Traces {
    /// `ratio` is the share of traces that begin here and are recorded; `seed` is random.
    #[must_use]
    pub fn new(ratio: f64, seed: u64, collector: Collector) -> (Self, SpanExporter) {
        let (spans, waiting) = mpsc::channel(WAITING);
        let (orders, ordered) = mpsc::channel(1);
        let counts = Arc::<TraceCounts>::default();
        let exporter = SpanExporter::new(collector, waiting, ordered, Arc::clone(&counts));
        (Self { sampler: Sampler::new(ratio, seed), spans, orders, counts }, exporter)
    }

    /// Begins the span of a message. `None` if nothing is recorded, and there is nothing to pass on
    /// either.
    #[must_use]
    pub fn begin(&self, caller: Option<&TraceContext>) -> Option<BegunSpan> {
        let context = self.sampler.span_of(caller)?;
        let began = (SystemTime::now(), Instant::now());
        Some(BegunSpan { context, parent: caller.map(|caller| caller.span), began })
    }

    /// Has a span sent that has ended, unless its trace is not recorded or too many wait.
    pub fn end(&self, begun: BegunSpan, name: String, kind: SpanKind, attributes: Attributes) {
        let BegunSpan { context, parent, began: (began, instant) } = begun;
        if !context.is_sampled {
            return;
        }
        let lasted = instant.elapsed();
        let span = Span { context, parent, name, kind, began, lasted, attributes };
        if self.spans.try_send(span).is_err() {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub fn counts(&self) -> &TraceCounts {
        &self.counts
    }

    /// Sends what is waiting, for a bounded time.
    pub async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        let _ = tokio::time::timeout(LAST, async {
            if self.orders.send(done).await.is_ok() {
                let _ = sent.await;
            }
        })
        .await;
    }
}
