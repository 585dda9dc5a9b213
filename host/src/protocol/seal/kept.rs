//! What is kept for longer than a session lives, such as tokens of users: it opens for its kind and owner
//! alone, as long as the key is there.

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::AeadInOut;

use super::{KeyRing, NONCE, SealingKey, digest, random_nonce};

impl KeyRing {
    /// Seals contents of this kind about `owner`. `None` without a key, or without randomness.
    #[must_use]
    pub fn seal_kept(&self, kind: &str, owner: &str, mut contents: Vec<u8>) -> Option<Vec<u8>> {
        let SealingKey { id, cipher, .. } = self.keys.first()?;
        let nonce = random_nonce()?;
        let about = of_kept(*id, kind, owner);
        cipher.encrypt_in_place(&XNonce::from(nonce), &about, &mut contents).ok()?;
        let mut sealed = Vec::with_capacity(1 + NONCE + contents.len());
        sealed.push(*id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&contents);
        Some(sealed)
    }

    /// The contents. `None` if they are of another kind, owner or key, or were changed.
    #[must_use]
    pub fn open_kept(&self, kind: &str, owner: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (key_id, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        self.keys.iter().filter(|key| key.id == *key_id).find_map(|key| {
            let (mut contents, about) = (sealed.to_vec(), of_kept(*key_id, kind, owner));
            key.cipher.decrypt_in_place(&XNonce::from(*nonce), &about, &mut contents).ok()?;
            Some(contents)
        })
    }
}

/// What such contents are bound to. Nothing of a session is sealed with it.
fn of_kept(key_id: u8, kind: &str, owner: &str) -> Vec<u8> {
    let owner = digest(&[b"kept", kind.as_bytes(), owner.as_bytes()]);
    [&[key_id][..], b"kept", &owner].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_opens_for_its_kind_and_owner_alone() {
        let ring = KeyRing::new(&[b"one"]);
        let sealed = ring.seal_kept("login", "ann", b"secret".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(ring.open_kept("login", "ann", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(ring.open_kept("login", "ben", &sealed), None);
        assert_eq!(ring.open_kept("client", "ann", &sealed), None);
        assert_eq!(KeyRing::new(&[b"two"]).open_kept("login", "ann", &sealed), None);
        let rotated = KeyRing::new(&[b"two", b"one"]);
        assert!(rotated.open_kept("login", "ann", &sealed).is_some());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ring.open_kept("login", "ann", &changed), None);
            assert_eq!(ring.open_kept("login", "ann", &sealed[..at]), None);
        }
    }
}
