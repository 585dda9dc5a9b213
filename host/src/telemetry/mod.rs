//! What operators learn of calls while they happen: counts, and lines of the access and audit logs.
//!
//! The data path only notes: into counters of its own worker, or into a bounded channel that a
//! thread empties. What does not fit is lost and counted; no call ever waits for its line.

mod access_log;
mod answer_watch;
mod audit_log;
mod call_span;
mod calls;
mod fields;
mod line_writer;
mod log;
mod log_file;
mod log_filter;
mod metrics_exporter;
mod otlp;
mod outcome;
mod redaction;
mod target;
mod traces;
mod watched_answer;

pub use access_log::{AccessEntry, AccessLine, RefusedEntry};
pub use audit_log::{AuditAction, AuditEntry, AuditLog, AuditSettings};
pub use call_span::{call_attributes, span_name};
pub use calls::{CallMetrics, CallTotals, MethodTotals};
pub use fields::LineForm;
pub use line_writer::{LineSettings, LogCounts};
pub use log::{Log, LogSettings};
pub use log_filter::{LogFilter, NoLog};
pub use metrics_exporter::{MetricsExport, MetricsExporter};
pub use otlp::protobuf::Message;
pub use otlp::{
    Attribute, Attributes, Collector, ExportCounts, GrpcChannel, MetricKind, MetricTimes,
    OtlpTransport, StartExport, histogram_point, metric, number_point,
};
pub use outcome::{CallEnd, CallOutcome, CallSize};
pub use redaction::Pointer;
pub use target::LogTarget;
pub use traces::{BegunSpan, SpanKind, Traces};
pub use watched_answer::{NodeAnswer, watched};

use std::io;
use std::sync::Arc;

/// What this process notes of calls. Edge, runner and management share it.
#[derive(Debug)]
pub struct Telemetry {
    pub calls: CallMetrics,
    pub access: Option<Log<AccessLine>>,
    pub audit: Option<AuditLog>,
    /// Set if spans are told to a collector.
    pub traces: Option<Arc<Traces>>,
    /// Set if metrics are.
    pub metrics: Option<MetricsExport>,
}

impl Telemetry {
    /// Counts calls, and nothing else.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let calls = CallMetrics::new(workers);
        Self { calls, access: None, audit: None, traces: None, metrics: None }
    }

    /// Begins the access log. If it goes to a collector, a task is to be started for that.
    ///
    /// # Errors
    /// If its file cannot be opened.
    pub fn begin_access_log(
        &mut self,
        settings: LogSettings,
    ) -> io::Result<Option<Box<dyn StartExport>>> {
        let (log, exporter) = Log::start(settings)?;
        self.access = Some(log);
        Ok(exporter)
    }

    /// The same for the audit log.
    ///
    /// # Errors
    /// If its file cannot be opened.
    pub fn begin_audit_log(
        &mut self,
        settings: AuditSettings,
    ) -> io::Result<Option<Box<dyn StartExport>>> {
        let (log, exporter) = AuditLog::start(settings)?;
        self.audit = Some(log);
        Ok(exporter)
    }

    /// Whether calls are noted one by one.
    #[must_use]
    pub fn tells_calls(&self) -> bool {
        self.access.is_some() || self.audit.is_some()
    }

    /// Whether messages are read for what is told of them.
    #[must_use]
    pub fn reads_messages(&self) -> bool {
        self.tells_calls() || self.traces.is_some()
    }

    /// What became of the entries of each log, by its name.
    pub fn logs(&self) -> impl Iterator<Item = (&'static str, LogCounts)> {
        let access = self.access.as_ref().map(|log| ("access", log.counts()));
        let audit = self.audit.as_ref().map(|log| ("audit", log.counts()));
        access.into_iter().chain(audit)
    }

    /// Tells collectors what is waiting, for at most two seconds each.
    pub async fn flush(&self) {
        let traces = async {
            if let Some(traces) = &self.traces {
                traces.flush().await;
            }
        };
        let access = async {
            if let Some(access) = &self.access {
                access.flush().await;
            }
        };
        let audit = async {
            if let Some(audit) = &self.audit {
                audit.flush().await;
            }
        };
        let metrics = async {
            if let Some(metrics) = &self.metrics {
                metrics.flush().await;
            }
        };
        tokio::join!(traces, access, audit, metrics);
    }

    /// Writes what is waiting, for at most two seconds. Blocks.
    pub fn end(&self) {
        if let Some(access) = &self.access {
            access.end();
        }
        if let Some(audit) = &self.audit {
            audit.end();
        }
    }
}
