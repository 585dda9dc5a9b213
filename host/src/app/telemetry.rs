//! Settings → what is noted of calls, and what is told to collectors.

use anyhow::Context as _;
use http::{HeaderMap, Uri};

use crate::config::{
    Config, LogDestination, LogFormat, LogOutput, Mode, OtlpCollector, OtlpProtocol,
};
use crate::model::NodeId;
use crate::net::Target;
use crate::telemetry::{
    Attributes, AuditSettings, Collector, GrpcChannel, LineForm, LineSettings, LogSettings,
    LogTarget, MetricsExport, MetricsExporter, OtlpTransport, Pointer, StartExport, Telemetry,
    Traces,
};

/// What is told to collectors, to be started.
#[derive(Default)]
pub struct Exports {
    pub tasks: Vec<Box<dyn StartExport>>,
    pub metrics: Option<MetricsExporter>,
}

/// Begins the logs of the settings, and what else is told.
pub fn start(
    config: &Config,
    node: &NodeId,
    workers: usize,
) -> anyhow::Result<(Telemetry, Exports)> {
    let settings = &config.telemetry;
    let collectors = Collectors { resource: resource(config, node) };
    let mut telemetry = Telemetry::new(workers);
    let mut exports = Exports::default();
    if let Some(output) = &settings.access_log {
        let begun = telemetry.begin_access_log(collectors.log(output)?);
        exports.tasks.extend(begun.context("systemConfig.telemetry.accessLog")?);
    }
    if let Some(audit) = &settings.audit_log {
        let arguments = audit.arguments.as_ref().map(|redacted| {
            redacted.iter().filter_map(|pointer| Pointer::parse(pointer)).collect()
        });
        let log = AuditSettings { log: collectors.log(&audit.output)?, arguments };
        let begun = telemetry.begin_audit_log(log);
        exports.tasks.extend(begun.context("systemConfig.telemetry.auditLog")?);
    }
    if let Some(output) = &settings.traces {
        let collector = collectors.of(&output.collector)?;
        let (traces, exporter) = Traces::new(output.ratio, seed()?, collector);
        telemetry.traces = Some(traces.into());
        exports.tasks.push(exporter);
    }
    if let Some(output) = &settings.metrics {
        let collector = collectors.of(&output.collector)?;
        let (metrics, exporter) = MetricsExport::new(collector, output.interval);
        telemetry.metrics = Some(metrics);
        exports.metrics = Some(exporter);
    }
    Ok((telemetry, exports))
}

/// What makes collectors of the settings' ones.
struct Collectors {
    resource: Attributes,
}

impl Collectors {
    fn of(&self, output: &OtlpCollector) -> anyhow::Result<Collector> {
        let target = Target::of(&output.endpoint).context("systemConfig.telemetry: endpoint")?;
        let path = output.endpoint.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        let headers = HeaderMap::from_iter(output.headers.iter().cloned());
        let transport = match output.protocol {
            OtlpProtocol::Http => OtlpTransport::Http,
            OtlpProtocol::Grpc => OtlpTransport::Grpc(GrpcChannel::default()),
        };
        Ok(Collector { target, path, transport, headers, resource: self.resource.clone() })
    }

    fn log(&self, output: &LogOutput) -> anyhow::Result<LogSettings> {
        let target = match &output.to {
            LogDestination::Stdout => LogTarget::Stdout,
            LogDestination::File { path, max_bytes, keep } => {
                LogTarget::File { path: path.clone(), most: *max_bytes, keep: *keep }
            }
            LogDestination::Collector(collector) => {
                let collector = self.of(collector)?;
                return Ok(LogSettings::Collector(Box::new(collector)));
            }
        };
        let form = match output.format {
            LogFormat::Json => LineForm::Json,
            LogFormat::Text => LineForm::Text,
        };
        Ok(LogSettings::Lines(LineSettings { target, form }))
    }
}

/// What all that this process tells has in common.
fn resource(config: &Config, node: &NodeId) -> Attributes {
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
    resource
}

fn seed() -> anyhow::Result<u64> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
    Ok(u64::from_ne_bytes(seed))
}
