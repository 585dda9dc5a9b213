//! Session ids that a fixture can recognise as its own without a table.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Mints ids `{random of this process}-{number}`, and recognises them by both halves.
pub struct Minted {
    prefix: String,
    next: AtomicU64,
}

impl Default for Minted {
    fn default() -> Self {
        // The seed of a hash map is random enough: a fixture's ids need not be secret.
        let prefix = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { prefix, next: AtomicU64::new(0) }
    }
}

impl Minted {
    pub fn mint(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.prefix)
    }

    pub fn knows(&self, id: &str) -> bool {
        id.split_once('-').is_some_and(|(prefix, number)| {
            prefix == self.prefix
                && u64::from_str_radix(number, 16)
                    .is_ok_and(|number| number < self.next.load(Ordering::Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_were_minted_here_are_known() {
        let (ours, theirs) = (Minted::default(), Minted::default());
        let id = ours.mint();
        assert!(ours.knows(&id));
        assert!(!theirs.knows(&id), "another process");
        assert!(!ours.knows(&format!("{}-1", ours.prefix)), "not minted yet");
        assert!(!ours.knows("anything"));
    }
}
