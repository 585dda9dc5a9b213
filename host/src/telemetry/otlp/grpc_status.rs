//! How a gRPC call ended: its status in trailers or, where nothing else came, in headers.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;

use crate::net::percent_decoded;

use super::fields::{FieldValue, ProtobufFields};
use super::outcome::{ExportRefusal, words};

/// Metadata may come with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How messages of this kind begin: there is one of how long to wait.
const RETRY_INFO: &[u8] = b"/google.rpc.RetryInfo";

/// The names of the codes, in their order.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const RESOURCE_EXHAUSTED: usize = 8;
/// Codes after which a request may be sent again (OTLP 1.x, "Failures").
const RETRYABLE: [usize; 6] = [1, 4, 10, 11, 14, 15];

/// What `grpc-status` says, and how long to wait where that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcStatus {
    code: usize,
    message: String,
    wait: Option<Duration>,
}

impl GrpcStatus {
    /// The status in trailers, or in the headers of an answer that has nothing else.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok().and_then(|text| text.parse().ok());
        let message = headers.get("grpc-message").map(|value| value.as_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(message);
        let message = percent_decoded(&text).unwrap_or_else(|| text.into_owned());
        let details = headers.get("grpc-status-details-bin").map(|value| value.as_bytes());
        let wait = details.and_then(|text| BASE64.decode(text).ok()).and_then(|it| delay(&it));
        // A code that is none counts as UNKNOWN.
        let code = code.filter(|code| *code < NAMES.len()).unwrap_or(2);
        Some(Self { code, message: words(message.as_bytes()), wait })
    }

    /// Whether the call was carried out, or what else became of it.
    ///
    /// # Errors
    /// If it was not.
    pub fn judged(self) -> Result<(), ExportRefusal> {
        if self.code == 0 {
            return Ok(());
        }
        let name = NAMES.get(self.code).copied().unwrap_or_default();
        let why = match self.message.is_empty() {
            true => format!("answers {name}"),
            false => format!("answers {name}: {}", self.message),
        };
        // One that says when it has room again will have some.
        let has_room_later = self.code == RESOURCE_EXHAUSTED && self.wait.is_some();
        let may_repeat = has_room_later || RETRYABLE.contains(&self.code);
        Err(ExportRefusal { may_repeat, wait: self.wait, why })
    }
}

/// The delay of a `RetryInfo` in a `google.rpc.Status`.
fn delay(status: &[u8]) -> Option<Duration> {
    let is_it = |any: &&[u8]| ProtobufFields::bytes(any, 1).ends_with(RETRY_INFO);
    let mut details = ProtobufFields::of(status).filter_map(|(field, value)| match value {
        FieldValue::Bytes(any) if field == 3 => Some(any),
        _ => None,
    });
    let info = details.find(is_it)?;
    let delay = ProtobufFields::bytes(ProtobufFields::bytes(info, 2), 1);
    let seconds = i64::from_ne_bytes(ProtobufFields::number(delay, 1).to_ne_bytes());
    let nanos = u32::try_from(ProtobufFields::number(delay, 2)).unwrap_or(0).min(999_999_999);
    Some(Duration::new(u64::try_from(seconds).unwrap_or(0), nanos))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::telemetry::otlp::protobuf::Message;

    fn status(entries: &[(&'static str, &str)]) -> Option<GrpcStatus> {
        let entry = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        GrpcStatus::of(&entries.iter().map(entry).collect())
    }

    /// A `google.rpc.Status` with this delay, as metadata has it.
    fn details(seconds: u64, nanos: u64) -> String {
        let mut delay = Message::default();
        delay.number(1, seconds);
        delay.number(2, nanos);
        let mut info = Message::default();
        info.message(1, &delay);
        let mut any = Message::default();
        any.bytes(1, b"type.googleapis.com/google.rpc.RetryInfo");
        any.message(2, &info);
        let mut status = Message::default();
        status.number(1, 8);
        status.bytes(3, b"\x0a\x05other");
        status.message(3, &any);
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(status.into_bytes())
    }

    #[test]
    fn what_may_be_repeated_is_what_the_specification_says() {
        for code in 1..NAMES.len() {
            let failed = status(&[("grpc-status", &code.to_string())]).unwrap().judged();
            let expect = matches!(code, 1 | 4 | 10 | 11 | 14 | 15);
            assert_eq!(failed.unwrap_err().may_repeat, expect, "{code}");
        }
        assert_eq!(status(&[("grpc-status", "0")]).unwrap().judged(), Ok(()));
        let details = details(2, 500_000_000);
        let full = status(&[("grpc-status", "8"), ("grpc-status-details-bin", &details)]);
        let full = full.unwrap().judged().unwrap_err();
        assert!(full.may_repeat);
        assert_eq!(full.wait, Some(Duration::from_millis(2500)));
        assert_eq!(full.why, "answers RESOURCE_EXHAUSTED");
    }

    #[test]
    fn the_collectors_words_are_told_so_that_they_can_be_seen() {
        let failed = status(&[("grpc-status", "3"), ("grpc-message", "no%0Asuch %C3%A9")]);
        let why = failed.unwrap().judged().unwrap_err().why;
        assert!(why.starts_with("answers INVALID_ARGUMENT: no"), "{why}");
        assert!(why.ends_with("such é") && !why.contains('\n'), "{why}");
    }

    #[test]
    fn what_is_no_status_is_none_or_unknown() {
        assert_eq!(status(&[("grpc-message", "x")]), None);
        for code in ["", "x", "-1", "17", "99999999999999999999"] {
            let failed = status(&[("grpc-status", code)]).unwrap().judged().unwrap_err();
            assert_eq!((failed.may_repeat, failed.why.as_str()), (false, "answers UNKNOWN"));
        }
        let odd = status(&[("grpc-status", "8"), ("grpc-status-details-bin", "!!")]).unwrap();
        assert!(!odd.judged().unwrap_err().may_repeat);
    }
}
