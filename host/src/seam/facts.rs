//! What edge and runner exchange beside the client's message.

use http::header::{HeaderMap, HeaderValue};

use crate::model::{Principal, SessionId};
use crate::protocol::headers::seam;

/// Which side sends `notifications/initialized` after an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The client, since its own `initialize` is the reason for the open.
    Client,
    /// The runner, since the client's handshake is already over.
    Runner,
}

/// What accompanies every request over the seam.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The session that the request belongs to.
    pub session: SessionId,
    /// The session's owner.
    pub principal: Principal,
    /// Set on an explicit open: the body is then the client's `initialize` parameters.
    pub open: Option<Handshake>,
}

impl Facts {
    /// Sets the headers that carry the facts to another process.
    pub fn write(&self, headers: &mut HeaderMap) {
        let mut set = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(seam::SESSION, &self.session.to_string());
        set(seam::PRINCIPAL, &crate::net::percent_encoded(self.principal.as_str()));
        match self.open {
            Some(Handshake::Client) => set(seam::OPEN, "client"),
            Some(Handshake::Runner) => set(seam::OPEN, "host"),
            None => {}
        }
    }

    /// Reads the headers that another process has set. `None` if one is missing or invalid.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let open = match text(seam::OPEN) {
            None => None,
            Some("client") => Some(Handshake::Client),
            Some("host") => Some(Handshake::Runner),
            Some(_) => return None,
        };
        Some(Self {
            session: SessionId::parse(text(seam::SESSION)?)?,
            principal: Principal::named(&crate::net::percent_decoded(text(seam::PRINCIPAL)?)?),
            open,
        })
    }
}

/// What became of a message that the server did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The runner has no such session: open it, and send the message again.
    UnknownSession,
    /// It never reached the server: any replica may get it.
    NotSent,
    /// It reached the server; whether it ran is unknown.
    Sent,
}

impl Outcome {
    /// Marks a response as not the server's.
    pub fn write(self, headers: &mut HeaderMap) {
        let text = match self {
            Self::UnknownSession => "unknown-session",
            Self::NotSent => "not-sent",
            Self::Sent => "sent",
        };
        headers.insert(seam::OUTCOME, HeaderValue::from_static(text));
    }

    /// `None` if the header is absent, as in an answer of the server, or invalid.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        match headers.get(seam::OUTCOME)?.as_bytes() {
            b"unknown-session" => Some(Self::UnknownSession),
            b"not-sent" => Some(Self::NotSent),
            b"sent" => Some(Self::Sent),
            _ => None,
        }
    }
}

/// What the runner found when it was asked to open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The session was not open: nothing of an earlier conversation is left.
    Fresh,
    /// The session was open, or was being opened: its state is still there.
    Existing,
}

impl Start {
    /// Sets the header of the response to an open.
    pub fn write(self, headers: &mut HeaderMap) {
        let text = match self {
            Self::Fresh => "fresh",
            Self::Existing => "existing",
        };
        headers.insert(seam::START, HeaderValue::from_static(text));
    }

    /// [`Self::Fresh`] if the header is absent: only state that is reported counts.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        match headers.get(seam::START).map(HeaderValue::as_bytes) {
            Some(b"existing") => Self::Existing,
            _ => Self::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_to_another_process() {
        for open in [None, Some(Handshake::Client), Some(Handshake::Runner)] {
            let facts =
                Facts { session: SessionId::mint(), principal: Principal::named("ä b"), open };
            let mut headers = HeaderMap::new();
            facts.write(&mut headers);
            assert_eq!(Facts::read(&headers), Some(facts));
        }
        assert_eq!(Facts::read(&HeaderMap::new()), None);
    }
}
