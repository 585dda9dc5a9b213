//! The ids of sessions, and those of the events on their HTTP+SSE streams: what they carry.

use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::initialize::MAX_NAMED;
use crate::protocol::version::Version;

use super::{HEAD, KeyRing, TAG, binding, purpose, random_nonce, read_head, write_head};

/// The largest `initialize` parameters that travel inside the id, in bytes. Larger ones would
/// make the headers of every request large; they are stored.
pub const MAX_CARRIED_PARAMS: usize = 1024;
/// Flag: the parameters are in the store.
const STORED: u8 = 1;
/// Flag: a revision that is not known here follows, with its length in front.
const NAMED: u8 = 2;

/// The contents of a session's id, without its scope and principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key of every table about the session.
    pub session: SessionId,
    /// When the session began; [`MAX_AGE`](super::MAX_AGE) counts from here.
    pub minted_at: UnixMillis,
    /// The revision that was negotiated with the client.
    pub version: Version,
    /// What the server has named instead, if that is no revision that is known here.
    pub named: Option<String>,
    /// The client's `initialize` parameters, with which servers are opened later too.
    pub params: CarriedParams,
}

/// Where a client's `initialize` parameters are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarriedParams {
    /// In the id, since they have at most [`MAX_CARRIED_PARAMS`] bytes.
    Inside(bytes::Bytes),
    /// In the store, under the session's uuid, since they are too large for the id.
    Stored,
}

impl KeyRing {
    /// The id of a session, which opens only for this scope and principal. `None` without a
    /// key, or without randomness.
    #[must_use]
    pub fn seal(&self, sealed: &Sealed, scope: &Scope, principal: &Principal) -> Option<String> {
        self.seal_for(purpose::SESSION, sealed, scope, principal)
    }

    /// The id of the events on a session's HTTP+SSE stream. `None` as for [`Self::seal`].
    #[must_use]
    pub fn seal_event(
        &self,
        sealed: &Sealed,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        self.seal_for(purpose::EVENT, sealed, scope, principal)
    }

    fn seal_for(
        &self,
        purpose: u8,
        sealed: &Sealed,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let params: &[u8] = match &sealed.params {
            CarriedParams::Inside(params) => params,
            CarriedParams::Stored => &[],
        };
        let mut contents = Vec::with_capacity(HEAD + 2 + params.len() + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, purpose, sealed.session, sealed.minted_at, owner);
        contents.push(sealed.version as u8);
        let stored = if sealed.params == CarriedParams::Stored { STORED } else { 0 };
        let named = sealed.named.as_deref().filter(|named| named.len() <= MAX_NAMED);
        contents.push(stored | named.map_or(0, |_| NAMED));
        if let Some(named) = named {
            contents.push(u8::try_from(named.len()).unwrap_or_default());
            contents.extend_from_slice(named.as_bytes());
        }
        contents.extend_from_slice(params);
        self.encrypt(contents, random_nonce()?)
    }

    /// The contents of a session's id. `None` for every reason alike (a wrong seal, scope or
    /// principal, or its age): a client that guesses must not learn which.
    #[must_use]
    pub fn open(&self, text: &str, scope: &Scope, principal: &Principal) -> Option<Sealed> {
        self.open_for(purpose::SESSION, text, scope, principal)
    }

    /// The session that the id of an event names. `None` as for [`Self::open`].
    #[must_use]
    pub fn open_event(&self, text: &str, scope: &Scope, principal: &Principal) -> Option<Sealed> {
        self.open_for(purpose::EVENT, text, scope, principal)
    }

    fn open_for(
        &self,
        purpose: u8,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<Sealed> {
        let contents = self.decrypt(text)?;
        let (head, rest) = read_head(&contents)?;
        if head.purpose != purpose || head.owner != binding(scope, principal) {
            return None;
        }
        let ([version, flags], mut params) = rest.split_first_chunk::<2>()?;
        let mut named = None;
        if flags & NAMED != 0 {
            let (length, rest) = params.split_first()?;
            let (text, rest) = rest.split_at_checked(usize::from(*length))?;
            named = Some(std::str::from_utf8(text).ok()?.to_owned());
            params = rest;
        }
        let params = match flags & STORED {
            0 => CarriedParams::Inside(bytes::Bytes::copy_from_slice(params)),
            _ => CarriedParams::Stored,
        };
        let version = Version::from_byte(*version)?;
        Some(Sealed { session: head.session, minted_at: head.minted_at, version, named, params })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerName;

    fn sealed() -> Sealed {
        Sealed {
            session: SessionId::mint(),
            minted_at: UnixMillis::now(),
            version: Version::V2025_06_18,
            named: None,
            params: CarriedParams::Inside("{\"a\":1}".into()),
        }
    }

    #[test]
    fn an_id_opens_to_what_was_sealed_for_its_owner_and_scope_only() {
        let ring = KeyRing::new(&[b"one"]);
        let anyone = Principal::anonymous();
        let session = sealed();
        let id = ring.seal(&session, &Scope::All, &anyone).unwrap();
        assert!(id.bytes().all(|b| (0x21..=0x7e).contains(&b)));
        assert_eq!(ring.open(&id, &Scope::All, &anyone), Some(session.clone()));
        assert_eq!(ring.peek(&id), Some(session.session));
        let named = Sealed { named: Some("2024-10-07".into()), ..session };
        let id = ring.seal(&named, &Scope::All, &anyone).unwrap();
        assert_eq!(ring.open(&id, &Scope::All, &anyone), Some(named));
        let server = Scope::Server(ServerName::parse("a").unwrap());
        assert_eq!(ring.open(&id, &server, &anyone), None);
        assert_eq!(ring.open(&id, &Scope::All, &Principal::named("eve")), None);
        assert_eq!(KeyRing::new(&[b"two"]).open(&id, &Scope::All, &anyone), None);
    }

    #[test]
    fn an_id_of_one_purpose_does_not_open_for_another() {
        let ring = KeyRing::new(&[b"one"]);
        let (anyone, session) = (Principal::anonymous(), sealed());
        let http = ring.seal(&session, &Scope::All, &anyone).unwrap();
        let (uuid, minted) = (session.session, session.minted_at);
        let stream = ring.seal_stream(uuid, minted, &Scope::All, &anyone).unwrap();
        let event = ring.seal_event(&session, &Scope::All, &anyone).unwrap();
        assert_eq!(ring.open_event(&event, &Scope::All, &anyone), Some(session.clone()));
        assert_eq!(ring.open_event(&event, &Scope::All, &Principal::named("eve")), None);
        let unnamed = ring.seal_unnamed_event(uuid, minted, &Scope::All, &anyone).unwrap();
        for other in [&http, &stream, &unnamed] {
            assert_eq!(ring.open_event(other, &Scope::All, &anyone), None);
        }
        for other in [&http, &stream, &event] {
            assert_eq!(ring.open_unnamed_event(other, &Scope::All, &anyone), None);
        }
        let opened = ring.open_unnamed_event(&unnamed, &Scope::All, &anyone).unwrap();
        assert_eq!(opened.session, uuid);
        assert_eq!(ring.open_unnamed_event(&unnamed, &Scope::All, &Principal::named("eve")), None);
        assert_eq!(ring.open_stream(&unnamed), None);
        assert_eq!(ring.open(&event, &Scope::All, &anyone), None);
        assert_eq!(ring.open_stream(&event), None);
        assert_eq!(ring.seal_stream(uuid, minted, &Scope::All, &anyone), Some(stream.clone()));
        assert_eq!(ring.open_stream(&http), None);
        assert_eq!(ring.open(&stream, &Scope::All, &anyone), None);
        let opened = ring.open_stream(&stream).unwrap();
        assert_eq!(opened.session, uuid);
        assert_eq!(ring.peek(&stream), Some(uuid));
        assert!(opened.is_of(&Scope::All, &anyone));
        assert!(!opened.is_of(&Scope::All, &Principal::named("eve")));
        let server = Scope::Server(ServerName::parse("a").unwrap());
        assert!(!opened.is_of(&server, &anyone));
    }

    #[test]
    fn an_old_key_still_opens_after_rotation() {
        let session = sealed();
        let anyone = Principal::anonymous();
        let id = KeyRing::new(&[b"old"]).seal(&session, &Scope::All, &anyone).unwrap();
        assert!(KeyRing::new(&[b"new", b"old"]).open(&id, &Scope::All, &anyone).is_some());
    }

    #[test]
    fn a_changed_truncated_or_too_old_id_is_unknown() {
        let ring = KeyRing::new(&[b"one"]);
        let anyone = Principal::anonymous();
        let id = ring.seal(&sealed(), &Scope::All, &anyone).unwrap();
        for at in 2..id.len() {
            let mut bytes = id.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(ring.open(&changed, &Scope::All, &anyone), None);
            assert_eq!(ring.open(&id[..at], &Scope::All, &anyone), None);
        }
        let old =
            Sealed { minted_at: UnixMillis(UnixMillis::now().0 - 8 * 86_400_000), ..sealed() };
        let id = ring.seal(&old, &Scope::All, &anyone).unwrap();
        assert_eq!(ring.open(&id, &Scope::All, &anyone), None);
        assert_eq!(ring.open("", &Scope::All, &anyone), None);
        assert_eq!(ring.open("m1ÄÖ", &Scope::All, &anyone), None);
    }
}
