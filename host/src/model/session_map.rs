//! Tables by session.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table whose keys are, or begin with, the id of a session.
pub type SessionMap<K, V> = HashMap<K, V, BuildHasherDefault<SessionHash>>;

/// Hashes such keys. The ids are random or made with a key of the gateway's own: nobody can choose them
/// so that they collide, and a hash that guards against that takes several times as long. Every call
/// looks up two.
#[derive(Debug, Default, Clone, Copy)]
pub struct SessionHash(u64);

impl Hasher for SessionHash {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let word = part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, word: u64) {
        // Odd, and with its bits spread: the constant of splitmix64.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        // The product's high bits are the best ones, and tables begin with the low ones.
        self.0.rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use crate::model::{ServerName, SessionId};

    use super::*;

    #[test]
    fn ids_are_spread_over_a_table_and_servers_are_told_apart() {
        let hasher = BuildHasherDefault::<SessionHash>::default();
        let servers = ["a", "b", "a/b", "ab", "a-long-name-of-a-server"];
        let servers = servers.map(|name| ServerName::parse(name).unwrap());
        let (mut whole, mut places, mut tags) = (HashSet::new(), HashSet::new(), HashSet::new());
        for _ in 0..1000 {
            // Sessions of one shard have the first byte in common.
            let mut id = *SessionId::mint().as_bytes();
            id[0] = 7;
            for server in &servers {
                let hash = hasher.hash_one((SessionId::from_bytes(id), server.clone()));
                whole.insert(hash);
                places.insert(hash & 0xfff);
                tags.insert(hash >> 57);
            }
        }
        assert_eq!(whole.len(), 5000);
        // Of 4,096 places about 2,890 are taken by chance.
        assert!(places.len() > 2500, "{}", places.len());
        assert!(tags.len() > 100, "{}", tags.len());
    }
}
