//! What runs at upstreams without a client that waits for it: each holds a connection, and some
//! upstreams never answer.
//!
//! A client may leave a call and come back for its answer. How many of these run is bounded, of one
//! key and in all; beyond it the oldest is given up. A credential has no share of its own, since
//! today one is everybody's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::QuotaKey;
use crate::sync::{LimitCounts, Locked, Signal, Watcher};

/// Most in all.
const MOST: usize = 1000;
/// Most of one address.
const MOST_OF_ADDRESS: usize = MOST / 4;

/// All of one kind.
#[derive(Debug)]
pub struct LeftCalls {
    left: Locked<Left>,
    met: LimitCounts,
}

#[derive(Debug, Default)]
struct Left {
    next: u64,
    count: usize,
    /// Oldest first. `None` for sessions of the gateway's own. Dropping a signal raises it.
    keys: HashMap<Option<QuotaKey>, BTreeMap<u64, Signal>>,
}

impl LeftCalls {
    /// `name` is what the metrics call the limit.
    #[must_use]
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { left: Locked::default(), met: LimitCounts::new(name) })
    }

    /// Resolves once nothing of the kind is under way, for the end of the process.
    pub async fn over(&self) {
        /// Between two looks; the first gives those that are to begin the time for it.
        const LOOK: Duration = Duration::from_millis(10);
        loop {
            tokio::time::sleep(LOOK).await;
            if self.left.lock().count == 0 {
                return;
            }
        }
    }

    /// How often something was given up.
    #[must_use]
    pub fn met(&self) -> &LimitCounts {
        &self.met
    }

    /// Enters something that nobody waits for. At a limit the oldest is given up: of this key, or
    /// of the one that has most.
    #[must_use]
    pub fn enter(self: &Arc<Self>, key: &Option<QuotaKey>) -> LeftCall {
        let mut left = self.left.lock();
        let of_key = left.keys.get(key).map_or(0, BTreeMap::len);
        let most = if matches!(key, Some(QuotaKey::Address(_))) { MOST_OF_ADDRESS } else { MOST };
        let gives_way = if of_key >= most {
            Some(key.clone())
        } else if left.count >= MOST {
            let largest = left.keys.iter().max_by_key(|(_, of_key)| of_key.len());
            largest.map(|(key, _)| key.clone())
        } else {
            None
        };
        let given_up = gives_way.as_ref().and_then(|key| left.take_oldest(key));
        let (place, signal) = (left.next, Signal::default());
        let given_up_too = signal.watch();
        left.next += 1;
        left.count += 1;
        left.keys.entry(key.clone()).or_default().insert(place, signal);
        drop(left);
        if let (Some(key), true) = (gives_way, given_up.is_some()) {
            self.met.note_gave_way(|since| {
                let whom = key.map_or("the gateway itself".to_owned(), |key| key.to_string());
                tracing::warn!(
                    since,
                    "too much runs at remote servers without a client ({}): the oldest of {whom} \
                     was given up",
                    self.met.name()
                );
            });
        }
        LeftCall { calls: Arc::clone(self), key: key.clone(), place, given_up: given_up_too }
    }
}

impl Left {
    fn take_oldest(&mut self, key: &Option<QuotaKey>) -> Option<Signal> {
        let oldest = *self.keys.get(key)?.first_key_value()?.0;
        self.take(key, oldest)
    }

    fn take(&mut self, key: &Option<QuotaKey>, place: u64) -> Option<Signal> {
        let of_key = self.keys.get_mut(key)?;
        let taken = of_key.remove(&place)?;
        self.count -= 1;
        if of_key.is_empty() {
            self.keys.remove(key);
        }
        Some(taken)
    }
}

/// Something that runs and that nobody waits for. Dropped once it is over, or has a client again.
#[derive(Debug)]
pub struct LeftCall {
    calls: Arc<LeftCalls>,
    key: Option<QuotaKey>,
    place: u64,
    given_up: Watcher,
}

impl LeftCall {
    /// Resolves when it has to end.
    pub async fn given_up(&mut self) {
        self.given_up.raised().await;
    }
}

impl Drop for LeftCall {
    fn drop(&mut self) {
        let taken = self.calls.left.lock().take(&self.key, self.place);
        drop(taken);
    }
}

/// Where the sessions of one key enter what they leave.
#[derive(Debug, Clone)]
pub struct LeftOfKey {
    /// Calls whose clients have left.
    pub calls: Arc<LeftCalls>,
    /// Notes to upstreams, which they should accept at once.
    pub notes: Arc<LeftCalls>,
    pub key: Option<QuotaKey>,
}

impl LeftOfKey {
    #[must_use]
    pub fn call(&self) -> LeftCall {
        self.calls.enter(&self.key)
    }

    #[must_use]
    pub fn note(&self) -> LeftCall {
        self.notes.enter(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> Option<QuotaKey> {
        Some(QuotaKey::of_address([10, 0, 0, last].into()))
    }

    fn is_given_up(call: &LeftCall) -> bool {
        call.given_up.is_raised()
            || call.calls.left.lock().keys.values().all(|of_key| !of_key.contains_key(&call.place))
    }

    #[test]
    fn an_address_gives_up_its_own_oldest() {
        let calls = LeftCalls::new("calls");
        let other = calls.enter(&key(2));
        let own: Vec<_> = (0..=MOST_OF_ADDRESS).map(|_| calls.enter(&key(1))).collect();
        assert!(is_given_up(&own[0]) && !is_given_up(&own[1]) && !is_given_up(&other));
        assert_eq!(calls.met().gave_way(), 1);
        drop(own);
        assert_eq!(calls.left.lock().count, 1);
        drop(other);
        assert!(calls.left.lock().keys.is_empty());
    }

    #[test]
    fn when_all_are_too_many_the_key_with_the_most_gives_up_its_oldest() {
        let calls = LeftCalls::new("calls");
        let few: Vec<_> = (0..MOST_OF_ADDRESS).map(|_| calls.enter(&key(1))).collect();
        let credential = Some(QuotaKey::Credential(crate::model::Principal::named("a")));
        let most: Vec<_> = (0..MOST - few.len()).map(|_| calls.enter(&credential)).collect();
        let one_more = calls.enter(&key(2));
        assert!(is_given_up(&most[0]) && !few.iter().any(is_given_up) && !is_given_up(&one_more));
        assert_eq!(calls.left.lock().count, MOST);
    }
}
