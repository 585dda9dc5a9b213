//! Secrets in the data folder: made once, then the same at every start.

use crate::protocol::proof::mac;

use super::data::DataFolder;
use super::folder_state::FolderState;

/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a text that is taken for a key.
const SHORTEST_TEXT: usize = 16;

/// Whether a secret is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKept {
    /// Since an earlier start.
    Before,
    /// Since now.
    Now,
    /// No: it ends with this process, unless the folder can be written before.
    Not,
}

impl DataFolder {
    /// A secret of 32 random bytes, made once and then the same at every start. If it cannot be
    /// read or written, it lasts until this process ends.
    #[must_use]
    pub fn secret(&self, name: &str) -> Vec<u8> {
        self.kept_secret(name, fresh_key(), |kept| kept.len() >= KEY).0
    }

    /// The same as a text in hexadecimal, for people, and whether it is kept. They may put another
    /// one into the file.
    #[must_use]
    pub fn text_secret(&self, name: &str) -> (String, SecretKept) {
        let text_of = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?.trim();
            let is_key = text.len() >= SHORTEST_TEXT && text.bytes().all(|b| b.is_ascii_graphic());
            is_key.then(|| text.to_owned())
        };
        let fresh = format!("{}\n", mac::hex(&fresh_key())).into_bytes();
        let (bytes, kept) = self.kept_secret(name, fresh, |kept| text_of(kept).is_some());
        (text_of(&bytes).unwrap_or_else(|| mac::hex(&fresh_key())), kept)
    }

    /// The secret in a file, which is made with the `fresh` one if it has none.
    fn kept_secret(
        &self,
        name: &str,
        fresh: Vec<u8>,
        is_key: impl Fn(&[u8]) -> bool,
    ) -> (Vec<u8>, SecretKept) {
        let is_key = |kept: &Vec<u8>| is_key(kept);
        let kept = match self.try_read(name) {
            Ok(kept) => kept,
            // A link or somebody else's file in its place: an operator must look at it.
            Err(error) => {
                tracing::error!(
                    "{name} in the data folder is not used ({error}), and a key is that ends with \
                     this process; put the key itself there, or remove it"
                );
                return (fresh, SecretKept::Not);
            }
        };
        if let Some(kept) = kept.filter(is_key) {
            self.remember(name, &kept);
            return (kept, SecretKept::Before);
        }
        let made = self.alone(|| match self.try_read(name)?.filter(is_key) {
            // Another process was faster.
            Some(kept) => Ok((kept, SecretKept::Before)),
            None => self.write(name, &fresh).map(|()| (fresh.clone(), SecretKept::Now)),
        });
        let made =
            made.and_then(|made| made.unwrap_or_else(|| Ok((fresh.clone(), SecretKept::Not))));
        let (secret, kept) = made.unwrap_or_else(|error| {
            // The line about a folder that cannot be used at all says what follows from that.
            if self.state().0 != FolderState::Absent {
                tracing::warn!(
                    "cannot write {name} to the data folder ({error}): unless that is possible \
                     before this process ends, the next start makes another"
                );
            }
            (fresh, SecretKept::Not)
        });
        self.remember(name, &secret);
        (secret, kept)
    }
}

fn fresh_key() -> Vec<u8> {
    let mut fresh = vec![0; KEY];
    if getrandom::fill(&mut fresh).is_err() {
        // Two random uuids are 30 random bytes from the same source.
        let (a, b) = (crate::model::SessionId::mint(), crate::model::SessionId::mint());
        fresh = [a.as_bytes().as_slice(), b.as_bytes().as_slice()].concat();
    }
    fresh
}
