//! Which sessions of a shared process are subscribed to which resources.
//!
//! A server may take two spellings of a URI for one resource. The process is asked to end a
//! subscription only if no other is left that it might take for the same one.

use std::collections::{HashMap, HashSet};

use crate::protocol::uri;

/// Identifies one session's seat at the process.
pub type SeatId = u64;

/// Most subscriptions of one seat.
pub const MAX_COUNT: usize = 1000;
/// Most bytes of the URIs that one seat is subscribed to.
pub const MAX_BYTES: usize = 64 * 1024;

/// The subscriptions that the process has confirmed.
#[derive(Default)]
pub struct Subscriptions {
    seats: HashMap<String, HashSet<SeatId>>,
    /// How many of the URIs have a key, see [`uri::keys`].
    keys: HashMap<String, usize>,
    held: HashMap<SeatId, Held>,
}

/// What one seat has.
#[derive(Debug, Default, Clone, Copy)]
pub struct Held {
    count: usize,
    bytes: usize,
}

impl Held {
    /// Counts one more.
    #[must_use]
    pub fn and(self, uri: &str) -> Self {
        Self { count: self.count + 1, bytes: self.bytes + uri.len() }
    }

    /// Whether a seat may have that much.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self.count <= MAX_COUNT && self.bytes <= MAX_BYTES
    }
}

impl Subscriptions {
    /// Whether any seat is subscribed to the URI.
    #[must_use]
    pub fn has(&self, uri: &str) -> bool {
        self.seats.contains_key(uri)
    }

    /// Whether this seat is.
    #[must_use]
    pub fn has_seat(&self, uri: &str, seat: SeatId) -> bool {
        self.seats.get(uri).is_some_and(|seats| seats.contains(&seat))
    }

    /// What a seat has.
    #[must_use]
    pub fn held(&self, seat: SeatId) -> Held {
        self.held.get(&seat).copied().unwrap_or_default()
    }

    /// Subscribes a seat.
    pub fn add(&mut self, seat: SeatId, uri: String) {
        if !self.has(&uri) {
            for key in uri::keys(&uri) {
                *self.keys.entry(key).or_default() += 1;
            }
        }
        let held = self.held(seat).and(&uri);
        if self.seats.entry(uri).or_default().insert(seat) {
            self.held.insert(seat, held);
        }
    }

    /// Ends a seat's subscription. Returns whether it was the last that the process might take for
    /// one of this resource; false if there was none.
    pub fn remove(&mut self, seat: SeatId, uri: &str) -> bool {
        let Some(seats) = self.seats.get_mut(uri) else { return false };
        if !seats.remove(&seat) {
            return false;
        }
        let is_empty = seats.is_empty();
        if let Some(held) = self.held.get_mut(&seat) {
            held.count -= 1;
            held.bytes -= uri.len();
            if held.count == 0 {
                self.held.remove(&seat);
            }
        }
        if !is_empty {
            return false;
        }
        self.seats.remove(uri);
        let keys = uri::keys(uri);
        for key in &keys {
            if let Some(count) = self.keys.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(key);
                }
            }
        }
        !keys.iter().any(|key| self.keys.contains_key(key))
    }

    /// Whether there is a subscription that the process might take for one of this resource.
    #[must_use]
    pub fn may_have(&self, uri: &str) -> bool {
        self.has(uri) || uri::keys(uri).iter().any(|key| self.keys.contains_key(key))
    }

    /// Ends a seat's subscriptions. Returns the URIs of those that the process is to end.
    pub fn leave(&mut self, seat: SeatId) -> Vec<String> {
        let own = self.seats.iter().filter(|(_, seats)| seats.contains(&seat));
        let own: Vec<String> = own.map(|(uri, _)| uri.clone()).collect();
        own.into_iter().filter(|uri| self.remove(seat, uri)).collect()
    }

    /// The seats that are told of a change of this resource.
    #[must_use]
    pub fn about(&self, uri: &str) -> Vec<SeatId> {
        let about = self.seats.iter().filter(|(of, _)| is_at_or_below(uri, of));
        let seats: HashSet<SeatId> = about.flat_map(|(_, seats)| seats).copied().collect();
        seats.into_iter().collect()
    }
}

/// Whether a server might take the one URI for the other.
#[must_use]
pub fn may_be_same(one: &str, other: &str) -> bool {
    one == other || !uri::keys(one).is_disjoint(&uri::keys(other))
}

/// Whether `uri` is the subscribed resource `of` or a part of it: "this might be a
/// sub-resource" (2025-11-25, schema, `ResourceUpdatedNotification`).
fn is_at_or_below(uri: &str, of: &str) -> bool {
    uri.strip_prefix(of).is_some_and(|rest| {
        rest.is_empty() || of.ends_with('/') || rest.starts_with(['/', '?', '#'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_may_be_the_same_resource_ends_it() {
        let mut all = Subscriptions::default();
        all.add(1, "a://b".to_owned());
        all.add(1, "a://b".to_owned());
        all.add(2, "A://b".to_owned());
        assert!(!all.remove(3, "a://b"), "it has none");
        assert!(!all.remove(2, "a://b"), "it has another");
        assert!(!all.remove(2, "A://b"), "the other may be the same");
        assert!(all.remove(1, "a://b"));
        assert!(all.seats.is_empty() && all.keys.is_empty() && all.held.is_empty());
    }

    #[test]
    fn who_leaves_ends_what_nobody_else_has() {
        let mut all = Subscriptions::default();
        for uri in ["a://one", "a://both", "a://spelled"] {
            all.add(1, uri.to_owned());
        }
        all.add(2, "a://both".to_owned());
        all.add(2, "a://%73pelled".to_owned());
        assert_eq!(all.leave(1), ["a://one"]);
        assert_eq!(all.about("a://both/x"), [2]);
        all.leave(2);
        assert!(all.seats.is_empty() && all.keys.is_empty() && all.held.is_empty());
    }

    #[test]
    fn a_seat_has_bounds() {
        let mut held = Held::default();
        for _ in 0..MAX_COUNT {
            held = held.and("a");
        }
        assert!(held.is_allowed() && !held.and("a").is_allowed());
        let long = "a".repeat(MAX_BYTES);
        assert!(Held::default().and(&long).is_allowed());
        assert!(!Held::default().and(&long).and("a").is_allowed());
    }
}
