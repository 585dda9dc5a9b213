//! Servers that refuse `initialize` with a revision that they do not know, instead of offering
//! their own: they are asked once more with an older one, which is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::initialize::InitializeParams;
use crate::protocol::splice;
use crate::protocol::version::Version;
use crate::sync::Locked;

/// The words by which such a refusal is known, in lower case.
const ABOUT: [&str; 4] = ["version", "revision", "-32022", "\"supported\""];
/// Bytes of a revision: a date.
const DATE: usize = 10;

/// What is known of servers that have refused a revision.
pub type Revisions = Arc<Locked<HashMap<ServerName, Known>>>;

/// The outcome of asking one server for older revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It takes this one.
    Takes(String),
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
    /// Whether to try older revisions that the server has not named.
    guesses: bool,
    /// The revision that was refused, if one was.
    refused: Option<String>,
}

impl<'a> Asking<'a> {
    /// Parameters, with the revision that the server is known to take if that is an older one.
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
            refused: None,
        };
        let remembered = known.lock().get(server).cloned();
        match remembered {
            Some(Known::Takes(older)) if older < asking.revision => {
                asking.is_remembered = asking.set(older);
            }
            Some(Known::TakesNone) => asking.guesses = false,
            Some(Known::Takes(_)) | None => {}
        }
        asking
    }

    /// Whether a refusal leaves another revision to ask for.
    #[must_use]
    pub fn may_ask_again(&self, refusal: &str) -> bool {
        self.is_remembered || self.older(refusal).is_some()
    }

    /// The revision to ask for after a refusal.
    #[must_use]
    pub fn older(&self, refusal: &str) -> Option<String> {
        after_refusal(refusal, &self.revision, self.guesses)
    }

    /// Takes another revision after a refusal. False if none is left.
    pub fn asks_again(&mut self, refusal: &str) -> bool {
        let is_remembered = std::mem::take(&mut self.is_remembered);
        match self.older(refusal) {
            Some(older) => {
                // Until it is known to take one, others do not try the same.
                self.known.lock().entry(self.server.clone()).or_insert(Known::TakesNone);
                let refused = std::mem::take(&mut self.revision);
                self.refused.get_or_insert(refused);
                self.set(older)
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
        if self.refused.is_some() && known.get(self.server) == Some(&Known::TakesNone) {
            known.remove(self.server);
        }
    }

    /// The server has opened the session with this revision.
    pub fn granted(self) {
        let Some(refused) = self.refused else {
            if !self.guesses {
                self.known.lock().remove(self.server);
            }
            return;
        };
        let (server, revision) = (self.server, self.revision);
        tracing::warn!(server = %server, "a flaw of the server: it refuses revision {refused} instead of offering its own; it is asked for {revision} from now on");
        self.known.lock().insert(server.clone(), Known::Takes(revision));
    }

    fn set(&mut self, revision: String) -> bool {
        let Some(params) = with(&self.wanted, &revision) else { return false };
        (self.params, self.revision) = (params, revision);
        true
    }
}

/// The flaw of a server that is asked for an older revision.
#[must_use]
pub fn flaw(known: &Revisions, server: &ServerName) -> Option<String> {
    let known = known.lock();
    let Known::Takes(asked) = known.get(server)? else { return None };
    Some(format!("it refuses newer revisions instead of offering its own: it is asked for {asked}"))
}

/// The revision to ask for after this refusal of `asked`: the newest older one that the server
/// names, or if it names none and `guesses`, the next older one that is known here. `None` if the
/// refusal is about something else.
fn after_refusal(refusal: &str, asked: &str, guesses: bool) -> Option<String> {
    let said = refusal.to_ascii_lowercase();
    if !ABOUT.iter().any(|word| said.contains(word)) {
        return None;
    }
    let named: Vec<&str> = dates(&said).filter(|date| *date != asked).collect();
    if !named.is_empty() {
        let older = named.into_iter().filter(|date| *date < asked);
        return older.max().map(str::to_owned);
    }
    let known = Version::ALL.into_iter().map(Version::as_str).filter(|_| guesses);
    known.filter(|known| *known < asked).max().map(str::to_owned)
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
    let raw = crate::protocol::lenient::Members::of(text)?.get("protocolVersion")?;
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
            (r#"{"code":-32000,"message":"unknown protocolVersion"}"#, "2024-11-05", None),
            (
                r#"{"code":-32022,"message":"no","data":{"supported":["2026-07-28"],"requested":"2025-11-25"}}"#,
                "2025-11-25",
                None,
            ),
            (r#"{"code":-32000,"message":"no license since 2024-01-01"}"#, "2025-11-25", None),
            ("version 2024-10-07 only", "2025-11-25", Some("2024-10-07")),
        ] {
            assert_eq!(after_refusal(refusal, asked, true).as_deref(), expect, "{refusal}");
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
