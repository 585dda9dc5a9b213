//! The memory for the bodies that clients send. All of them share it, and it is divided by quota
//! key: a key may take half of what the others leave. So however many have taken their part, there
//! is one for the next. At its share, bodies of the key itself that stand still give way. When all
//! is taken, those of any key do, the one that has stood for longest first. If all go on, the key
//! that holds most gives way, with its newest body. So those who only occupy memory lose it to those
//! who use it.
//!
//! A whole body gives way to nobody, since a server may have it. Whoever has servers that do not
//! read could therefore keep memory for ever; so whole bodies of a key have a smaller share, and
//! there, too, each leaves half to the others.
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
/// The part of what others leave that whole bodies of one key may take beside one of the largest
/// size; together they may take half of it.
const WHOLE: usize = 8;
/// Time for which nobody looks again for a body that gives way, after none was found: each look
/// goes through all bodies.
const NONE_FOUND: Duration = Duration::from_millis(100);

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
    /// Bytes of one body.
    largest: usize,
    /// Time after which a body stands still.
    still: Duration,
    taken: Locked<Taken>,
    refused: AtomicU64,
    log: Seldom,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    /// Bytes of the bodies that are whole.
    whole: usize,
    holders: HashMap<QuotaKey, Holder>,
    /// The number of the next claim. A newer claim has a larger one.
    next: u64,
    /// When nothing was found that gives way, and how much the key held that needed it.
    none_found: Option<(Instant, usize)>,
}

/// The claims of one key.
#[derive(Default)]
struct Holder {
    bytes: usize,
    /// Bytes of the bodies that are whole.
    whole: usize,
    claims: BTreeMap<u64, Held>,
}

struct Held {
    bytes: usize,
    /// When the body grew last.
    grew: Instant,
    /// `None` once the body is whole: it may be at a server already.
    receiver: Option<Arc<dyn GivesWay>>,
}

/// A body that has lost its memory: whom it was counted for, and its receiver.
type GivenWay = (QuotaKey, Arc<dyn GivesWay>);

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
            largest,
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

    /// Most bytes of all bodies of a key, when others have so many.
    fn share(&self, of_others: usize) -> usize {
        let half = self.limit.saturating_sub(of_others) / 2;
        half.max(self.largest).min(self.limit)
    }

    /// Whether a body of so many bytes may be whole beside the whole ones that there are. With
    /// none, any may.
    fn may_be_whole(&self, taken: &Taken, holder: &Holder, bytes: usize) -> bool {
        let left = self.limit.saturating_sub(taken.whole - holder.whole);
        taken.whole == 0 || holder.whole + bytes <= (self.largest + left / WHOLE).min(left / 2)
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
    fn make_room(&mut self, (mine, bytes): (u64, usize), budget: &BodyBudget) -> Option<GivenWay> {
        let is_known =
            |(when, held): (Instant, usize)| bytes >= held && when.elapsed() < NONE_FOUND;
        if self.none_found.is_some_and(is_known) {
            return None;
        }
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
        let Some((key, _, number, _)) = stalest.or_else(largest) else {
            self.none_found = Some((Instant::now(), bytes));
            return None;
        };
        let key = key.clone();
        self.remove(key, number)
    }

    /// The same within one key, where only a body that stands still gives way.
    fn make_room_of(&mut self, key: &QuotaKey, mine: u64, still: Duration) -> Option<GivenWay> {
        let claims = self.holders.get(key)?.claims.iter();
        let others = claims.filter(|(number, held)| {
            **number != mine
                && held.bytes > 0
                && held.receiver.is_some()
                && held.grew.elapsed() >= still
        });
        let (number, _) = others.min_by_key(|(_, held)| held.grew)?;
        self.remove(key.clone(), *number)
    }

    fn remove(&mut self, key: QuotaKey, number: u64) -> Option<GivenWay> {
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
        gone: &mut Vec<GivenWay>,
    ) -> Result<(), NoRoom> {
        let budget = &self.budget;
        let more = loop {
            let holder = taken.holders.get(&self.key).ok_or(NoRoom)?;
            let held = holder.claims.get(&self.number).ok_or(NoRoom)?;
            let more = bytes.saturating_sub(held.bytes);
            if !budget.may_be_whole(taken, holder, bytes) {
                return Err(NoRoom);
            }
            let given_way = if holder.bytes + more > budget.share(taken.bytes - holder.bytes) {
                taken.make_room_of(&self.key, self.number, budget.still)
            } else if taken.bytes + more > budget.limit {
                taken.make_room((self.number, holder.bytes), budget)
            } else {
                break more;
            };
            gone.push(given_way.ok_or(NoRoom)?);
        };
        taken.bytes += more;
        let holder = taken.holders.get_mut(&self.key).ok_or(NoRoom)?;
        holder.bytes += more;
        let held = holder.claims.get_mut(&self.number).ok_or(NoRoom)?;
        held.bytes += more;
        held.grew = Instant::now();
        Ok(())
    }

    /// Notes that the body is whole: from now on it does not give way.
    ///
    /// # Errors
    /// If its key has too many whole ones, or this body has given way to another one.
    pub fn is_whole(&self) -> Result<(), NoRoom> {
        let whole = self.become_whole(&mut self.budget.taken.lock());
        if whole.is_err() {
            self.budget.note_refusal(&self.key);
        }
        whole
    }

    fn become_whole(&self, taken: &mut Taken) -> Result<(), NoRoom> {
        let holder = taken.holders.get(&self.key).ok_or(NoRoom)?;
        let bytes = holder.claims.get(&self.number).ok_or(NoRoom)?.bytes;
        if !self.budget.may_be_whole(taken, holder, bytes) {
            return Err(NoRoom);
        }
        let holder = taken.holders.get_mut(&self.key).ok_or(NoRoom)?;
        let held = holder.claims.get_mut(&self.number).ok_or(NoRoom)?;
        if held.receiver.take().is_some() {
            holder.whole += bytes;
            taken.whole += bytes;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.budget.taken.lock();
        let Some(holder) = taken.holders.get_mut(&self.key) else { return };
        let held = holder.claims.remove(&self.number);
        let bytes = held.as_ref().map_or(0, |held| held.bytes);
        let whole = if held.is_some_and(|held| held.receiver.is_none()) { bytes } else { 0 };
        holder.bytes -= bytes;
        holder.whole -= whole;
        if holder.claims.is_empty() {
            taken.holders.remove(&self.key);
        }
        taken.bytes -= bytes;
        taken.whole -= whole;
    }
}

#[cfg(test)]
mod tests;
