//! Servers that refuse `initialize` with a revision that they do not serve, instead of offering
//! their own: they are asked once more with an older one, or else a newer one, which is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::ServerName;
use crate::protocol::initialize::InitializeParams;
use crate::protocol::jsonrpc::code;
use crate::protocol::lenient::Members;
use crate::protocol::splice;
use crate::protocol::version::Version;
use crate::sync::Locked;

/// The words by which such a refusal is known, in lower case.
const ABOUT: [&str; 4] = ["version", "revision", "-32022", "\"supported\""];
/// Bytes of a revision: a date.
const DATE: usize = 10;

/// What is known of servers that have refused a revision.
pub type Revisions = Arc<Locked<HashMap<ServerName, Known>>>;

/// The outcome of asking one server for other revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It refuses what is newer than the one, or older than the other.
    Takes { newest: Option<String>, oldest: Option<String> },
    /// It takes none that is known here, and has named none: it is not asked for each of them again.
    TakesNone,
}

/// The parameters with which a session is being opened, and their revision.
pub struct Asking<'a> {
    server: &'a ServerName,
    known: &'a Revisions,
    wanted: Bytes,
    /// As they are sent now.
    pub params: Bytes,
    /// The revision in them.
    pub revision: String,
    /// Whether the revision is one that was known to be taken.
    is_remembered: bool,
    /// Whether to try revisions that the server has not named.
    guesses: bool,
    /// The revisions that were refused.
    refused: Vec<String>,
    /// Whether a refusal may mean that the server has no sessions, which is then found out.
    pub probes: bool,
}

impl<'a> Asking<'a> {
    /// Parameters, with the nearest revision that the server is known to take.
    #[must_use]
    pub fn of(server: &'a ServerName, wanted: Bytes, known: &'a Revisions) -> Self {
        let revision = asked_in(&wanted).unwrap_or_default();
        let mut asking = Self {
            server,
            known,
            params: wanted.clone(),
            wanted,
            revision,
            is_remembered: false,
            guesses: true,
            refused: Vec::new(),
            probes: false,
        };
        let remembered = known.lock().get(server).cloned();
        match remembered {
            Some(Known::Takes { newest, oldest }) => {
                let older = newest.filter(|newest| *newest < asking.revision);
                let newer = oldest.filter(|oldest| *oldest > asking.revision);
                if let Some(other) = older.or(newer) {
                    asking.is_remembered = asking.set(other);
                }
            }
            Some(Known::TakesNone) => asking.guesses = false,
            None => {}
        }
        asking
    }

    /// Whether a refusal leaves another revision to ask for, that without sessions among them.
    #[must_use]
    pub fn may_ask_again(&self, refusal: &str) -> bool {
        self.is_remembered
            || self.next(refusal).is_some()
            || (self.probes && may_be_modern(refusal))
    }

    /// The revision to ask for after a refusal.
    #[must_use]
    pub fn next(&self, refusal: &str) -> Option<String> {
        after_refusal(refusal, &self.revision, &self.refused, self.guesses)
    }

    /// Takes another revision after a refusal. False if none is left.
    pub fn asks_again(&mut self, refusal: &str) -> bool {
        let is_remembered = std::mem::take(&mut self.is_remembered);
        match self.next(refusal) {
            Some(other) => {
                // Until it is known to take one, others do not try the same.
                self.known.lock().entry(self.server.clone()).or_insert(Known::TakesNone);
                self.refused.push(std::mem::take(&mut self.revision));
                self.set(other)
            }
            // It may have been replaced by a newer version of itself.
            None if is_remembered => {
                self.known.lock().remove(self.server);
                self.params = self.wanted.clone();
                self.revision = asked_in(&self.wanted).unwrap_or_default();
                true
            }
            None => false,
        }
    }

    /// The session was not opened for another reason than a refusal: nothing was learnt.
    pub fn given_up(self) {
        let mut known = self.known.lock();
        if !self.refused.is_empty() && known.get(self.server) == Some(&Known::TakesNone) {
            known.remove(self.server);
        }
    }

    /// The server has opened the session with this revision.
    pub fn granted(self) {
        let Some(refused) = self.refused.first() else {
            if !self.guesses {
                self.known.lock().remove(self.server);
            }
            return;
        };
        let (server, revision) = (self.server, self.revision);
        tracing::warn!(server = %server, "a flaw of the server: it refuses revision {refused} instead of offering its own; it is asked for {revision} from now on");
        let mut known = self.known.lock();
        let (mut newest, mut oldest) = match known.remove(server) {
            Some(Known::Takes { newest, oldest }) => (newest, oldest),
            Some(Known::TakesNone) | None => (None, None),
        };
        let bound = if revision < *refused { &mut newest } else { &mut oldest };
        *bound = Some(revision);
        known.insert(server.clone(), Known::Takes { newest, oldest });
    }

    fn set(&mut self, revision: String) -> bool {
        let Some(params) = with(&self.wanted, &revision) else { return false };
        (self.params, self.revision) = (params, revision);
        true
    }
}

/// Whether a server of the revision without sessions may refuse `initialize` so: it does not have
/// the method, misses what every request has to say there, or does not serve the revision.
#[must_use]
pub fn may_be_modern(refusal: &str) -> bool {
    // Of one over HTTP there is more to tell behind it.
    let mut values = serde_json::Deserializer::from_str(refusal).into_iter::<&RawValue>();
    let error = values.next().and_then(|first| Members::of(first.ok()?.get()));
    let code = error.and_then(|error| error.get("code")?.get().parse::<i64>().ok());
    code.is_some_and(|code| {
        matches!(
            code,
            code::INVALID_REQUEST
                | code::METHOD_NOT_FOUND
                | code::INVALID_PARAMS
                | code::HEADER_MISMATCH
                | code::MISSING_CAPABILITY
                | code::UNSUPPORTED_VERSION
        )
    })
}

/// The flaw of a server that is asked for another revision.
#[must_use]
pub fn flaw(known: &Revisions, server: &ServerName) -> Option<String> {
    let known = known.lock();
    let Known::Takes { newest, oldest } = known.get(server)? else { return None };
    let (which, asked) = match (newest, oldest) {
        (Some(newest), _) => ("newer", newest),
        (None, oldest) => ("older", oldest.as_ref()?),
    };
    Some(format!(
        "it refuses {which} revisions instead of offering its own: it is asked for {asked}"
    ))
}

/// The servers that are asked for another revision.
#[must_use]
pub fn flawed(known: &Revisions) -> Vec<ServerName> {
    let known = known.lock();
    let flawed = known.iter().filter(|(_, known)| matches!(known, Known::Takes { .. }));
    flawed.map(|(server, _)| server.clone()).collect()
}

/// The revision to ask for after this refusal of `asked`: the newest older one that the server
/// names, or else the oldest newer one. If it names none and `guesses`, the next older one that is
/// known here, or at last the newest. None of those that were `refused` before. `None` if the
/// refusal is about something else.
fn after_refusal(refusal: &str, asked: &str, refused: &[String], guesses: bool) -> Option<String> {
    let said = refusal.to_ascii_lowercase();
    if !ABOUT.iter().any(|word| said.contains(word)) {
        return None;
    }
    // What was asked for is repeated there, and offered nowhere.
    let said = match said.split_once("\"requested\"") {
        Some((before, after)) => {
            let behind = after.find([',', '}']).and_then(|at| after.get(at..));
            [before, behind.unwrap_or_default()].concat()
        }
        None => said,
    };
    let is_new = |date: &&str| *date != asked && refused.iter().all(|refused| refused != date);
    let newest = Version::ALL.into_iter().map(Version::as_str).max()?;
    if dates(&said).any(|date| date != asked) {
        let named = || dates(&said).filter(is_new).filter(|date| *date <= newest);
        let older = named().filter(|date| *date < asked).max();
        return older.or_else(|| named().min()).map(str::to_owned);
    }
    let known = || Version::ALL.into_iter().map(Version::as_str).filter(|_| guesses).filter(is_new);
    let older = known().filter(|known| *known < asked).max();
    older.or_else(|| known().find(|known| *known == newest)).map(str::to_owned)
}

/// What looks like a date in a text.
fn dates(text: &str) -> impl Iterator<Item = &str> {
    let is_date = |part: &str| {
        part.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    };
    (0..text.len()).filter_map(move |at| text.get(at..at + DATE)).filter(move |part| is_date(part))
}

/// The revision that these `initialize` parameters ask for.
#[must_use]
pub fn asked_in(params: &[u8]) -> Option<String> {
    let params = serde_json::from_slice::<InitializeParams<'_>>(params).ok()?;
    Some(params.protocol_version.into_owned())
}

/// The same parameters with another revision.
#[must_use]
pub fn with(params: &Bytes, revision: &str) -> Option<Bytes> {
    let text = std::str::from_utf8(params).ok()?;
    let raw = Members::of(text)?.get("protocolVersion")?;
    let span = splice::span(params, raw)?;
    Some(splice::replace(params, span, splice::quoted(revision).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_older_revision_that_a_refusal_names_is_asked_for() {
        for (refusal, asked, expect) in [
            (
                r#"{"code":-32602,"message":"Unsupported protocol version","data":{"supported":["2024-11-05","2025-03-26"],"requested":"2025-11-25"}}"#,
                "2025-11-25",
                Some("2025-03-26"),
            ),
            (
                "Bad Request: Unsupported protocol version (supported versions: 2025-06-18, 2025-03-26)",
                "2025-11-25",
                Some("2025-06-18"),
            ),
            (
                r#"{"code":-32000,"message":"unknown protocolVersion"}"#,
                "2025-11-25",
                Some("2025-06-18"),
            ),
            (
                r#"{"code":-32000,"message":"unknown protocolVersion"}"#,
                "2025-03-26",
                Some("2024-11-05"),
            ),
            (
                r#"{"code":-32000,"message":"unknown protocolVersion"}"#,
                "2024-11-05",
                Some("2025-11-25"),
            ),
            (
                r#"{"code":-32602,"message":"Unsupported protocol version","data":{"supported":["2025-11-25","2025-06-18"]}}"#,
                "2024-11-05",
                Some("2025-06-18"),
            ),
            ("Supported versions: 2025-06-18", "2025-03-26", Some("2025-06-18")),
            (
                r#"{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"2025-11-25"}}"#,
                "2025-06-18",
                None,
            ),
            (
                r#"{"code":-32022,"message":"no","data":{"supported":["2026-07-28"],"requested":"2025-11-25"}}"#,
                "2025-11-25",
                None,
            ),
            (r#"{"code":-32000,"message":"no license since 2024-01-01"}"#, "2025-11-25", None),
            ("version 2024-10-07 only", "2025-11-25", Some("2024-10-07")),
        ] {
            let other = after_refusal(refusal, asked, &[], true);
            assert_eq!(other.as_deref(), expect, "{refusal}");
            if let Some(other) = other {
                // What was refused is not asked for again.
                let next = after_refusal(refusal, &other, &[asked.to_owned()], true);
                assert_ne!(next.as_deref(), Some(asked), "{refusal}");
            }
        }
    }

    #[test]
    fn a_refusal_may_show_that_a_server_has_no_sessions() {
        for (refusal, expect) in [
            (r#"{"code":-32601,"message":"Method not found"}"#, true),
            (r#"{"code":-32022,"message":"m","data":{"supported":["2026-07-28"]}}"#, true),
            (r#"{"code":-32602,"message":"m"}"#, true),
            (r#"{"code":-32601,"message":"m"} (over Streamable HTTP, with 404)"#, true),
            (r#"{"code":-32000,"message":"no API key"}"#, false),
            (r#"{"code":-32603,"message":"m"}"#, false),
            ("answers 500", false),
        ] {
            assert_eq!(may_be_modern(refusal), expect, "{refusal}");
        }
    }

    #[test]
    fn only_the_revision_changes() {
        let params = Bytes::from_static(
            br#"{ "capabilities":{"x":1e400}, "protocolVersion" : "2025-11-25","a":1 }"#,
        );
        let older = with(&params, "2025-03-26").unwrap();
        let text = String::from_utf8(params.to_vec()).unwrap();
        assert_eq!(older, text.replace("2025-11-25", "2025-03-26"));
        assert_eq!(asked_in(&older).as_deref(), Some("2025-03-26"));
    }
}
