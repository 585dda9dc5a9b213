//! Traces: spans of calls, told to a collector over OTLP.

mod sampler;
mod span;

use std::time::{Instant, SystemTime};

use crate::protocol::trace_context::TraceContext;

use super::otlp::{Attributes, Collector, ExportCounts, ExportQueue, StartExport};

pub use span::SpanKind;

use sampler::Sampler;
use span::Span;

/// What begins and takes the spans of this process.
#[derive(Debug)]
pub struct Traces {
    sampler: Sampler,
    spans: ExportQueue<Span>,
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
    pub fn new(ratio: f64, seed: u64, collector: Collector) -> (Self, Box<dyn StartExport>) {
        let (spans, exporter) = ExportQueue::new(collector);
        (Self { sampler: Sampler::new(ratio, seed), spans }, Box::new(exporter))
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
        self.spans.add(Span { context, parent, name, kind, began, lasted, attributes });
    }

    #[must_use]
    pub fn counts(&self) -> &ExportCounts {
        self.spans.counts()
    }

    /// Sends what is waiting, for a bounded time.
    pub async fn flush(&self) {
        self.spans.flush().await;
    }
}
