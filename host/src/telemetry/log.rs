//! A log, wherever its entries go: as lines to stdout or a file, or as records to a collector.

use std::io;
use std::sync::atomic::Ordering;

use super::fields::{Fields, Line, LineForm};
use super::line_writer::{LineSettings, LineWriter, LogCounts};
use super::otlp::protobuf::Message;
use super::otlp::{
    Attribute, Collector, ExportCounts, ExportQueue, Exported, StartExport, attribute,
};

/// `SEVERITY_NUMBER_INFO` and `SEVERITY_NUMBER_WARN`.
const INFO: (u64, &str) = (9, "INFO");
const WARN: (u64, &str) = (13, "WARN");

/// Where the entries of a log go.
#[derive(Debug, Clone)]
pub enum LogSettings {
    Lines(LineSettings),
    Collector(Box<Collector>),
}

/// A log, for those who have entries.
#[derive(Debug)]
pub enum Log<T> {
    Lines(LineWriter<T>),
    Collector(ExportQueue<Record<T>>),
}

/// An entry on its way to a collector.
#[derive(Debug)]
pub struct Record<T>(T);

/// A log that has begun, and the task that tells its entries to a collector, which is to be started.
pub type BegunLog<T> = (Log<T>, Option<Box<dyn StartExport>>);

impl<T: Line> Log<T> {
    /// # Errors
    /// If the file cannot be opened, or there can be no thread.
    pub fn start(settings: LogSettings) -> io::Result<BegunLog<T>> {
        match settings {
            LogSettings::Lines(settings) => Ok((Self::Lines(LineWriter::start(settings)?), None)),
            LogSettings::Collector(collector) => {
                let (queue, exporter) = ExportQueue::new(*collector);
                Ok((Self::Collector(queue), Some(Box::new(exporter))))
            }
        }
    }

    /// Has an entry written or told, unless too many wait already.
    pub fn add(&self, entry: T) {
        match self {
            Self::Lines(lines) => lines.add(entry),
            Self::Collector(queue) => queue.add(Record(entry)),
        }
    }

    #[must_use]
    pub fn counts(&self) -> LogCounts {
        match self {
            Self::Lines(lines) => lines.counts(),
            Self::Collector(queue) => counts(queue.counts()),
        }
    }

    /// Tells a collector what is waiting, for a bounded time.
    pub async fn flush(&self) {
        if let Self::Collector(queue) = self {
            queue.flush().await;
        }
    }

    /// Writes what is waiting, for a bounded time. Blocks.
    pub fn end(&self) {
        if let Self::Lines(lines) = self {
            lines.end();
        }
    }
}

fn counts(told: &ExportCounts) -> LogCounts {
    LogCounts {
        written: told.sent.load(Ordering::Relaxed),
        overflowed: told.overflowed.load(Ordering::Relaxed),
        failed: told.failed.load(Ordering::Relaxed),
    }
}

impl<T: Line> Exported for Record<T> {
    const WHAT: &'static str = "log records";

    /// A `LogRecord` (opentelemetry-proto 1.x, `logs/v1`). Its body is the line of text, for those
    /// who look at bodies alone.
    fn message(&self) -> Message {
        let fields = Fields::record(&self.0);
        let at = fields.at.map_or(0, |at| at.0.saturating_mul(1_000_000));
        let (severity, severity_text) = if self.0.is_trouble() { WARN } else { INFO };
        let mut record = Message::default();
        record.fixed64(1, at);
        record.number(2, severity);
        record.bytes(3, severity_text.as_bytes());
        let mut line = Vec::new();
        Fields::write(LineForm::Text, &self.0, &mut line);
        let mut body = Message::default();
        body.chosen_bytes(1, line.trim_ascii_end());
        record.message(5, &body);
        let log = ("log", Attribute::Text(T::LOG.to_owned()));
        for (name, value) in std::iter::once(&log).chain(&fields.attributes) {
            record.message(6, &attribute(name, value));
        }
        record.fixed64(11, at);
        record.bytes(12, event_name::<T>().as_bytes());
        record
    }
}

fn event_name<T: Line>() -> String {
    format!("mooring.{}", T::LOG)
}
