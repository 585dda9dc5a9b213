//! Settings → what is noted of calls.

use anyhow::Context as _;
use http::{HeaderMap, Uri};

use crate::config::{Config, LogDestination, LogFormat, LogOutput, Mode, TraceOutput};
use crate::model::NodeId;
use crate::net::Target;
use crate::telemetry::{
    Attributes, AuditSettings, Collector, LineForm, LogSettings, LogTarget, Pointer, SpanExporter,
    Telemetry, Traces,
};

/// Starts the logs of the settings. The exporter, if there is one, is to be run.
pub fn start(
    config: &Config,
    node: &NodeId,
    workers: usize,
) -> anyhow::Result<(Telemetry, Option<SpanExporter>)> {
    let settings = &config.telemetry;
    let access = settings.access_log.as_ref().map(log);
    let audit = settings.audit_log.as_ref().map(|audit| {
        let pointers = audit.arguments.as_ref().map(|redacted| {
            redacted.iter().filter_map(|pointer| Pointer::parse(pointer)).collect()
        });
        AuditSettings { log: log(&audit.output), arguments: pointers }
    });
    let (traces, exporter) = match &settings.traces {
        Some(output) => {
            let (traces, exporter) = traces(output, config, node)?;
            (Some(traces), Some(exporter))
        }
        None => (None, None),
    };
    let telemetry = Telemetry::start(workers, access, audit, traces);
    Ok((telemetry.context("systemConfig.telemetry")?, exporter))
}

fn traces(
    output: &TraceOutput,
    config: &Config,
    node: &NodeId,
) -> anyhow::Result<(Traces, SpanExporter)> {
    let target = Target::of(&output.endpoint).context("systemConfig.telemetry.traces.endpoint")?;
    let path = output.endpoint.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    let headers = HeaderMap::from_iter(output.headers.iter().cloned());
    let mut resource = Attributes::default();
    resource.text("service.name", "mooring");
    resource.text("service.version", env!("CARGO_PKG_VERSION"));
    resource.text("service.instance.id", node.as_str());
    resource.text(
        "mooring.mode",
        match &config.mode {
            Mode::Standalone => "standalone",
            Mode::Coordinator(_) => "coordinator",
            Mode::Node(_) => "node",
        },
    );
    let collector = Collector { target, path, headers, resource };
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
    Ok(Traces::new(output.ratio, u64::from_ne_bytes(seed), collector))
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
