//! Sealed session ids: what must be known of a session, encrypted inside its id.
//!
//! Every edge with the key opens every id, so a restart needs no table and several coordinators
//! share none. (The address that an HTTP+SSE client posts to is the exception: it names a stream,
//! and is useful only in the process that has it. The ids of that stream's events are sessions'.)
//! The text is `m1` ‖ base64url(key id ‖ nonce ‖ XChaCha20-Poly1305(contents)); the nonce is
//! random, which its 24 bytes make safe for the life of a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::model::{Principal, Scope, SessionId, UnixMillis};

use super::initialize::MAX_NAMED;
use super::version::Version;

/// The age up to which an id opens, a week; an older one is unknown.
pub const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);
/// The largest `initialize` parameters that travel inside the id, in bytes. Larger ones would
/// make the headers of every request large; they are stored.
pub const MAX_CARRIED_PARAMS: usize = 1024;

const MARK: &str = "m1";
const NONCE: usize = 24;
const TAG: usize = 16;
const PURPOSE_SESSION: u8 = 1;
/// An id in the URL that an HTTP+SSE client posts to. It names a session whose stream is open
/// in this process, and carries nothing else.
const PURPOSE_STREAM: u8 = 2;
/// Flag: the parameters are in the store.
const STORED: u8 = 1;
/// Flag: a revision that is not known here follows, with its length in front.
const NAMED: u8 = 2;
/// The id of an event of an HTTP+SSE stream, with which the client comes back to its session. It
/// carries what a session's id does.
const PURPOSE_EVENT: u8 = 3;
/// The same before the session is initialized: it carries what the address does. The address itself
/// would not do: it stands in the logs of proxies, and whoever has it can read nothing.
const PURPOSE_UNNAMED_EVENT: u8 = 4;
/// What coordinators keep of a session or node in a store that others may read or write.
const PURPOSE_RECORD: u8 = 5;
/// The state of a request that waits for its client's input.
const PURPOSE_REQUEST_STATE: u8 = 6;
/// The name of a conversation of a client that has no session.
const PURPOSE_CONVERSATION: u8 = 7;
/// Bytes of purpose, uuid, time, scope and principal, with which every id begins.
const HEAD: usize = 1 + 16 + 8 + 8 + 8;

/// The contents of a session's id, without its scope and principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key of every table about the session.
    pub session: SessionId,
    /// When the session began; [`MAX_AGE`] counts from here.
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

/// The keys of session ids: the first one seals, all open. Cloning is cheap.
#[derive(Clone)]
pub struct KeyRing {
    keys: std::sync::Arc<Vec<SealingKey>>,
}

struct SealingKey {
    id: u8,
    cipher: XChaCha20Poly1305,
    /// Makes the nonces of addresses, which are the same for a session whenever they are sealed.
    /// Each session has one, whose contents no other has.
    nonces: [u8; 32],
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

impl KeyRing {
    /// One key for each secret, whatever the secret's length. The sealing one comes first;
    /// during a rotation, older ones follow.
    #[must_use]
    pub fn new(secrets: &[&[u8]]) -> Self {
        let keys = secrets.iter().map(|secret| {
            let key = digest(&[b"mooring session key", secret]);
            let id = digest(&[b"mooring key id", secret]);
            let nonces = digest(&[b"mooring nonce key", secret]);
            SealingKey { id: id[0], cipher: XChaCha20Poly1305::new(&Key::from(key)), nonces }
        });
        Self { keys: std::sync::Arc::new(keys.collect()) }
    }

    /// The id of a session, which opens only for this scope and principal. `None` without a
    /// key, or without randomness.
    #[must_use]
    pub fn seal(&self, sealed: &Sealed, scope: &Scope, principal: &Principal) -> Option<String> {
        self.seal_for(PURPOSE_SESSION, sealed, scope, principal)
    }

    /// The id of the events on a session's HTTP+SSE stream. `None` as for [`Self::seal`].
    #[must_use]
    pub fn seal_event(
        &self,
        sealed: &Sealed,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        self.seal_for(PURPOSE_EVENT, sealed, scope, principal)
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
        self.open_for(PURPOSE_SESSION, text, scope, principal)
    }

    /// The session that the id of an event names. `None` as for [`Self::open`].
    #[must_use]
    pub fn open_event(&self, text: &str, scope: &Scope, principal: &Principal) -> Option<Sealed> {
        self.open_for(PURPOSE_EVENT, text, scope, principal)
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

    /// The id of a session's HTTP+SSE stream, the same each time. `None` without a key.
    #[must_use]
    pub fn seal_stream(
        &self,
        session: SessionId,
        minted_at: UnixMillis,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, PURPOSE_STREAM, session, minted_at, owner);
        let seed = digest(&[&self.keys.first()?.nonces, &contents]);
        let (nonce, _) = seed.split_first_chunk::<NONCE>()?;
        self.encrypt(contents, *nonce)
    }

    /// The id of the events on a stream whose session is not initialized. `None` as for
    /// [`Self::seal`].
    #[must_use]
    pub fn seal_unnamed_event(
        &self,
        session: SessionId,
        minted_at: UnixMillis,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, PURPOSE_UNNAMED_EVENT, session, minted_at, owner);
        self.encrypt(contents, random_nonce()?)
    }

    /// The stream that such an id names, for this scope and principal.
    #[must_use]
    pub fn open_unnamed_event(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<StreamId> {
        let id = self.open_stream_for(PURPOSE_UNNAMED_EVENT, text)?;
        id.is_of(scope, principal).then_some(id)
    }

    /// The stream that an id names. Its URL names no scope, so its owner must be checked with
    /// [`StreamId::is_of`] once the stream's scope is known.
    #[must_use]
    pub fn open_stream(&self, text: &str) -> Option<StreamId> {
        self.open_stream_for(PURPOSE_STREAM, text)
    }

    fn open_stream_for(&self, purpose: u8, text: &str) -> Option<StreamId> {
        let contents = self.decrypt(text)?;
        let (head, _) = read_head(&contents)?;
        let is_stream = head.purpose == purpose;
        let SealHead { session, minted_at, owner, .. } = head;
        is_stream.then_some(StreamId { session, minted_at, owner })
    }

    /// What a request of this session waits with, for its client to send back. `None` as for
    /// [`Self::seal`].
    #[must_use]
    pub fn seal_request_state(
        &self,
        session: SessionId,
        state: &[u8],
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + state.len() + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, PURPOSE_REQUEST_STATE, session, UnixMillis::now(), owner);
        contents.extend_from_slice(state);
        self.encrypt(contents, random_nonce()?)
    }

    /// The session, the time and the state of such a text. `None` for every reason alike.
    #[must_use]
    pub fn open_request_state(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<(SessionId, UnixMillis, Vec<u8>)> {
        let contents = self.decrypt(text)?;
        let (head, state) = read_head(&contents)?;
        let is_it =
            head.purpose == PURPOSE_REQUEST_STATE && head.owner == binding(scope, principal);
        is_it.then(|| (head.session, head.minted_at, state.to_vec()))
    }

    /// The name of a conversation, under which its client finds what servers hold for it. `None` as
    /// for [`Self::seal`].
    #[must_use]
    pub fn seal_conversation(
        &self,
        conversation: SessionId,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + TAG);
        let owner = binding(scope, principal);
        write_head(&mut contents, PURPOSE_CONVERSATION, conversation, UnixMillis::now(), owner);
        self.encrypt(contents, random_nonce()?)
    }

    /// The conversation that such a text names. `None` for every reason alike.
    #[must_use]
    pub fn open_conversation(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
    ) -> Option<SessionId> {
        let contents = self.decrypt(text)?;
        let (head, rest) = read_head(&contents)?;
        let is_it = head.purpose == PURPOSE_CONVERSATION && head.owner == binding(scope, principal);
        (is_it && rest.is_empty()).then_some(head.session)
    }

    /// A text of this kind about `owner`, for a store that others may read or write: it opens for
    /// this kind and owner alone, for a week. `None` without a key, or without randomness.
    #[must_use]
    pub fn seal_shared(
        &self,
        kind: &str,
        owner: impl std::fmt::Display,
        text: &[u8],
    ) -> Option<String> {
        let mut contents = Vec::with_capacity(HEAD + text.len() + TAG);
        let (nobody, tag) = (SessionId::from_bytes([0; 16]), record_tag(kind, owner));
        write_head(&mut contents, PURPOSE_RECORD, nobody, UnixMillis::now(), tag);
        contents.extend_from_slice(text);
        self.encrypt(contents, random_nonce()?)
    }

    /// The text in such a record.
    #[must_use]
    pub fn open_shared(
        &self,
        kind: &str,
        owner: impl std::fmt::Display,
        record: &[u8],
    ) -> Option<Vec<u8>> {
        let contents = self.decrypt(std::str::from_utf8(record).ok()?)?;
        let (head, text) = read_head(&contents)?;
        let is_it = head.purpose == PURPOSE_RECORD && head.owner == record_tag(kind, owner);
        is_it.then(|| text.to_vec())
    }

    /// The session that an id names, without a check of its owner: for the management API only.
    #[must_use]
    pub fn peek(&self, text: &str) -> Option<SessionId> {
        let contents = self.decrypt(text)?;
        read_head(&contents).map(|(head, _)| head.session)
    }

    /// What is kept of a session beside its id, such as calls that set state. It opens for this
    /// session only. `None` without a key, or without randomness.
    #[must_use]
    pub fn seal_record(&self, session: SessionId, mut contents: Vec<u8>) -> Option<Vec<u8>> {
        let SealingKey { id, cipher, .. } = self.keys.first()?;
        let nonce = random_nonce()?;
        cipher
            .encrypt_in_place(&XNonce::from(nonce), &of_record(*id, session), &mut contents)
            .ok()?;
        let mut sealed = Vec::with_capacity(1 + NONCE + contents.len());
        sealed.push(*id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&contents);
        Some(sealed)
    }

    /// The contents of such a record. `None` if it is of another session or key, or was changed.
    #[must_use]
    pub fn open_record(&self, session: SessionId, sealed: &[u8]) -> Option<Vec<u8>> {
        let (key_id, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        self.keys.iter().filter(|key| key.id == *key_id).find_map(|key| {
            let mut contents = sealed.to_vec();
            let about = of_record(*key_id, session);
            key.cipher.decrypt_in_place(&XNonce::from(*nonce), &about, &mut contents).ok()?;
            Some(contents)
        })
    }

    fn encrypt(&self, mut contents: Vec<u8>, nonce: [u8; NONCE]) -> Option<String> {
        let SealingKey { id, cipher, .. } = self.keys.first()?;
        cipher.encrypt_in_place(&XNonce::from(nonce), &[*id], &mut contents).ok()?;
        let mut bytes = Vec::with_capacity(1 + NONCE + contents.len());
        bytes.push(*id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&contents);
        let mut text = String::with_capacity(2 + bytes.len() * 4 / 3 + 3);
        text.push_str(MARK);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        Some(text)
    }

    fn decrypt(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(MARK)?).ok()?;
        let (key_id, rest) = bytes.split_first()?;
        if rest.len() < NONCE + TAG + HEAD {
            return None;
        }
        let (nonce, sealed) = rest.split_at(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        // Two secrets may share an id byte: the one that opens the id is the right one.
        self.keys.iter().filter(|key| key.id == *key_id).find_map(|key| {
            let mut contents = sealed.to_vec();
            key.cipher.decrypt_in_place(&XNonce::from(nonce), &[*key_id], &mut contents).ok()?;
            Some(contents)
        })
    }
}

/// The session of a stream, whose owner is still to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamId {
    /// The key under which the open stream is found.
    pub session: SessionId,
    /// When the session began.
    pub minted_at: UnixMillis,
    owner: OwnerTag,
}

impl StreamId {
    /// Whether the id was sealed for this scope and principal.
    #[must_use]
    pub fn is_of(&self, scope: &Scope, principal: &Principal) -> bool {
        self.owner == binding(scope, principal)
    }
}

/// Eight bytes of a digest of the scope, and eight of one of the principal.
type OwnerTag = [u8; 16];

struct SealHead {
    purpose: u8,
    session: SessionId,
    minted_at: UnixMillis,
    owner: OwnerTag,
}

fn write_head(
    out: &mut Vec<u8>,
    purpose: u8,
    session: SessionId,
    minted_at: UnixMillis,
    owner: OwnerTag,
) {
    out.push(purpose);
    out.extend_from_slice(session.as_bytes());
    out.extend_from_slice(&minted_at.0.to_be_bytes());
    out.extend_from_slice(&owner);
}

/// `None` if the contents are too short, or too old for any purpose.
fn read_head(contents: &[u8]) -> Option<(SealHead, &[u8])> {
    let (purpose, rest) = contents.split_first()?;
    let (session, rest) = rest.split_first_chunk::<16>()?;
    let (minted, rest) = rest.split_first_chunk::<8>()?;
    let (owner, rest) = rest.split_first_chunk::<16>()?;
    let minted_at = UnixMillis(u64::from_be_bytes(*minted));
    if UnixMillis::now().since(minted_at) > MAX_AGE {
        return None;
    }
    let session = SessionId::from_bytes(*session);
    Some((SealHead { purpose: *purpose, session, minted_at, owner: *owner }, rest))
}

/// What a record is bound to. No id of a session is sealed with it.
fn of_record(key_id: u8, session: SessionId) -> Vec<u8> {
    [&[key_id][..], b"record", session.as_bytes()].concat()
}

fn random_nonce() -> Option<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).ok()?;
    Some(nonce)
}

fn binding(scope: &Scope, principal: &Principal) -> OwnerTag {
    let mut out = [0; 16];
    let (left, right) = out.split_at_mut(8);
    left.copy_from_slice(&digest(&[b"scope", scope.seal_text().as_bytes()])[..8]);
    right.copy_from_slice(&digest(&[b"principal", principal.as_str().as_bytes()])[..8]);
    out
}

fn record_tag(kind: &str, owner: impl std::fmt::Display) -> OwnerTag {
    let digest = digest(&[b"record", kind.as_bytes(), owner.to_string().as_bytes()]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest[..16]);
    tag
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_conversations_open_for_their_owner_and_purpose_alone() {
        let keys = KeyRing::new(&[b"a secret of this test".as_slice()]);
        let (scope, principal) = (Scope::All, Principal::named("a"));
        let other = Principal::named("b");
        let session = SessionId::mint();
        let state = keys.seal_request_state(session, b"{}", &scope, &principal).unwrap();
        let handle = keys.seal_conversation(session, &scope, &principal).unwrap();
        let (opened, _, bytes) = keys.open_request_state(&state, &scope, &principal).unwrap();
        assert_eq!((opened, &bytes[..]), (session, &b"{}"[..]));
        assert_eq!(keys.open_conversation(&handle, &scope, &principal), Some(session));
        let group = Scope::Group(crate::model::GroupName::parse("g").unwrap());
        for (scope, principal) in [(&scope, &other), (&group, &principal)] {
            assert!(keys.open_request_state(&state, scope, principal).is_none());
            assert!(keys.open_conversation(&handle, scope, principal).is_none());
        }
        assert!(keys.open_request_state(&handle, &scope, &principal).is_none());
        assert!(keys.open_conversation(&state, &scope, &principal).is_none());
        assert!(keys.open(&state, &scope, &principal).is_none());
        let forged = KeyRing::new(&[b"another secret".as_slice()]);
        assert!(forged.open_conversation(&handle, &scope, &principal).is_none());
        let changed = format!("{handle}x");
        assert!(keys.open_conversation(&changed, &scope, &principal).is_none());
    }
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
    fn a_record_opens_for_its_kind_and_owner_with_its_key_alone() {
        let ring = KeyRing::new(&[b"one"]);
        let record = ring.seal_shared("node", "n1", b"text").unwrap();
        let opened = |ring: &KeyRing, kind: &str, owner: &str| {
            ring.open_shared(kind, owner, record.as_bytes())
        };
        assert_eq!(opened(&ring, "node", "n1").unwrap(), b"text");
        assert_eq!(opened(&ring, "node", "n2"), None);
        assert_eq!(opened(&ring, "params", "n1"), None);
        assert_eq!(opened(&KeyRing::new(&[b"two"]), "node", "n1"), None);
        assert_eq!(ring.open_shared("node", "n1", b"m1\xff"), None);
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
    fn a_record_opens_for_its_session_alone() {
        let ring = KeyRing::new(&[b"one"]);
        let session = SessionId::mint();
        let sealed = ring.seal_record(session, b"secret".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(ring.open_record(session, &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(ring.open_record(SessionId::mint(), &sealed), None);
        assert_eq!(KeyRing::new(&[b"two"]).open_record(session, &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ring.open_record(session, &changed), None);
            assert_eq!(ring.open_record(session, &sealed[..at]), None);
        }
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
