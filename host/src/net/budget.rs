//! The memory for the bodies that clients send. All of them share it, and it is divided by quota
//! key: a key may take half of it. When all is taken, bodies that stand still give way, the one
//! that has done so for longest first. If all go on, the key that holds most gives way, with its
//! newest body. So those who only occupy memory lose it to those who use it.
//!
//! A claim is made when a body turns out not to be small, so that most requests do not come here.
//! It grows with what has arrived, not with what was announced, and lives as long as the bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::QuotaKey;
use crate::sync::{Locked, Seldom};

/// Time between two lines of the log about bodies that were refused.
const LINES: Duration = Duration::from_secs(30);
/// Time without growth after which a body stands still. The slowest client that is worth memory
/// sends 64 KiB in it now and then.
const STILL: Duration = Duration::from_secs(2);

/// The receiver of a body that can still be refused.
pub trait GivesWay: Send + Sync {
    /// Refuses the body: its memory belongs to another one now. Must neither block nor claim.
    fn give_way(&self);
}

/// There is no room for more of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many request bodies are being received (systemConfig.limits.bodiesInMemory)")]
pub struct NoRoom;

/// The memory that all bodies share.
pub struct BodyBudget {
    /// Bytes of all bodies.
    limit: usize,
    /// Bytes of all bodies of one key.
    share: usize,
    /// Time after which a body stands still.
    still: Duration,
    taken: Locked<Taken>,
    refused: AtomicU64,
    log: Seldom,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    holders: HashMap<QuotaKey, Holder>,
    /// The number of the next claim. A newer claim has a larger one.
    next: u64,
}

/// The claims of one key.
#[derive(Default)]
struct Holder {
    bytes: usize,
    claims: BTreeMap<u64, Held>,
}

struct Held {
    bytes: usize,
    /// When the body grew last.
    grew: Instant,
    /// `None` once the body is whole: it may be at a server already.
    receiver: Option<Arc<dyn GivesWay>>,
}

/// The memory of one body. Given back when this is dropped.
pub struct Claim {
    budget: Arc<BodyBudget>,
    key: QuotaKey,
    number: u64,
}

impl BodyBudget {
    /// A budget of `limit` bytes, for bodies of at most `largest`.
    #[must_use]
    pub fn new(limit: usize, largest: usize) -> Arc<Self> {
        Self::with(limit, largest, STILL)
    }

    fn with(limit: usize, largest: usize, still: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit,
            share: (limit / 2).max(largest).min(limit),
            still,
            taken: Locked::default(),
            refused: AtomicU64::new(0),
            log: Seldom::every(LINES),
        })
    }

    /// Bytes that may be taken.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are taken now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().bytes
    }

    /// Bodies that were refused for want of room so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Begins a claim without any bytes.
    #[must_use]
    pub fn claim(self: &Arc<Self>, key: QuotaKey, receiver: Arc<dyn GivesWay>) -> Claim {
        let mut taken = self.taken.lock();
        let number = taken.next;
        taken.next += 1;
        let held = Held { bytes: 0, grew: Instant::now(), receiver: Some(receiver) };
        taken.holders.entry(key.clone()).or_default().claims.insert(number, held);
        drop(taken);
        Claim { budget: Arc::clone(self), key, number }
    }

    fn note_refusal(&self, key: &QuotaKey) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(others) = self.log.line() {
            tracing::warn!(
                %key, others, limit = self.limit,
                "refused a request body: too many are in memory (systemConfig.limits.bodiesInMemory)"
            );
        }
    }
}

impl Taken {
    /// Lets another body give way to that with the number `mine`, whose key holds `bytes`. Returns
    /// its key and its receiver.
    fn make_room(
        &mut self,
        (mine, bytes): (u64, usize),
        budget: &BodyBudget,
    ) -> Option<(QuotaKey, Arc<dyn GivesWay>)> {
        // Keys that hold less than half of an equal part are left alone.
        let part = budget.limit / self.holders.len().max(1) / 2;
        let still = |held: &Held| held.grew.elapsed() >= budget.still;
        let others =
            self.arriving(mine).filter(|(_, holder, _, held)| holder.bytes > part && still(held));
        let stalest = others.min_by_key(|(_, _, _, held)| held.grew);
        let largest = || {
            let others = self.arriving(mine).filter(|(_, holder, ..)| holder.bytes > bytes);
            others.max_by_key(|(_, holder, number, _)| (holder.bytes, *number))
        };
        let (key, _, number, _) = stalest.or_else(largest)?;
        let key = key.clone();
        let holder = self.holders.get_mut(&key)?;
        let held = holder.claims.remove(&number)?;
        holder.bytes -= held.bytes;
        self.bytes -= held.bytes;
        Some((key, held.receiver?))
    }

    /// The bodies that hold something and are not whole, except one.
    fn arriving(&self, mine: u64) -> impl Iterator<Item = (&QuotaKey, &Holder, u64, &Held)> {
        let all = self.holders.iter().flat_map(|(key, holder)| {
            holder.claims.iter().map(move |(number, held)| (key, holder, *number, held))
        });
        all.filter(move |(_, _, number, held)| {
            *number != mine && held.bytes > 0 && held.receiver.is_some()
        })
    }
}

impl Claim {
    /// Claims `bytes` in all.
    ///
    /// # Errors
    /// If there is no room, or this body has given way to another one.
    pub fn grow_to(&self, bytes: usize) -> Result<(), NoRoom> {
        let budget = &self.budget;
        let mut gone = Vec::new();
        let grown = self.grow(&mut budget.taken.lock(), bytes, &mut gone);
        for (key, receiver) in gone {
            budget.note_refusal(&key);
            receiver.give_way();
        }
        if grown.is_err() {
            budget.note_refusal(&self.key);
        }
        grown
    }

    fn grow(
        &self,
        taken: &mut Taken,
        bytes: usize,
        gone: &mut Vec<(QuotaKey, Arc<dyn GivesWay>)>,
    ) -> Result<(), NoRoom> {
        let holder = taken.holders.get(&self.key).ok_or(NoRoom)?;
        let held = holder.claims.get(&self.number).ok_or(NoRoom)?;
        let more = bytes.saturating_sub(held.bytes);
        let mine = (self.number, holder.bytes);
        if holder.bytes + more > self.budget.share {
            return Err(NoRoom);
        }
        while taken.bytes + more > self.budget.limit {
            gone.push(taken.make_room(mine, &self.budget).ok_or(NoRoom)?);
        }
        taken.bytes += more;
        let holder = taken.holders.get_mut(&self.key).ok_or(NoRoom)?;
        holder.bytes += more;
        let held = holder.claims.get_mut(&self.number).ok_or(NoRoom)?;
        held.bytes += more;
        held.grew = Instant::now();
        Ok(())
    }

    /// Notes that the body is whole: from now on it does not give way.
    pub fn is_whole(&self) {
        let mut taken = self.budget.taken.lock();
        let holder = taken.holders.get_mut(&self.key);
        if let Some(held) = holder.and_then(|holder| holder.claims.get_mut(&self.number)) {
            held.receiver = None;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.budget.taken.lock();
        let Some(holder) = taken.holders.get_mut(&self.key) else { return };
        let bytes = holder.claims.remove(&self.number).map_or(0, |held| held.bytes);
        holder.bytes -= bytes;
        if holder.claims.is_empty() {
            taken.holders.remove(&self.key);
        }
        taken.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[derive(Default)]
    struct Receiver(AtomicBool);

    impl GivesWay for Receiver {
        fn give_way(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn key(last: u8) -> QuotaKey {
        QuotaKey::of_address([10, 0, 0, last].into())
    }

    fn claim(budget: &Arc<BodyBudget>, last: u8) -> (Claim, Arc<Receiver>) {
        let receiver = Arc::<Receiver>::default();
        (budget.claim(key(last), Arc::clone(&receiver) as _), receiver)
    }

    #[test]
    fn a_key_takes_half_and_what_it_gives_back_is_there_again() {
        let budget = BodyBudget::new(100, 10);
        let (one, _) = claim(&budget, 1);
        let (two, _) = claim(&budget, 1);
        one.grow_to(30).unwrap();
        two.grow_to(20).unwrap();
        assert_eq!(two.grow_to(21), Err(NoRoom));
        assert_eq!((budget.taken(), budget.refused()), (50, 1));
        drop(one);
        two.grow_to(50).unwrap();
        drop(two);
        assert_eq!(budget.taken(), 0);
        assert!(budget.taken.lock().holders.is_empty());
    }

    #[test]
    fn a_body_of_the_largest_size_fits_into_a_share() {
        let budget = BodyBudget::new(100, 80);
        let (one, _) = claim(&budget, 1);
        one.grow_to(80).unwrap();
        assert_eq!(one.grow_to(81), Err(NoRoom));
    }

    fn told(receiver: &Receiver) -> bool {
        receiver.0.load(Ordering::Relaxed)
    }

    #[test]
    fn if_all_go_on_the_key_that_holds_most_gives_way_with_its_newest_body() {
        let budget = BodyBudget::with(100, 10, Duration::from_secs(3600));
        let (older, older_told) = claim(&budget, 1);
        let (newer, newer_told) = claim(&budget, 1);
        let (other, other_told) = claim(&budget, 2);
        older.grow_to(30).unwrap();
        newer.grow_to(20).unwrap();
        other.grow_to(40).unwrap();
        let (honest, _) = claim(&budget, 3);
        honest.grow_to(11).unwrap();
        assert!(told(&newer_told) && !told(&older_told) && !told(&other_told));
        assert_eq!(budget.taken(), 30 + 40 + 11);
        assert_eq!(newer.grow_to(31), Err(NoRoom), "it has given way");
        drop(newer);
        honest.grow_to(30).unwrap();
        assert_eq!(budget.taken(), 100);
        // Only to one that holds less.
        honest.grow_to(40).unwrap();
        assert!(told(&other_told) && !told(&older_told));
        honest.grow_to(50).unwrap();
        let (small, _) = claim(&budget, 4);
        small.grow_to(20).unwrap();
        assert_eq!(honest.grow_to(51), Err(NoRoom), "more than its share");
        assert_eq!(small.grow_to(31), Ok(()), "the one with 50 gives way");
        assert_eq!(budget.taken(), 30 + 31);
    }

    #[test]
    fn what_stands_still_gives_way_before_what_goes_on() {
        let budget = BodyBudget::with(100, 10, Duration::from_millis(100));
        let (small, small_told) = claim(&budget, 1);
        let (first, first_told) = claim(&budget, 2);
        let (second, second_told) = claim(&budget, 2);
        small.grow_to(10).unwrap();
        first.grow_to(20).unwrap();
        second.grow_to(20).unwrap();
        let (honest, honest_told) = claim(&budget, 3);
        honest.grow_to(45).unwrap();
        std::thread::sleep(Duration::from_millis(110));
        // It holds most, and it is the one that goes on.
        honest.grow_to(50).unwrap();
        assert_eq!(budget.taken(), 100);
        let (other, _) = claim(&budget, 4);
        other.grow_to(15).unwrap();
        assert!(told(&first_told) && !told(&honest_told));
        other.grow_to(40).unwrap();
        assert!(told(&second_told) && !told(&honest_told));
        assert!(!told(&small_told), "it holds little");
    }

    #[test]
    fn a_whole_body_stays() {
        let budget = BodyBudget::new(100, 100);
        let (whole, receiver) = claim(&budget, 1);
        whole.grow_to(100).unwrap();
        whole.is_whole();
        let (other, _) = claim(&budget, 2);
        assert_eq!(other.grow_to(1), Err(NoRoom));
        assert!(!told(&receiver));
    }
}
