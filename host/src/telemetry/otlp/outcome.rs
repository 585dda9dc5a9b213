//! What became of a request to a collector, whatever it went over.

use std::time::Duration;

use crate::model::visible;

use super::fields::ProtobufFields;

/// Bytes of a collector's words that the log shows.
const MAX_SHOWN: usize = 300;

/// What a collector says of a request that it has taken: an `Export…ServiceResponse`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportReceipt {
    /// How many of the request's spans, records or points it did not take for all that.
    pub rejected: u64,
    /// Why, or what it has to say else; mostly nothing.
    pub says: String,
}

impl ExportReceipt {
    /// Reads the answer. One that is no such message says nothing: what was sent is taken.
    #[must_use]
    pub fn read(answer: &[u8]) -> Self {
        let partial = ProtobufFields::bytes(answer, 1);
        // A signed number: one below zero makes no sense.
        let rejected = i64::from_ne_bytes(ProtobufFields::number(partial, 1).to_ne_bytes());
        Self {
            rejected: u64::try_from(rejected).unwrap_or(0),
            says: words(ProtobufFields::bytes(partial, 2)),
        }
    }

    /// A sentence about it, which begins with what was sent, if there is something to tell.
    #[must_use]
    pub fn told(&self, what: &str) -> Option<String> {
        let says = if self.says.is_empty() { "nothing more" } else { &*self.says };
        match (self.rejected, self.says.is_empty()) {
            (0, true) => None,
            (0, false) => Some(format!("the collector takes {what} and says: {says}")),
            (count, _) => Some(format!("the collector rejects {count} of the {what}: {says}")),
        }
    }
}

/// A request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRefusal {
    /// Whether another attempt makes sense.
    pub may_repeat: bool,
    /// After which time, if the collector says so.
    pub wait: Option<Duration>,
    /// The end of a sentence that the collector begins.
    pub why: String,
}

impl ExportRefusal {
    /// Another attempt makes sense.
    #[must_use]
    pub fn now(why: String) -> Self {
        Self { may_repeat: true, wait: None, why }
    }

    /// The collector will say the same again.
    #[must_use]
    pub fn ever(why: String) -> Self {
        Self { may_repeat: false, wait: None, why }
    }
}

/// A collector's words, as the log may show them.
#[must_use]
pub fn words(text: &[u8]) -> String {
    visible::visible(&String::from_utf8_lossy(text), MAX_SHOWN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::protobuf::Message;

    fn answer(rejected: i64, says: &str) -> Vec<u8> {
        let mut partial = Message::default();
        partial.number(1, rejected.cast_unsigned());
        partial.bytes(2, says.as_bytes());
        let mut answer = Message::default();
        answer.message(1, &partial);
        answer.into_bytes()
    }

    #[test]
    fn what_was_not_taken_is_counted_and_told() {
        let taken = ExportReceipt::read(&answer(3, "too\nold"));
        assert_eq!(taken.rejected, 3);
        let told = taken.told("spans").unwrap();
        assert!(told.starts_with("the collector rejects 3 of the spans: too"), "{told}");
        assert!(!told.contains('\n'));
        let warning = ExportReceipt::read(&answer(0, "slow down")).told("spans").unwrap();
        assert_eq!(warning, "the collector takes spans and says: slow down");
        for nothing in [&b""[..], b"\x0a\x00", b"<html>", &answer(-1, "")] {
            assert_eq!(ExportReceipt::read(nothing), ExportReceipt::default());
            assert_eq!(ExportReceipt::read(nothing).told("spans"), None);
        }
    }
}
