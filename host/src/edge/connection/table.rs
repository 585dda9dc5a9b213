//! All connections of clients: how many there may be, which one gives way to a new one, and the
//! looks that find the silent and the slow.
//!
//! All workers share the table. It is locked when a connection comes or goes, and for a part of the
//! look once a second; requests do not touch it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::model::{QuotaKey, counted_address};
use crate::net::{BodyBudget, Intake};
use crate::sync::{Locked, Seldom};

use super::activity::Activity;
use super::counts::ConnectionCounts;
use super::pace::Required;
use super::tracked::{Found, Rank, Rules, TrackedConnection};
use super::unread::Unread;

/// Time between two looks.
pub const LOOK: Duration = Duration::from_secs(1);
/// Looks without activity after which a connection is closed. Browsers and pools of clients keep
/// theirs for about as long.
pub const SILENCE: u32 = 90;
/// Connections beyond the bounds that may only ask for the health, or speak for the cluster.
const RESERVED: usize = 32;
/// Silent connections that are found by one search: a search for each new connection would cost
/// more than the connection.
const FOUND_AT_ONCE: usize = 64;
/// Connections that are looked at while the table is locked once: accepting waits for it.
const LOOKED_AT_ONCE: usize = 1000;
/// Time between two lines of the log about one limit.
const LINES: Duration = Duration::from_secs(30);

/// The limits of clients' connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionBounds {
    /// Most connections.
    pub all: usize,
    /// Most connections of one address; of IPv6 a /64 counts as one.
    pub per_address: usize,
    /// Longest time for the head of a request.
    pub head: Duration,
    /// Longest time without a byte of a body; its rate is taken over the same time.
    pub body: Duration,
    /// Least bytes of a body in each second.
    pub body_rate: u64,
    /// Longest time in which a client reads nothing of its answer.
    pub unread: Duration,
}

/// Whether an address is a proxy's: the clients behind it are many.
pub type IsProxy = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// All connections of clients.
pub struct Connections {
    bounds: ConnectionBounds,
    rules: Rules,
    is_proxy: IsProxy,
    bodies: Arc<BodyBudget>,
    pub unread: Arc<Unread>,
    pub counts: ConnectionCounts,
    all: Locked<All>,
    full: Seldom,
    slow: Seldom,
}

#[derive(Default)]
struct All {
    /// By number, so the oldest first.
    tracked: BTreeMap<u64, TrackedConnection>,
    /// The connections that count for an address.
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    /// Those that came when there was no room.
    reserved: BTreeMap<u64, Arc<Activity>>,
    /// Silent ones with their moves, the longest-silent first. Some may have gone or moved since.
    found: VecDeque<(u64, u64)>,
    /// The last search has found none that gives way. Until the next look there is no other.
    none_found: bool,
    /// Those that were told to make room and are still there.
    leaving: usize,
    next: u64,
    is_leaving: bool,
    is_draining: bool,
    looked: Option<Instant>,
}

/// One connection. It leaves the table when this is dropped.
pub struct Connected {
    pub activity: Arc<Activity>,
    number: u64,
    all: Arc<Connections>,
}

/// Why a connection is told to make room.
#[derive(Debug, Clone, Copy)]
enum Full {
    All,
    Address,
}

impl Connections {
    /// Most connections that there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.bounds.all
    }

    #[must_use]
    pub fn new(bounds: ConnectionBounds, is_proxy: IsProxy, bodies: Arc<BodyBudget>) -> Arc<Self> {
        let rate = bounds.body_rate * LOOK.as_secs();
        let rules = Rules {
            silence: SILENCE,
            head: looks(bounds.head),
            body: Required { looks: looks(bounds.body), rate },
            answer: Required { looks: looks(bounds.unread), rate },
        };
        Arc::new(Self {
            bounds,
            rules,
            is_proxy,
            unread: Unread::of(bodies.limit()),
            bodies,
            counts: ConnectionCounts::default(),
            all: Locked::default(),
            full: Seldom::every(LINES),
            slow: Seldom::every(LINES),
        })
    }

    /// Takes a connection in. At a bound, another one is told to make room; if none can, this one
    /// is taken as a reserved one.
    #[must_use]
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Connected {
        let counted = (!(self.is_proxy)(peer)).then(|| counted_address(peer));
        let mut all = self.all.lock();
        let address_has_room = counted.is_none_or(|address| self.has_room_for(&mut all, address));
        let has_room = address_has_room && self.has_room(&mut all);
        let number = all.next;
        all.next += 1;
        let intake = Intake::new(Arc::clone(&self.bodies), QuotaKey::of_address(peer));
        let activity = Activity::new(intake, !has_room);
        if all.is_leaving {
            activity.leave();
        }
        if all.is_draining {
            activity.drain();
        }
        if has_room {
            all.tracked.insert(number, TrackedConnection::new(Arc::clone(&activity), counted));
            if let Some(address) = counted {
                all.by_address.entry(address).or_default().insert(number);
            }
        } else {
            all.reserve(number, Arc::clone(&activity));
        }
        self.counts.open(all.tracked.len() + all.reserved.len());
        drop(all);
        Connected { activity, number, all: Arc::clone(self) }
    }

    fn has_room(&self, all: &mut All) -> bool {
        while all.tracked.len() - all.leaving >= self.bounds.all {
            let Some(number) = all.longest_silent() else {
                self.say(Full::All);
                return false;
            };
            all.give_way(number);
            self.counts.evicted();
        }
        true
    }

    fn has_room_for(&self, all: &mut All, address: IpAddr) -> bool {
        while all.by_address.get(&address).map_or(0, BTreeSet::len) >= self.bounds.per_address {
            let Some(number) = all.longest_silent_of(address) else {
                self.say(Full::Address);
                return false;
            };
            all.give_way(number);
            self.counts.evicted();
        }
        true
    }

    fn say(&self, full: Full) {
        self.counts.refused();
        let Some(others) = self.full.line() else { return };
        let (key, limit) = match full {
            Full::All => ("connections", self.bounds.all),
            Full::Address => ("connectionsPerAddress", self.bounds.per_address),
        };
        tracing::warn!(
            others,
            limit,
            "refused a connection: all that systemConfig.limits.{key} allows are in use"
        );
    }

    /// Tells some of the longest-silent connections to end, since descriptors have run out.
    pub fn make_room(&self) {
        let mut all = self.all.lock();
        for _ in 0..FOUND_AT_ONCE {
            let Some(number) = all.longest_silent() else { return };
            all.give_way(number);
            self.counts.evicted();
        }
    }

    /// Asks the clients of all connections, present and future, to close them after an answer.
    pub fn leave(&self) {
        let mut all = self.all.lock();
        all.is_leaving = true;
        all.tracked.values().for_each(|one| one.activity.leave());
        all.reserved.values().for_each(|activity| activity.leave());
    }

    /// Orders all connections, present and future, to drain.
    pub fn drain(&self) {
        let mut all = self.all.lock();
        all.is_draining = true;
        all.tracked.values().for_each(|one| one.activity.drain());
        all.reserved.values().for_each(|activity| activity.drain());
    }

    /// Looks at all connections again and again. Each worker runs this, and one of them does the
    /// look. Never returns.
    pub async fn look(&self) {
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_once(Instant::now());
        }
    }

    fn look_once(&self, now: Instant) {
        let mut all = self.all.lock();
        if all.looked.is_some_and(|looked| now.duration_since(looked) < LOOK * 9 / 10) {
            return;
        }
        all.looked = Some(now);
        drop(all);
        let (mut cut, mut next) = ([0; 3], Some(0));
        while let Some(from) = next {
            next = self.look_at_some(from, &mut cut);
        }
        self.all.lock().none_found = false;
        self.note_cut(cut);
    }

    /// Looks at connections from this number on. Returns the number of the next one.
    fn look_at_some(&self, from: u64, cut: &mut [u64; 3]) -> Option<u64> {
        let is_short = self.unread.is_too_much();
        let mut all = self.all.lock();
        let (mut stay, mut next) = (Vec::new(), None);
        for (at, (number, one)) in all.tracked.range_mut(from..).enumerate() {
            if at == LOOKED_AT_ONCE {
                next = Some(*number);
                break;
            }
            match one.look(&self.rules, is_short) {
                Found::Well | Found::Silent => {}
                Found::LateHead => cut[0] += 1,
                Found::SlowBody => cut[1] += 1,
                Found::Unread => cut[2] += 1,
            }
            if one.stays() {
                stay.push((*number, one.address));
            }
        }
        all.stay(stay);
        next
    }

    fn note_cut(&self, [heads, bodies, unread]: [u64; 3]) {
        if heads + bodies + unread == 0 {
            return;
        }
        self.counts.cut(heads, bodies, unread);
        if self.slow.line().is_some() {
            tracing::info!(
                heads,
                bodies,
                unread,
                "cut connections off whose request or reading did not go on"
            );
        }
    }
}

impl All {
    /// Takes the longest-silent connection, or else the one that owes its part for longest.
    fn longest_silent(&mut self) -> Option<u64> {
        if let Some(number) = self.next_found() {
            return Some(number);
        }
        if self.none_found {
            return None;
        }
        let ranked = self.tracked.iter().filter_map(|(number, one)| Some((one.rank()?, *number)));
        let mut ranked: Vec<(Rank, u64)> = ranked.collect();
        ranked.sort_unstable_by_key(|(rank, number)| (std::cmp::Reverse(*rank), *number));
        let first = ranked.iter().take(FOUND_AT_ONCE).filter_map(|(_, number)| {
            let moves = self.tracked.get(number)?.activity.moves();
            Some((*number, moves))
        });
        self.found = first.collect();
        self.none_found = self.found.is_empty();
        self.next_found()
    }

    fn next_found(&mut self) -> Option<u64> {
        while let Some((number, moves)) = self.found.pop_front() {
            let is_as_it_was =
                |one: &TrackedConnection| one.rank().is_some() && one.activity.moves() == moves;
            if self.tracked.get(&number).is_some_and(is_as_it_was) {
                return Some(number);
            }
        }
        None
    }

    fn longest_silent_of(&self, address: IpAddr) -> Option<u64> {
        let numbers = self.by_address.get(&address)?.iter();
        let ranked =
            numbers.filter_map(|number| Some((self.tracked.get(number)?.rank()?, *number)));
        let first = ranked.max_by_key(|(rank, number)| (*rank, std::cmp::Reverse(*number)));
        first.map(|(_, number)| number)
    }

    fn give_way(&mut self, number: u64) {
        let Some(one) = self.tracked.get_mut(&number) else { return };
        one.give_way();
        self.leaving += 1;
        let address = one.address;
        self.leave_address(number, address);
    }

    /// Counts connections again that were told to make room and have had a request instead.
    fn stay(&mut self, staying: Vec<(u64, Option<IpAddr>)>) {
        for (number, address) in staying {
            self.leaving -= 1;
            if let Some(address) = address {
                self.by_address.entry(address).or_default().insert(number);
            }
        }
    }

    fn leave_address(&mut self, number: u64, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let Some(numbers) = self.by_address.get_mut(&address) else { return };
        numbers.remove(&number);
        if numbers.is_empty() {
            self.by_address.remove(&address);
        }
    }

    /// Adds a reserved connection; the oldest one goes for it.
    fn reserve(&mut self, number: u64, activity: Arc<Activity>) {
        if self.reserved.len() >= RESERVED
            && let Some((_, oldest)) = self.reserved.pop_first()
        {
            oldest.end();
        }
        self.reserved.insert(number, activity);
    }

    fn remove(&mut self, number: u64) {
        if self.reserved.remove(&number).is_some() {
            return;
        }
        let Some(one) = self.tracked.remove(&number) else { return };
        if one.is_leaving() {
            self.leaving -= 1;
        }
        self.leave_address(number, one.address);
    }
}

impl Connected {
    /// Notes that a part of the cluster is at the other end, with the requests of many clients: it
    /// counts for no address, gives way to nobody, and is no longer a reserved one.
    pub fn is_of_cluster(&self) {
        let mut all = self.all.all.lock();
        if let Some(activity) = all.reserved.remove(&self.number) {
            all.tracked.insert(self.number, TrackedConnection::new(activity, None));
        }
        let Some(one) = all.tracked.get_mut(&self.number) else { return };
        one.is_of_cluster = true;
        let address = one.address.take();
        all.leave_address(self.number, address);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut all = self.all.all.lock();
        all.remove(self.number);
        self.all.counts.open(all.tracked.len() + all.reserved.len());
    }
}

/// A time as a number of looks, at least one.
fn looks(time: Duration) -> u32 {
    let looks = time.as_millis().div_ceil(LOOK.as_millis());
    u32::try_from(looks).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
