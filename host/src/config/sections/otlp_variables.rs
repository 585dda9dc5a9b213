//! OpenTelemetry's variables of an exporter. They count where something goes to a collector, and the
//! settings file does not say the same.

use http::{HeaderName, HeaderValue, Uri};

use crate::config::reader::finding::Notes;
use crate::config::reader::headers as names;
use crate::config::reader::place::quote;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};

use super::otlp_protocol::OtlpProtocol;

pub(super) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
pub(super) const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// The base URL of [`ENDPOINT`]; `None` if it is none, or not there.
pub(super) fn endpoint(sources: &Sources<'_>, notes: &Notes<'_>) -> Option<Uri> {
    let text = sources.variable(ENDPOINT)?;
    let advice = "write it like http://127.0.0.1:4318, or name the collector in telemetry.otlp";
    let read = url::parse(&text, UrlPurpose::Base);
    read.map_err(|problem| notes.refuse_variable(ENDPOINT, problem, advice)).ok()
}

/// The protocol of a variable, or the usual one if it is not set; `None` if it is none of ours.
pub(super) fn protocol(
    name: &str,
    sources: &Sources<'_>,
    notes: &Notes<'_>,
) -> Option<OtlpProtocol> {
    let Some(text) = sources.variable(name) else { return Some(OtlpProtocol::default()) };
    let known = OtlpProtocol::NAMES.iter().find(|(known, _)| *known == text.trim());
    if known.is_none() {
        let message = format!("is {}, which is not spoken here", quote(&text));
        let advice = "use http/protobuf or grpc, or set telemetry.otlp.protocol";
        notes.refuse_variable(name, message, advice);
    }
    known.map(|(_, protocol)| *protocol)
}

/// The headers of [`HEADERS`], `name=value` with commas between and values percent-encoded; `None`
/// if it cannot be used. No value is ever repeated in a message.
pub(super) fn headers(
    sources: &Sources<'_>,
    notes: &Notes<'_>,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let text = sources.variable(HEADERS).unwrap_or_default();
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let read: Result<Vec<_>, &'static str> = entries.map(header).collect();
    let advice = "write it like name=value,other=value, with values percent-encoded";
    read.map_err(|problem| notes.refuse_variable(HEADERS, problem, advice)).ok()
}

fn header(entry: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = entry.split_once('=').ok_or("has an entry without =")?;
    let name = names::parse(name.trim()).map_err(|problem| match problem {
        "is not a header name" => "has an entry whose name is not one of a header",
        _ => "has an entry with a header that Mooring sets itself",
    })?;
    let value = decoded(value.trim()).ok_or("has a value that is not percent-encoded text")?;
    let value = HeaderValue::from_str(&value);
    let mut value = value.map_err(|_| "has a value that cannot be sent in a header")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A text without percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
