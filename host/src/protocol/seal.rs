//! Sealed session ids: what must be known of a session, encrypted inside its id.
//!
//! Every edge with the key opens every id, so a restart needs no table and several coordinators
//! share none. (The address that an HTTP+SSE client posts to is the exception: it names a stream,
//! and is useful only in the process that has it. The ids of that stream's events are sessions'.)
//! The text is `m1` ‖ base64url(key id ‖ nonce ‖ XChaCha20-Poly1305(contents)); the nonce is
//! random, which its 24 bytes make safe for the life of a key.

pub mod kept;
pub mod record;
pub mod request_state;
pub mod session_id;
pub mod stream_id;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::model::{Principal, Scope, SessionId, UnixMillis};

/// The age up to which an id opens, a week; an older one is unknown.
pub const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

const MARK: &str = "m1";
const NONCE: usize = 24;
const TAG: usize = 16;
/// Bytes of purpose, uuid, time, scope and principal, with which every id begins.
const HEAD: usize = 1 + 16 + 8 + 8 + 8;

/// What a sealed text is for. It opens for nothing else.
mod purpose {
    pub const SESSION: u8 = 1;
    /// An id in the URL that an HTTP+SSE client posts to. It names a session whose stream is open
    /// in this process, and carries nothing else.
    pub const STREAM: u8 = 2;
    /// The id of an event of an HTTP+SSE stream, with which the client comes back to its session. It
    /// carries what a session's id does.
    pub const EVENT: u8 = 3;
    /// The same before the session is initialized: it carries what the address does. The address
    /// itself would not do: it stands in the logs of proxies, and whoever has it can read nothing.
    pub const UNNAMED_EVENT: u8 = 4;
    /// What coordinators keep of a session or node in a store that others may read or write.
    pub const RECORD: u8 = 5;
    /// The state of a request that waits for its client's input.
    pub const REQUEST_STATE: u8 = 6;
    /// The name of a conversation of a client that has no session.
    pub const CONVERSATION: u8 = 7;
    /// The id of a task of such a client.
    pub const TASK: u8 = 8;
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

    /// The session that an id names, without a check of its owner: for the management API only.
    #[must_use]
    pub fn peek(&self, text: &str) -> Option<SessionId> {
        let contents = self.decrypt(text)?;
        read_head(&contents).map(|(head, _)| head.session)
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

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
