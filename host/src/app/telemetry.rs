//! Settings → what is noted of calls.

use anyhow::Context as _;

use crate::config::{Config, LogDestination, LogFormat, LogOutput};
use crate::telemetry::{AuditSettings, LineForm, LogSettings, LogTarget, Pointer, Telemetry};

/// Starts the logs of the settings.
pub fn start(config: &Config, workers: usize) -> anyhow::Result<Telemetry> {
    let settings = &config.telemetry;
    let access = settings.access_log.as_ref().map(log);
    let audit = settings.audit_log.as_ref().map(|audit| {
        let pointers = audit.arguments.as_ref().map(|redacted| {
            redacted.iter().filter_map(|pointer| Pointer::parse(pointer)).collect()
        });
        AuditSettings { log: log(&audit.output), arguments: pointers }
    });
    Telemetry::start(workers, access, audit).context("systemConfig.telemetry")
}

fn log(output: &LogOutput) -> LogSettings {
    let target = match &output.to {
        LogDestination::Stdout => LogTarget::Stdout,
        LogDestination::File { path, max_bytes, keep } => {
            LogTarget::File { path: path.clone(), most: *max_bytes, keep: *keep }
        }
    };
    let form = match output.format {
        LogFormat::Json => LineForm::Json,
        LogFormat::Text => LineForm::Text,
    };
    LogSettings { target, form }
}
