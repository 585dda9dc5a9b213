//! What is told of calls: `systemConfig.telemetry`.

use std::path::{Path, PathBuf};

use crate::config::reader::place::quote;
use crate::config::reader::section::Section;

const MIB: u64 = 1 << 20;
/// Default of `maxBytes`.
const MAX_BYTES: u64 = 100 * MIB;
/// Default of `keep`.
const KEEP: u64 = 5;
/// Most pointers of `redact`.
const MAX_POINTERS: usize = 100;

/// What is told of calls. Without settings: metrics alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// A line for each call.
    pub access_log: Option<LogOutput>,
    /// A line for what is done, and what is refused.
    pub audit_log: Option<AuditOutput>,
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

pub(in crate::config) fn read(system: &Section<'_>, folder: &Path) -> TelemetrySettings {
    let section = system.section("telemetry");
    let access = section.section("accessLog");
    let audit = section.section("auditLog");
    let arguments = audit.flag("arguments", false).then(|| pointers(&audit));
    TelemetrySettings {
        access_log: output(&access, folder),
        audit_log: output(&audit, folder).map(|output| AuditOutput { output, arguments }),
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
