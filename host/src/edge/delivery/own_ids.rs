//! Ids for the requests that the gateway itself sends.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::own_id::{Sender, own_id};
use crate::streams;

/// Makes these ids.
#[derive(Debug)]
pub struct OwnIds {
    /// Begins at random, so that the ids of two processes differ.
    next: AtomicU64,
}

impl Default for OwnIds {
    fn default() -> Self {
        Self { next: AtomicU64::new(streams::instance().into()) }
    }
}

impl OwnIds {
    /// A new id: a number that no other request of the gateway has.
    pub fn id(&self) -> String {
        own_id(Sender::Edge, self.next.fetch_add(1, Ordering::Relaxed))
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
