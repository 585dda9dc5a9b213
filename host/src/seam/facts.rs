//! What edge and runner exchange beside the client's message.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{Epoch, Epochs, GatewayStart, Principal, QuotaKey, SessionId};
use crate::protocol::era::read_places::ReadPlaces;
use crate::protocol::headers::{is_internal, seam};

use super::state_step::StateStep;

const ADDRESS: &str = "address=";
const CREDENTIAL: &str = "credential=";

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
    /// Whom the limits on processes count for the session. Set on an explicit open; processes of
    /// earlier versions do not set it, and then the principal counts.
    pub quota: Option<QuotaKey>,
    /// Set on an explicit open: the body is then the client's `initialize` parameters.
    pub open: Option<Handshake>,
    /// Set where state is brought back, saved before, or changed so that it has to be. Earlier versions
    /// do not read it.
    pub state: Option<StateStep>,
    /// On an open, the epochs of the binding; on DELETE, the highest epoch that is closed. Nothing
    /// on other messages, and from processes of earlier versions.
    pub epochs: Epochs,
    /// On an open of a session of HTTP+SSE: the start of the gateway that has its stream. With that
    /// the session ends.
    pub stream: Option<GatewayStart>,
    /// Whether the message is a request without a session, for a server that has none: the session
    /// names nothing then. Earlier versions do not read it, and know no such server.
    pub is_stateless: bool,
    /// Within a process: where such a request has what the edge has read in it. It has none of its
    /// headers then, which would say the same.
    pub read: Option<ReadPlaces>,
    /// On an open: whether the session is one of the gateway's own, in place of a client that has none.
    /// Earlier versions do not read it, and such a client gets from them what a session gets.
    pub is_inner: bool,
}

impl Facts {
    /// Those of a message that is no open.
    #[must_use]
    pub fn of(session: SessionId, principal: Principal) -> Self {
        Self {
            session,
            principal,
            quota: None,
            open: None,
            epochs: Epochs::default(),
            stream: None,
            state: None,
            is_stateless: false,
            read: None,
            is_inner: false,
        }
    }

    /// Sets the headers that carry the facts to another process.
    pub fn write(&self, headers: &mut HeaderMap) {
        let mut set = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(seam::SESSION, &self.session.to_string());
        set(seam::PRINCIPAL, &crate::net::percent_encoded(self.principal.as_str()));
        if let Some(quota) = &self.quota {
            set(seam::QUOTA, &quota_text(quota));
        }
        match self.open {
            Some(Handshake::Client) => set(seam::OPEN, "client"),
            Some(Handshake::Runner) => set(seam::OPEN, "host"),
            None => {}
        }
        if let Some(step) = self.state {
            set(seam::STATE, step.as_str());
        }
        if self.is_stateless {
            set(seam::STATELESS, "yes");
        }
        if self.is_inner {
            set(seam::INNER, "yes");
        }
        for (name, epoch) in [(seam::EPOCH, self.epochs.given), (seam::OPENED, self.epochs.opened)]
        {
            if let Some(epoch) = epoch {
                headers.insert(name, HeaderValue::from(epoch.get()));
            }
        }
        if let Some(start) = self.stream {
            headers.insert(seam::STREAM, HeaderValue::from(start.get()));
        }
    }

    /// The lines of the same headers, if these are the facts of a message and there is nothing more to
    /// say: so nearly all messages pass, and a map of headers takes them ten times as long.
    #[must_use]
    pub fn lines(&self) -> Option<Vec<u8>> {
        let Self {
            session,
            principal,
            quota: None,
            open: None,
            state: None,
            epochs: Epochs { given: None, opened: None },
            stream: None,
            is_stateless: false,
            read: None,
            is_inner: false,
        } = self
        else {
            return None;
        };
        let mut buffer = [0; SessionId::TEXT];
        let session = session.text_in(&mut buffer);
        let principal = crate::net::percent_encoded(principal.as_str());
        let mut lines = Vec::with_capacity(session.len() + principal.len() + 64);
        for (name, value) in [(seam::SESSION, session), (seam::PRINCIPAL, &principal)] {
            for part in [name.as_str(), ": ", value, "\r\n"] {
                lines.extend_from_slice(part.as_bytes());
            }
        }
        Some(lines)
    }

    /// Reads the headers that another process has set. `None` if one is missing or invalid.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let (mut session, mut principal, mut others) = (None, None, false);
        // Messages have these two alone. To look for the others costs more than to see that.
        for (name, value) in headers {
            if *name == seam::SESSION {
                session = session.or(Some(value));
            } else if *name == seam::PRINCIPAL {
                principal = principal.or(Some(value));
            } else {
                others |= is_internal(name);
            }
        }
        let session = SessionId::parse(session?.to_str().ok()?)?;
        let principal = crate::net::percent_decoded(principal?.to_str().ok()?)?;
        let facts = Self::of(session, Principal::named(&principal));
        if others { facts.with_others(headers) } else { Some(facts) }
    }

    /// The same with what headers say beside session and principal.
    fn with_others(self, headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let open = match text(seam::OPEN) {
            None => None,
            Some("client") => Some(Handshake::Client),
            Some("host") => Some(Handshake::Runner),
            Some(_) => return None,
        };
        let quota = match headers.get(seam::QUOTA) {
            Some(value) => Some(quota_of(value.to_str().ok()?)?),
            None => None,
        };
        let state = match text(seam::STATE) {
            Some(word) => Some(StateStep::parse(word)?),
            None => None,
        };
        let epoch = |name| match headers.get(name) {
            Some(_) => Some(Some(epoch_in(headers, name)?)),
            None => Some(None),
        };
        let epochs = Epochs { given: epoch(&seam::EPOCH)?, opened: epoch(&seam::OPENED)? };
        let stream = match text(seam::STREAM) {
            Some(text) => Some(GatewayStart::new(text.parse().ok()?)?),
            None => None,
        };
        let is_stateless = headers.contains_key(seam::STATELESS);
        let is_inner = headers.contains_key(seam::INNER);
        Some(Self { quota, open, state, epochs, stream, is_stateless, is_inner, ..self })
    }
}

/// Marks the answer to an open with the epoch of the instance.
pub fn write_epoch(headers: &mut HeaderMap, epoch: Option<Epoch>) {
    if let Some(epoch) = epoch {
        headers.insert(seam::EPOCH, HeaderValue::from(epoch.get()));
    }
}

/// The epoch of the instance that the answer to an open is of. Runners of earlier versions say
/// none.
#[must_use]
pub fn read_epoch(headers: &HeaderMap) -> Option<Epoch> {
    epoch_in(headers, &seam::EPOCH)
}

fn epoch_in(headers: &HeaderMap, name: &HeaderName) -> Option<Epoch> {
    Epoch::parse(headers.get(name)?.to_str().ok()?)
}

/// `address=192.0.2.1`, or `credential=` and its name, percent-encoded.
fn quota_text(quota: &QuotaKey) -> String {
    match quota {
        QuotaKey::Address(address) => format!("{ADDRESS}{address}"),
        QuotaKey::Credential(principal) => {
            format!("{CREDENTIAL}{}", crate::net::percent_encoded(principal.as_str()))
        }
    }
}

fn quota_of(text: &str) -> Option<QuotaKey> {
    if let Some(address) = text.strip_prefix(ADDRESS) {
        return Some(QuotaKey::of_address(address.parse().ok()?));
    }
    let name = crate::net::percent_decoded(text.strip_prefix(CREDENTIAL)?)?;
    Some(QuotaKey::Credential(Principal::named(&name)))
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

/// Whether a response carries nothing of the runner's, as nearly all answers. It costs no lookup.
pub(super) fn is_unmarked(headers: &HeaderMap) -> bool {
    !headers.keys().any(is_internal)
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
        if is_unmarked(headers) {
            return None;
        }
        match headers.get(seam::OUTCOME)?.as_bytes() {
            b"unknown-session" => Some(Self::UnknownSession),
            b"not-sent" => Some(Self::NotSent),
            b"sent" => Some(Self::Sent),
            _ => None,
        }
    }
}

/// Marks an answer with an outcome: the server has refused the token of the client's user. It has not
/// executed what came with it.
pub fn write_token_refused(headers: &mut HeaderMap) {
    headers.insert(seam::TOKEN_REFUSED, HeaderValue::from_static("yes"));
}

/// Whether an answer is marked so. Runners of earlier versions do not know such tokens.
#[must_use]
pub fn is_token_refused(headers: &HeaderMap) -> bool {
    !is_unmarked(headers) && headers.contains_key(seam::TOKEN_REFUSED)
}

/// Marks an answer as made by the runner, in the server's place.
pub fn write_node_answer(headers: &mut HeaderMap) {
    headers.insert(seam::NODE_ANSWER, HeaderValue::from_static("yes"));
}

/// Whether an answer is marked so. Runners of earlier versions mark none.
#[must_use]
pub fn is_node_answer(headers: &HeaderMap) -> bool {
    headers.contains_key(seam::NODE_ANSWER)
}

/// What the runner found when it was asked to open a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The session was not open: nothing of an earlier conversation is left.
    Fresh,
    /// The server had ended the session while nothing of it was under way. It is open again, and
    /// what the client has set has to be restored, but nothing is lost that the client would miss.
    /// A coordinator that does not know the word takes it for [`Self::Fresh`].
    Renewed,
    /// The session was open, or was being opened: its state is still there.
    Existing,
}

impl Start {
    /// Sets the header of the response to an open.
    pub fn write(self, headers: &mut HeaderMap) {
        let text = match self {
            Self::Fresh => "fresh",
            Self::Renewed => "renewed",
            Self::Existing => "existing",
        };
        headers.insert(seam::START, HeaderValue::from_static(text));
    }

    /// [`Self::Fresh`] if the header is absent: only state that is reported counts.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        match headers.get(seam::START).map(HeaderValue::as_bytes) {
            Some(b"existing") => Self::Existing,
            Some(b"renewed") => Self::Renewed,
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
            let (session, principal) = (SessionId::mint(), Principal::named("ä b"));
            for quota in [
                None,
                Some(QuotaKey::Credential(principal.clone())),
                Some(QuotaKey::of_address([192, 0, 2, 1].into())),
                Some(QuotaKey::of_address("2001:db8::1".parse().unwrap())),
            ] {
                let epochs = Epochs { given: Epoch::new(2), opened: open.and(Epoch::new(1)) };
                let stream = open.and(GatewayStart::new(7));
                let facts = Facts::of(session, principal.clone());
                let state = open.map(|_| StateStep::Hold);
                let is_stateless = open.is_none();
                let facts = Facts { quota, open, epochs, stream, state, is_stateless, ..facts };
                let facts = Facts { is_inner: open.is_some(), ..facts };
                let mut headers = HeaderMap::new();
                facts.write(&mut headers);
                assert_eq!(Facts::read(&headers), Some(facts));
            }
        }
        assert_eq!(Facts::read(&HeaderMap::new()), None);
    }

    #[test]
    fn lines_say_what_headers_would() {
        let facts = Facts::of(SessionId::mint(), Principal::named("ä b"));
        let lines = String::from_utf8(facts.lines().unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        facts.write(&mut headers);
        let mut said = String::new();
        for (name, value) in &headers {
            said += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        assert_eq!(lines, said);
        let quota = Some(QuotaKey::Credential(Principal::anonymous()));
        assert_eq!(Facts { quota, ..facts.clone() }.lines(), None);
        assert_eq!(Facts { open: Some(Handshake::Client), ..facts.clone() }.lines(), None);
        assert_eq!(Facts { is_stateless: true, ..facts.clone() }.lines(), None);
        assert_eq!(Facts { is_inner: true, ..facts }.lines(), None);
    }

    #[test]
    fn a_quota_that_cannot_be_read_is_refused_and_an_absent_one_is_not() {
        let mut headers = HeaderMap::new();
        let (session, principal) = (SessionId::mint(), Principal::anonymous());
        Facts::of(session, principal).write(&mut headers);
        assert!(Facts::read(&headers).is_some());
        for odd in ["", "192.0.2.1", "address=", "address=localhost", "credential=%zz", "\u{e4}"] {
            headers.insert(seam::QUOTA, HeaderValue::from_str(odd).unwrap());
            assert_eq!(Facts::read(&headers), None, "{odd}");
        }
    }
}
