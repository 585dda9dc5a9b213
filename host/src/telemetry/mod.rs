//! What operators learn of calls while they happen: counts, and lines of the access and audit logs.
//!
//! The data path only notes: into counters of its own worker, or into a bounded channel that a
//! thread empties. What does not fit is lost and counted; no call ever waits for its line.

mod access_log;
mod answer_watch;
mod audit_log;
mod call_span;
mod calls;
mod line_writer;
mod log_file;
mod log_filter;
mod outcome;
mod redaction;
mod target;
mod traces;
mod watched_answer;

pub use access_log::AccessEntry;
pub use audit_log::{AuditAction, AuditEntry, AuditLog, AuditSettings};
pub use call_span::{call_attributes, span_name};
pub use calls::{CallMetrics, CallTotals, MethodTotals};
pub use line_writer::{LineForm, LineWriter, LogCounts, LogSettings};
pub use log_filter::{LogFilter, NoLog};
pub use outcome::{CallEnd, CallOutcome, CallSize};
pub use redaction::Pointer;
pub use target::LogTarget;
pub use traces::{Attributes, BegunSpan, Collector, SpanExporter, SpanKind, TraceCounts, Traces};
pub use watched_answer::watched;

use std::sync::Arc;

use access_log::AccessLog;

/// What this process notes of calls. Edge, runner and management share it.
#[derive(Debug)]
pub struct Telemetry {
    pub calls: CallMetrics,
    pub access: Option<AccessLog>,
    pub audit: Option<AuditLog>,
    /// Set if spans are told to a collector.
    pub traces: Option<Arc<Traces>>,
}

impl Telemetry {
    /// # Errors
    /// If the file of a log cannot be opened.
    pub fn start(
        workers: usize,
        access: Option<LogSettings>,
        audit: Option<AuditSettings>,
        traces: Option<Traces>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            calls: CallMetrics::new(workers),
            access: access.map(AccessLog::start).transpose()?,
            audit: audit.map(AuditLog::start).transpose()?,
            traces: traces.map(Arc::new),
        })
    }

    /// Whether calls are noted one by one.
    #[must_use]
    pub fn tells_calls(&self) -> bool {
        self.access.is_some() || self.audit.is_some()
    }

    /// What became of the lines of each log, by its name.
    pub fn logs(&self) -> impl Iterator<Item = (&'static str, LogCounts)> {
        let access = self.access.as_ref().map(|log| ("access", log.counts()));
        let audit = self.audit.as_ref().map(|log| ("audit", log.counts()));
        access.into_iter().chain(audit)
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
