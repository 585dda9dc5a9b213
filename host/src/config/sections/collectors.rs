//! Collectors of OpenTelemetry: where spans, metrics and log records go, for all of them at once
//! (`telemetry.otlp`) or for one. OpenTelemetry's variables say what `telemetry.otlp` does not.

use std::cell::{Cell, OnceCell};

use http::{HeaderName, HeaderValue, Uri};

use crate::config::reader::headers;
use crate::config::reader::reading::{expand_item, expanded};
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};

use super::otlp_protocol::{OtlpProtocol, OtlpSignal};
use super::otlp_variables::{self, ENDPOINT, PROTOCOL};

const ADVICE: &str = "write it like http://127.0.0.1:4318, or http://127.0.0.1:4317 for grpc";
const NO_PATH: &str = "leave its path out, or set the protocol to http/protobuf";

/// Where one kind of telemetry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpCollector {
    /// The URL of what is told.
    pub endpoint: Uri,
    pub protocol: OtlpProtocol,
    pub headers: SentHeaders,
}

type SentHeaders = Vec<(HeaderName, HeaderValue)>;

/// The collector of all that names none of its own.
pub(in crate::config) struct CommonCollector<'d, 's> {
    section: Section<'d>,
    sources: &'s Sources<'s>,
    /// That of the file.
    protocol: Option<OtlpProtocol>,
    /// That of the variable, once somebody asked for it.
    usual: OnceCell<Option<OtlpProtocol>>,
    /// Its base URL, and what is sent there, once somebody asked for it. A mistake is told once.
    base: OnceCell<Option<(Uri, SentHeaders)>>,
    is_refused: Cell<bool>,
}

impl<'d, 's> CommonCollector<'d, 's> {
    pub fn read(section: Section<'d>, sources: &'s Sources<'s>) -> Self {
        let protocol = protocol_of(&section);
        let (usual, base) = (OnceCell::new(), OnceCell::new());
        let common = Self { section, sources, protocol, usual, base, is_refused: Cell::new(false) };
        if common.section.object.is_some() {
            common.base();
        }
        common
    }

    /// Whether one is named, be it rightly or not.
    fn is_named(&self) -> bool {
        self.section.object.is_some() || self.sources.variable(ENDPOINT).is_some()
    }

    fn base(&self) -> Option<&(Uri, SentHeaders)> {
        self.base.get_or_init(|| self.find_base()).as_ref()
    }

    fn find_base(&self) -> Option<(Uri, SentHeaders)> {
        let (section, sources) = (&self.section, self.sources);
        let headers = match section.get("headers") {
            Some(_) => sent_headers(section, sources),
            None => otlp_variables::headers(sources, section.notes)?,
        };
        let endpoint = match (section.get("endpoint"), sources.variable(ENDPOINT)) {
            (Some(_), _) => endpoint(section, sources)?,
            (None, Some(_)) => otlp_variables::endpoint(sources, section.notes)?,
            (None, None) => {
                section.refuse_key("endpoint", "is required", ADVICE);
                return None;
            }
        };
        let path = endpoint.path().trim_end_matches('/');
        if OtlpSignal::ALL.iter().any(|signal| path.ends_with(signal.path())) {
            let advice = "leave its path out: each kind has its own below the base URL";
            self.refuse_endpoint("is the URL of one kind of telemetry", advice);
            return None;
        }
        Some((endpoint, headers))
    }

    fn refuse_endpoint(&self, message: &str, advice: &str) {
        if self.is_refused.replace(true) {
            return;
        }
        match self.section.get("endpoint") {
            Some(item) => item.refuse(message, advice),
            None => self.section.notes.refuse_variable(ENDPOINT, message, advice),
        }
    }

    /// What a kind of telemetry is told over, unless its own section says so.
    fn protocol(&self, signal: OtlpSignal) -> Option<OtlpProtocol> {
        if let Some(protocol) = self.protocol {
            return Some(protocol);
        }
        let read = |name| otlp_variables::protocol(name, self.sources, self.section.notes);
        match self.sources.variable(signal.variable()) {
            Some(_) => read(signal.variable()),
            None => *self.usual.get_or_init(|| read(PROTOCOL)),
        }
    }

    /// The collector of a section: its own, or this one.
    pub fn for_signal(&self, section: &Section<'_>, signal: OtlpSignal) -> Option<OtlpCollector> {
        let own = section.get("protocol").map(|_| protocol_of(section));
        let protocol = || own.unwrap_or_else(|| self.protocol(signal));
        if let Some(item) = section.get("endpoint") {
            let headers = sent_headers(section, self.sources);
            let endpoint = endpoint(section, self.sources)?;
            let protocol = protocol()?;
            let endpoint = signal.url(&endpoint, protocol);
            let endpoint = endpoint.map_err(|problem| item.refuse(problem, NO_PATH)).ok()?;
            return Some(OtlpCollector { endpoint, protocol, headers });
        }
        if section.get("headers").is_some() {
            let advice = "add the endpoint that they are for, or move them to telemetry.otlp";
            section.refuse_key("headers", "stand without an endpoint", advice);
            return None;
        }
        if !self.is_named() {
            let advice = "add the collector's URL, such as \"http://127.0.0.1:4318\", here or as \
                telemetry.otlp.endpoint";
            section.refuse_key("endpoint", "is required", advice);
            return None;
        }
        self.at_base(signal, protocol()?)
    }

    /// The collector of a log.
    pub fn for_log(&self, section: &Section<'_>) -> Option<OtlpCollector> {
        if !self.is_named() {
            let advice = "add telemetry.otlp with the endpoint of a collector";
            section.refuse_key("to", "is otlp, and no collector is named", advice);
            return None;
        }
        self.at_base(OtlpSignal::Logs, self.protocol(OtlpSignal::Logs)?)
    }

    fn at_base(&self, signal: OtlpSignal, protocol: OtlpProtocol) -> Option<OtlpCollector> {
        let (base, headers) = self.base()?;
        let endpoint = signal.url(base, protocol);
        let endpoint = endpoint.map_err(|problem| self.refuse_endpoint(problem, NO_PATH)).ok()?;
        Some(OtlpCollector { endpoint, protocol, headers: headers.clone() })
    }
}

fn protocol_of(section: &Section<'_>) -> Option<OtlpProtocol> {
    section.choice("protocol", "protocol of OTLP", &OtlpProtocol::NAMES)
}

fn endpoint(section: &Section<'_>, sources: &Sources<'_>) -> Option<Uri> {
    let item = section.get("endpoint")?;
    let text = expanded(section, "endpoint", sources)?;
    let endpoint = url::parse(&text, UrlPurpose::Base);
    endpoint.map_err(|problem| item.refuse(problem, ADVICE)).ok()
}

fn sent_headers(section: &Section<'_>, sources: &Sources<'_>) -> SentHeaders {
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
