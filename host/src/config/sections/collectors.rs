//! Collectors of OpenTelemetry: where spans, metrics and log records go, for all of them at once
//! (`telemetry.otlp`) or for one.

use http::{HeaderName, HeaderValue, Uri};

use crate::config::reader::headers;
use crate::config::reader::reading::{expand_item, expanded};
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};

const ADVICE: &str = "write it like http://127.0.0.1:4318";

/// Where one kind of telemetry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpCollector {
    /// The URL of what is told.
    pub endpoint: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum OtlpSignal {
    Traces,
    Metrics,
    Logs,
}

impl OtlpSignal {
    const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Where a collector takes it, below its base URL.
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

/// The collector of all that names none of its own.
pub(in crate::config) struct CommonCollector {
    /// Whether there is something in the file, be it right or not.
    is_written: bool,
    /// With the base URL.
    collector: Option<OtlpCollector>,
}

impl CommonCollector {
    pub fn read(section: &Section<'_>, sources: &Sources<'_>) -> Self {
        let is_written = section.object.is_some();
        let collector = is_written.then(|| Self::collector(section, sources)).flatten();
        Self { is_written, collector }
    }

    fn collector(section: &Section<'_>, sources: &Sources<'_>) -> Option<OtlpCollector> {
        let headers = sent_headers(section, sources);
        if section.get("endpoint").is_none() {
            section.refuse_key("endpoint", "is required", ADVICE);
            return None;
        }
        let endpoint = endpoint(section, sources)?;
        let path = endpoint.path().trim_end_matches('/');
        if OtlpSignal::ALL.iter().any(|signal| path.ends_with(signal.path())) {
            let advice = "leave its path out: each kind has its own below the base URL";
            section.refuse_key("endpoint", "is the URL of one kind of telemetry", advice);
            return None;
        }
        Some(OtlpCollector { endpoint, headers })
    }

    /// The collector of a section: its own, or this one.
    pub fn for_signal(
        &self,
        section: &Section<'_>,
        signal: OtlpSignal,
        sources: &Sources<'_>,
    ) -> Option<OtlpCollector> {
        if section.get("endpoint").is_some() {
            let headers = sent_headers(section, sources);
            let endpoint = endpoint(section, sources)?;
            return Some(OtlpCollector { endpoint, headers }.of(signal));
        }
        if section.get("headers").is_some() {
            let advice = "add the endpoint that they are for, or move them to telemetry.otlp";
            section.refuse_key("headers", "stand without an endpoint", advice);
            return None;
        }
        if !self.is_written {
            let advice = "add the collector's URL, such as \"http://127.0.0.1:4318\", here or as \
                telemetry.otlp.endpoint";
            section.refuse_key("endpoint", "is required", advice);
        }
        Some(self.collector.clone()?.of(signal))
    }

    /// The collector of a log.
    pub fn for_log(&self, section: &Section<'_>) -> Option<OtlpCollector> {
        if !self.is_written {
            let advice = "add telemetry.otlp with the endpoint of a collector";
            section.refuse_key("to", "is otlp, and no collector is named", advice);
        }
        Some(self.collector.clone()?.of(OtlpSignal::Logs))
    }
}

impl OtlpCollector {
    /// The same for one kind: its URL is below the base URL, unless it is that already.
    fn of(self, signal: OtlpSignal) -> Self {
        let path = self.endpoint.path().trim_end_matches('/');
        if path.ends_with(signal.path()) {
            return self;
        }
        let mut parts = self.endpoint.clone().into_parts();
        parts.path_and_query = format!("{path}{}", signal.path()).parse().ok();
        let endpoint = Uri::from_parts(parts).unwrap_or_else(|_| self.endpoint.clone());
        Self { endpoint, ..self }
    }
}

fn endpoint(section: &Section<'_>, sources: &Sources<'_>) -> Option<Uri> {
    let item = section.get("endpoint")?;
    let text = expanded(section, "endpoint", sources)?;
    let endpoint = url::parse(&text, UrlPurpose::Base);
    endpoint.map_err(|problem| item.refuse(problem, ADVICE)).ok()
}

fn sent_headers(section: &Section<'_>, sources: &Sources<'_>) -> Vec<(HeaderName, HeaderValue)> {
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
