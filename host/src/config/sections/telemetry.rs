//! What is told of calls: `systemConfig.telemetry`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

use super::collectors::{CommonCollector, OtlpCollector};
use super::otlp_protocol::OtlpSignal;

const MIB: u64 = 1 << 20;
/// Default of `maxBytes`.
const MAX_BYTES: u64 = 100 * MIB;
/// Default of `keep`.
const KEEP: u64 = 5;
/// Most pointers of `redact`.
const MAX_POINTERS: usize = 100;
/// Default of `metrics.interval`, OpenTelemetry's own.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is told of calls. Without settings: metrics alone, to whoever asks for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TelemetrySettings {
    /// A line for each call.
    pub access_log: Option<LogOutput>,
    /// A line for what is done, and what is refused.
    pub audit_log: Option<AuditOutput>,
    /// Spans of calls.
    pub traces: Option<TraceOutput>,
    /// Metrics, for a collector.
    pub metrics: Option<MetricOutput>,
}

/// Where the lines of a log go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOutput {
    pub to: LogDestination,
    pub format: LogFormat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    Stdout,
    File {
        path: PathBuf,
        /// Bytes, after which the file is begun anew.
        max_bytes: u64,
        /// Full files that are kept.
        keep: u32,
    },
    Collector(OtlpCollector),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOutput {
    pub output: LogOutput,
    /// Whether arguments of calls are written; then with the JSON pointers to what is left out.
    pub arguments: Option<Vec<String>>,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOutput {
    pub collector: OtlpCollector,
    /// The share of the traces that begin here, from 0 to 1.
    pub ratio: f64,
}

/// Where metrics go.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricOutput {
    pub collector: OtlpCollector,
    /// Time between two requests.
    pub interval: Duration,
}

pub(in crate::config) fn read(
    system: &Section<'_>,
    folder: &Path,
    sources: &Sources<'_>,
) -> TelemetrySettings {
    let section = system.section("telemetry");
    let access = section.section("accessLog");
    let audit = section.section("auditLog");
    let arguments = audit.flag("arguments", false).then(|| pointers(&audit));
    let common = CommonCollector::read(section.section("otlp"), sources);
    let audit_log = output(&audit, folder, &common);
    TelemetrySettings {
        access_log: output(&access, folder, &common),
        audit_log: audit_log.map(|output| AuditOutput { output, arguments }),
        traces: traces(&section.section("traces"), &common),
        metrics: metrics(&section.section("metrics"), &common),
    }
}

/// `None` if the section is not there, or off.
fn output(
    section: &Section<'_>,
    folder: &Path,
    common: &CommonCollector<'_, '_>,
) -> Option<LogOutput> {
    section.object?;
    let is_on = section.flag("enabled", true);
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = section.choice("format", "form of a log", &formats).unwrap_or(LogFormat::Json);
    let max_bytes = section.whole("maxBytes", MAX_BYTES, MIB..=1024 * 1024 * MIB);
    let keep = u32::try_from(section.whole("keep", KEEP, 0..=1000)).unwrap_or(u32::MAX);
    let to = match section.text("to").as_deref() {
        None | Some("stdout") => LogDestination::Stdout,
        Some("otlp") => LogDestination::Collector(common.for_log(section)?),
        Some("") => {
            section.refuse_key("to", "is empty", "use stdout, otlp, or the path of a file");
            return None;
        }
        Some(path) => LogDestination::File { path: folder.join(path), max_bytes, keep },
    };
    is_on.then_some(LogOutput { to, format })
}

/// `None` if the section is not there, off, or wrong.
fn traces(section: &Section<'_>, common: &CommonCollector<'_, '_>) -> Option<TraceOutput> {
    section.object?;
    let is_on = section.flag("enabled", true);
    let ratio = section.get("ratio").map_or(Some(1.0), |item| item.fraction());
    let collector = common.for_signal(section, OtlpSignal::Traces)?;
    is_on.then_some(TraceOutput { collector, ratio: ratio? })
}

/// `None` if the section is not there, off, or wrong.
fn metrics(section: &Section<'_>, common: &CommonCollector<'_, '_>) -> Option<MetricOutput> {
    section.object?;
    let is_on = section.flag("enabled", true);
    let interval = section.millis("interval", 1000..=3_600_000).unwrap_or(INTERVAL);
    let collector = common.for_signal(section, OtlpSignal::Metrics)?;
    is_on.then_some(MetricOutput { collector, interval })
}

fn pointers(audit: &Section<'_>) -> Vec<String> {
    let items = audit.items("redact");
    if items.len() > MAX_POINTERS {
        audit.refuse_key("redact", "has too many pointers", "use 100 at most");
        return Vec::new();
    }
    let mut pointers = Vec::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        if text.is_empty() || text.starts_with('/') {
            pointers.push(text);
        } else {
            let advice = "write a JSON pointer into the arguments, such as /password or /*/key";
            item.refuse(format!("{} is not a JSON pointer", quote(&text)), advice);
        }
    }
    pointers
}
