//! Memory that clients take beside the bodies of their requests, divided by quota key: a key may take half of
//! what the others leave. So however many have taken their part, there is one for the next.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::QuotaKey;
use crate::sync::Locked;

/// What all clients may hold of one kind.
pub struct FairShare {
    most: usize,
    held: Locked<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    of_keys: HashMap<QuotaKey, usize>,
}

/// What one client holds. Given back when this is dropped.
pub struct SharePlace {
    share: Arc<FairShare>,
    key: QuotaKey,
    bytes: usize,
}

impl FairShare {
    /// Of so many bytes.
    #[must_use]
    pub fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Locked::default() })
    }

    /// Room for so many more bytes of this key. `None` if that is more than its part.
    #[must_use]
    pub fn take(self: &Arc<Self>, key: &QuotaKey, bytes: usize) -> Option<SharePlace> {
        let mut held = self.held.lock();
        let own = held.of_keys.get(key).copied().unwrap_or(0);
        let part = self.most.saturating_sub(held.bytes.saturating_sub(own)) / 2;
        if own.saturating_add(bytes) > part {
            return None;
        }
        held.bytes += bytes;
        *held.of_keys.entry(key.clone()).or_default() += bytes;
        Some(SharePlace { share: Arc::clone(self), key: key.clone(), bytes })
    }
}

impl Drop for SharePlace {
    fn drop(&mut self) {
        let mut held = self.share.held.lock();
        held.bytes = held.bytes.saturating_sub(self.bytes);
        let Some(of_key) = held.of_keys.get_mut(&self.key) else { return };
        *of_key = of_key.saturating_sub(self.bytes);
        if *of_key == 0 {
            held.of_keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> QuotaKey {
        QuotaKey::of_address([10, 0, 0, last].into())
    }

    #[test]
    fn a_key_takes_half_of_what_the_others_leave_and_gives_it_back() {
        let share = FairShare::of(1000);
        let first = share.take(&key(1), 400).unwrap();
        assert!(share.take(&key(1), 101).is_none(), "more than half of all");
        let rest = share.take(&key(1), 100).unwrap();
        assert!(share.take(&key(2), 251).is_none(), "more than half of the rest");
        let second = share.take(&key(2), 250).unwrap();
        let _third = share.take(&key(3), 125).unwrap();
        drop((first, rest, second));
        assert_eq!(share.held.lock().bytes, 125);
        assert_eq!(share.held.lock().of_keys.len(), 1);
        assert!(share.take(&key(1), 437).is_some());
    }
}
