//! What is told of calls: `systemConfig.telemetry`.

use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Uri};

use crate::config::reader::headers;
use crate::config::reader::place::quote;
use crate::config::reader::reading::{expand_item, expanded};
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};

const MIB: u64 = 1 << 20;
/// Default of `maxBytes`.
const MAX_BYTES: u64 = 100 * MIB;
/// Default of `keep`.
const KEEP: u64 = 5;
/// Most pointers of `redact`.
const MAX_POINTERS: usize = 100;
/// Where a collector takes traces, below its base URL.
const TRACES_PATH: &str = "/v1/traces";

/// What is told of calls. Without settings: metrics alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TelemetrySettings {
    /// A line for each call.
    pub access_log: Option<LogOutput>,
    /// A line for what is done, and what is refused.
    pub audit_log: Option<AuditOutput>,
    /// Spans of calls.
    pub traces: Option<TraceOutput>,
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
    /// The collector's URL for traces.
    pub endpoint: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The share of the traces that begin here, from 0 to 1.
    pub ratio: f64,
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
    TelemetrySettings {
        access_log: output(&access, folder),
        audit_log: output(&audit, folder).map(|output| AuditOutput { output, arguments }),
        traces: traces(&section.section("traces"), sources),
    }
}

/// `None` if the section is not there, or off.
fn output(section: &Section<'_>, folder: &Path) -> Option<LogOutput> {
    section.object?;
    let is_on = section.flag("enabled", true);
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = section.choice("format", "form of a log", &formats).unwrap_or(LogFormat::Json);
    let max_bytes = section.whole("maxBytes", MAX_BYTES, MIB..=1024 * 1024 * MIB);
    let keep = u32::try_from(section.whole("keep", KEEP, 0..=1000)).unwrap_or(u32::MAX);
    let to = match section.text("to").as_deref() {
        None | Some("stdout") => LogDestination::Stdout,
        Some("") => {
            section.refuse_key("to", "is empty", "use stdout, or the path of a file");
            return None;
        }
        Some(path) => LogDestination::File { path: folder.join(path), max_bytes, keep },
    };
    is_on.then_some(LogOutput { to, format })
}

/// `None` if the section is not there, off, or wrong.
fn traces(section: &Section<'_>, sources: &Sources<'_>) -> Option<TraceOutput> {
    section.object?;
    let is_on = section.flag("enabled", true);
    let ratio = section.get("ratio").map_or(Some(1.0), |item| item.fraction());
    let headers = trace_headers(section, sources);
    let Some(item) = section.get("endpoint") else {
        let advice = "add the collector's URL, such as \"http://127.0.0.1:4318\"";
        section.refuse_key("endpoint", "is required", advice);
        return None;
    };
    let text = expanded(section, "endpoint", sources)?;
    let endpoint = url::parse(&text, UrlPurpose::Base).map(of_traces);
    let endpoint = endpoint
        .map_err(|problem| item.refuse(problem, "write it like http://127.0.0.1:4318"))
        .ok()?;
    is_on.then_some(TraceOutput { endpoint, headers, ratio: ratio? })
}

/// The collector's URL for traces: as it is, or below its base URL.
fn of_traces(url: Uri) -> Uri {
    let path = url.path().trim_end_matches('/');
    if path.ends_with(TRACES_PATH) {
        return url;
    }
    let mut parts = url.clone().into_parts();
    parts.path_and_query = format!("{path}{TRACES_PATH}").parse().ok();
    Uri::from_parts(parts).unwrap_or(url)
}

fn trace_headers(section: &Section<'_>, sources: &Sources<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut read = Vec::new();
    for (name, item) in section.entries("headers") {
        let name = match headers::parse(name) {
            Ok(name) => name,
            Err(problem) => {
                item.refuse(problem, "remove it");
                continue;
            }
        };
        let text = item.text().and_then(|text| expand_item(&item, &text, sources));
        let Some(text) = text else { continue };
        match HeaderValue::from_str(&text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                read.push((name, value));
            }
            Err(_) => item.refuse("cannot be sent in a header", "use visible ASCII characters"),
        }
    }
    read
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
