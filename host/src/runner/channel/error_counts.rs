//! The errors that sessions of clients got from a server, or from the runner in its place.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::error_kind::{Emitter, ErrorKind, code_of};
use crate::protocol::glance::begins_with_result;
use crate::protocol::jsonrpc::{Envelope, code};

/// Those of one server. Only an error costs anything.
#[derive(Debug, Default)]
pub struct ErrorCounts {
    of_server: [AtomicU64; ErrorKind::ALL.len()],
    of_runner: [AtomicU64; ErrorKind::ALL.len()],
    /// Calls and openings that a server elsewhere has not answered, whatever became of them.
    unreached: AtomicU64,
}

impl ErrorCounts {
    /// Counts an answer of the server, if it is an error.
    pub fn note_answer(&self, answer: &Envelope<'_>) {
        if let Some(error) = answer.error {
            add(&self.of_server, code_of(error.get()).unwrap_or(0));
        }
    }

    /// The same for an answer that nobody has parsed yet.
    pub fn note_text(&self, answer: &[u8]) {
        if !is_result(answer)
            && let Ok(answer) = Envelope::parse(answer)
        {
            self.note_answer(&answer);
        }
    }

    /// Counts an error in the server's place. A cancelled request is none.
    pub fn note_own(&self, code: i64) {
        if code != code::CANCELLED {
            add(&self.of_runner, code);
        }
    }

    /// Counts an error of this kind.
    pub fn note_kind(&self, emitter: Emitter, kind: ErrorKind) {
        let counts = match emitter {
            Emitter::Server => &self.of_server,
            Emitter::Node | Emitter::Gateway => &self.of_runner,
        };
        if let Some(count) = counts.get(kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer with an error in the server's place.
    pub fn note_error(&self, answer: &[u8]) {
        self.note_own(code_in(answer));
    }

    /// Notes that the server could not be reached, or has broken a call off.
    pub fn note_unreached(&self) {
        self.unreached.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    pub fn unreached(&self) -> u64 {
        self.unreached.load(Ordering::Relaxed)
    }

    /// All counts that are not 0.
    pub fn each(&self) -> impl Iterator<Item = (Emitter, ErrorKind, u64)> {
        let both = [(Emitter::Server, &self.of_server), (Emitter::Node, &self.of_runner)];
        both.into_iter().flat_map(|(emitter, counts)| {
            ErrorKind::ALL.into_iter().zip(counts).filter_map(move |(kind, count)| {
                let count = count.load(Ordering::Relaxed);
                (count > 0).then_some((emitter, kind, count))
            })
        })
    }
}

/// Whether an answer that nobody has parsed yet is plainly no error.
#[must_use]
pub fn is_result(answer: &[u8]) -> bool {
    begins_with_result(answer.trim_ascii_start())
}

/// The code of an answer that is an error of ours.
#[must_use]
pub fn code_in(answer: &[u8]) -> i64 {
    let error = Envelope::parse(answer).ok().and_then(|answer| code_of(answer.error?.get()));
    error.unwrap_or(code::INTERNAL)
}

fn add(counts: &[AtomicU64; ErrorKind::ALL.len()], code: i64) {
    if let Some(count) = counts.get(ErrorKind::of(code).index()) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(counts: &ErrorCounts) -> Vec<(&'static str, &'static str, u64)> {
        counts.each().map(|(by, kind, count)| (by.as_str(), kind.as_str(), count)).collect()
    }

    #[test]
    fn errors_are_found_in_every_shape_and_results_are_none() {
        let counts = ErrorCounts::default();
        for answer in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"error":{"code":1}}}"#,
            r#"{"result":{"x":1},"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":"a,\"error\":","result":{}}"#,
            "no json",
        ] {
            counts.note_text(answer.as_bytes());
        }
        assert_eq!(counted(&counts), []);
        for answer in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}"#,
            r#" {"error":{"message":"x","code":-32602},"id":1,"jsonrpc":"2.0"}"#,
            r#"{ "id" : "a", "jsonrpc": "2.0", "error": {"code": -32602, "message": ""} }"#,
            r#"{"jsonrpc":"2.0","id":"a,b","error":{"code":77,"message":"x"}}"#,
        ] {
            counts.note_text(answer.as_bytes());
        }
        assert_eq!(counted(&counts), [("server", "invalid-params", 3), ("server", "other", 1)]);
    }

    #[test]
    fn the_runners_own_errors_are_apart_and_a_cancelled_call_is_none() {
        let counts = ErrorCounts::default();
        for code in [code::TIMED_OUT, code::SERVER_LOST, code::CANCELLED] {
            counts.note_own(code);
        }
        assert_eq!(counted(&counts), [("node", "server-lost", 1), ("node", "timed-out", 1)]);
    }
}
