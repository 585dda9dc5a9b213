//! What all streams of a process keep for clients that have not read it, and what gives way when
//! that is too much.
//!
//! Each stream counts for the one whose session it is of. Nothing is locked for a message that is
//! read at once: a stream is entered here only when it is kept for a client that may come back.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::model::QuotaKey;
use crate::sync::{LimitCounts, Locked};

/// Part of the limit that is freed at once, so that the next message does not search again.
const FREED: usize = 8;

/// How soon a stream gives way: the lower, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It has ended, and nobody reads it.
    Unread,
    /// It goes on, and nobody reads it.
    Unattended,
    /// A client reads it, but not as fast as it grows.
    Slow,
}

/// A stream, as far as it matters here.
pub trait Keeper: Send + Sync {
    /// `None` if it keeps nothing that may be given up.
    fn rank(&self) -> Option<Rank>;

    /// Gives up what it keeps, unless it is not of this rank any more. Returns whether it did.
    fn give_way(&self, rank: Rank) -> bool;
}

/// The bytes that all streams keep.
#[derive(Debug)]
pub struct KeptAnswers {
    limit: usize,
    bytes: AtomicUsize,
    next: AtomicU64,
    is_relieving: AtomicBool,
    /// `None` for sessions of the gateway's own.
    keys: Locked<HashMap<Option<QuotaKey>, Weak<KeptOfKey>>>,
    met: LimitCounts,
}

impl KeptAnswers {
    /// More than `limit` bytes are too many.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            bytes: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            is_relieving: AtomicBool::new(false),
            keys: Locked::default(),
            met: LimitCounts::new("keptAnswers"),
        })
    }

    /// The account of one key. All its sessions share it.
    #[must_use]
    pub fn of(self: &Arc<Self>, key: Option<&QuotaKey>) -> Arc<KeptOfKey> {
        let mut keys = self.keys.lock();
        if let Some(known) = keys.get(&key.cloned()).and_then(Weak::upgrade) {
            return known;
        }
        let of_key = Arc::new(KeptOfKey {
            in_all: Arc::clone(self),
            key: key.cloned(),
            bytes: AtomicUsize::new(0),
            keepers: Locked::default(),
        });
        keys.insert(key.cloned(), Arc::downgrade(&of_key));
        of_key
    }

    /// The bytes that are kept now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often something has given way.
    #[must_use]
    pub fn met(&self) -> &LimitCounts {
        &self.met
    }

    fn relieve(&self) {
        if self.bytes() <= self.limit || self.is_relieving.swap(true, Ordering::AcqRel) {
            return;
        }
        let low = self.limit - self.limit / FREED;
        // What a client reads just now is given up for the limit alone.
        for (rank, target) in
            [(Rank::Unread, low), (Rank::Unattended, low), (Rank::Slow, self.limit)]
        {
            self.relieve_by(rank, target);
        }
        self.is_relieving.store(false, Ordering::Release);
    }

    /// Frees bytes of streams of this rank: always the oldest of the key that holds most.
    fn relieve_by(&self, rank: Rank, target: usize) {
        if self.bytes() <= target {
            return;
        }
        let of_keys: Vec<Arc<KeptOfKey>> =
            self.keys.lock().values().filter_map(Weak::upgrade).collect();
        let mut largest: BinaryHeap<(usize, usize)> =
            of_keys.iter().enumerate().map(|(index, of_key)| (of_key.bytes(), index)).collect();
        let mut found: HashMap<usize, std::vec::IntoIter<Arc<dyn Keeper>>> = HashMap::new();
        while self.bytes() > target {
            let Some((_, index)) = largest.pop() else { return };
            let Some(of_key) = of_keys.get(index) else { return };
            let oldest = found.entry(index).or_insert_with(|| of_key.of_rank(rank).into_iter());
            // A key that has nothing of this rank is not asked again.
            let Some(keeper) = oldest.next() else { continue };
            if keeper.give_way(rank) {
                self.met.note_gave_way(|since| of_key.say(since, self.limit));
            }
            largest.push((of_key.bytes(), index));
        }
    }
}

/// The bytes that the streams of one key keep.
#[derive(Debug)]
pub struct KeptOfKey {
    in_all: Arc<KeptAnswers>,
    key: Option<QuotaKey>,
    bytes: AtomicUsize,
    /// Oldest first.
    keepers: Locked<BTreeMap<u64, Weak<dyn Keeper>>>,
}

impl KeptOfKey {
    /// The bytes that are kept now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Enters a stream that may give way. Returns its place.
    pub fn enter(&self, keeper: Weak<dyn Keeper>) -> u64 {
        let place = self.in_all.next.fetch_add(1, Ordering::Relaxed);
        self.keepers.lock().insert(place, keeper);
        place
    }

    pub fn leave(&self, place: u64) {
        self.keepers.lock().remove(&place);
    }

    /// Counts that a stream keeps `to` bytes instead of `from`. Returns whether there are too
    /// many now: the caller then calls [`Self::relieve`], without any lock of a stream.
    pub fn changed(&self, from: usize, to: usize) -> bool {
        if to < from {
            self.bytes.fetch_sub(from - to, Ordering::Relaxed);
            self.in_all.bytes.fetch_sub(from - to, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_add(to - from, Ordering::Relaxed);
        let before = self.in_all.bytes.fetch_add(to - from, Ordering::Relaxed);
        before + (to - from) > self.in_all.limit
    }

    /// Has streams give way while all together keep too much.
    pub fn relieve(&self) {
        self.in_all.relieve();
    }

    fn of_rank(&self, rank: Rank) -> Vec<Arc<dyn Keeper>> {
        // A stream that is entered is locked: it must not be locked under this lock.
        let keepers: Vec<_> = self.keepers.lock().values().cloned().collect();
        let keepers = keepers.iter().filter_map(Weak::upgrade);
        keepers.filter(|keeper| keeper.rank() == Some(rank)).collect()
    }

    fn say(&self, since: u64, limit: usize) {
        let whom = match &self.key {
            Some(key) => key.to_string(),
            None => "the gateway itself".to_owned(),
        };
        tracing::warn!(
            since,
            "more than {limit} bytes of answers wait for clients that do not read them \
             (systemConfig.limits.keptAnswers): the oldest of {whom} was dropped"
        );
    }
}

impl Drop for KeptOfKey {
    fn drop(&mut self) {
        let mut keys = self.in_all.keys.lock();
        // Another one may have taken its place meanwhile.
        if keys.get(&self.key).is_some_and(|known| known.strong_count() == 0) {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{Bounds, Part, Stream};

    const BOUNDS: Bounds = Bounds { events: 99, bytes: 1 << 20 };

    fn key(last: u8) -> QuotaKey {
        QuotaKey::of_address([10, 0, 0, last].into())
    }

    /// A stream that has ended with an answer of 1000 bytes which nobody reads.
    fn unread(kept: &Arc<KeptOfKey>) -> Arc<Stream> {
        let stream = Stream::counted(1, Some(1), BOUNDS, kept);
        stream.publish();
        stream.put(vec![b' '; 1000].into(), Part::Answer);
        stream
    }

    #[test]
    fn the_oldest_of_the_key_that_holds_most_gives_way_first() {
        let kept = KeptAnswers::new(10_000);
        let (few, many) = (kept.of(Some(&key(1))), kept.of(Some(&key(2))));
        let of_few: Vec<_> = (0..2).map(|_| unread(&few)).collect();
        let of_many: Vec<_> = (0..7).map(|_| unread(&many)).collect();
        assert!(of_few.iter().chain(&of_many).any(|stream| stream.has_given_way()));
        assert!(of_few.iter().all(|stream| !stream.has_given_way()), "it holds less");
        let first_kept = of_many.iter().position(|stream| !stream.has_given_way()).unwrap();
        assert!(first_kept > 0 && of_many[first_kept..].iter().all(|s| !s.has_given_way()));
        assert!(kept.bytes() <= 10_000 && kept.met().gave_way() == first_kept as u64);
        drop((of_few, of_many, few, many));
        assert_eq!(kept.bytes(), 0);
        assert!(kept.keys.lock().is_empty(), "nobody has anything");
    }

    #[test]
    fn what_is_read_or_goes_on_gives_way_last() {
        let kept = KeptAnswers::new(10_000);
        let (one, other) = (kept.of(Some(&key(1))), kept.of(Some(&key(2))));
        let read = unread(&one);
        let reader = read.read_after(0);
        let going = Stream::counted(2, Some(2), BOUNDS, &one);
        going.put(vec![b' '; 6000].into(), Part::Answer);
        let idle: Vec<_> = (0..3).map(|_| unread(&other)).collect();
        assert!(idle[0].has_given_way(), "although its key holds less");
        assert!(!read.has_given_way() && !going.has_given_way());
        let more = Stream::counted(3, Some(2), BOUNDS, &other);
        more.put(vec![b' '; 6000].into(), Part::Answer);
        assert!(going.has_given_way() && going.has_ended() && !read.has_given_way());
        drop(reader);
    }

    #[test]
    fn a_small_answer_that_is_read_at_once_is_not_counted() {
        let kept = KeptAnswers::new(100);
        let of_key = kept.of(None);
        let stream = Stream::counted(1, Some(1), BOUNDS, &of_key);
        let reader = stream.read_on();
        stream.put(vec![b' '; 1000].into(), Part::Answer);
        assert!(kept.bytes() == 0 && of_key.keepers.lock().is_empty());
        drop(reader);
        assert!(stream.has_given_way(), "nobody reads it: it counts, and is too much");
    }

    #[test]
    fn a_get_stream_goes_on_without_its_notices() {
        let kept = KeptAnswers::new(3000);
        let of_key = kept.of(None);
        let get = Stream::counted(0, None, BOUNDS, &of_key);
        for part in [Part::Question, Part::Notice, Part::Notice, Part::Notice] {
            assert!(get.put(vec![b' '; 900].into(), part).is_empty());
        }
        assert!(!get.has_ended() && kept.bytes() < 3000);
        let mut reader = get.read_on();
        assert!(reader.has_gap);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Some(first)) = reader.poll_next(&mut cx) else { panic!() };
        assert_eq!(first.part, Part::Question, "its server waits for an answer");
    }
}
