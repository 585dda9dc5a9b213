//! What is kept of sessions and nodes beside their ids: in a store that others may read or write, and in
//! files.

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::AeadInOut;

use crate::model::{SessionId, UnixMillis};

use super::{
    HEAD, KeyRing, NONCE, OwnerTag, SealingKey, TAG, digest, purpose, random_nonce, read_head,
    write_head,
};

impl KeyRing {
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
        write_head(&mut contents, purpose::RECORD, nobody, UnixMillis::now(), tag);
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
        let is_it = head.purpose == purpose::RECORD && head.owner == record_tag(kind, owner);
        is_it.then(|| text.to_vec())
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
}

/// What a record is bound to. No id of a session is sealed with it.
fn of_record(key_id: u8, session: SessionId) -> Vec<u8> {
    [&[key_id][..], b"record", session.as_bytes()].concat()
}

fn record_tag(kind: &str, owner: impl std::fmt::Display) -> OwnerTag {
    let digest = digest(&[b"record", kind.as_bytes(), owner.to_string().as_bytes()]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest[..16]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
