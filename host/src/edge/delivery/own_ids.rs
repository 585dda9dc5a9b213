//! Ids for the requests that the gateway itself sends.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::streams;

/// Makes these ids.
#[derive(Debug)]
pub struct OwnIds {
    /// Random, so that the ids of two processes differ.
    process: u32,
    next: AtomicU64,
}

impl Default for OwnIds {
    fn default() -> Self {
        Self { process: streams::instance(), next: AtomicU64::new(0) }
    }
}

impl OwnIds {
    /// A new id: a JSON string that no other request of the gateway has.
    pub fn id(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("\"mooring-{:08x}-{number}\"", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_comes_twice_in_this_process_or_the_next() {
        let (first, second) = (OwnIds::default(), OwnIds::default());
        let ids = [first.id(), first.id(), second.id(), second.id()];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }
}
