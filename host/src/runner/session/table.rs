//! The instances of this runner, by session and server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::{Epoch, Epochs, GatewayStart, ServerName, SessionId, Standing, UnixMillis};
use crate::protocol::log_level::LogLevel;
use crate::runner::admission::open_error::OpenError;
use crate::runner::upkeep::drain_policy::SessionFacts;
use crate::sync::{Locked, now, since};

use super::instance::Instance;
use super::renewals::Renewals;

/// How long an instance is kept for a message that the edge has announced: it may be a
/// large body on a slow connection.
const ARRIVAL: Duration = Duration::from_secs(10);

pub type InstanceKey = (SessionId, ServerName);
/// What came of an opening; `None` while it is under way.
pub type OpenOutcome = Option<Result<Arc<Instance>, OpenError>>;

/// A session that this runner has open at a server, as reported to a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub session: SessionId,
    pub server: ServerName,
    /// `None` if a coordinator of an earlier version had it opened.
    pub epoch: Option<Epoch>,
    /// The start of the gateway that has the stream of a session of HTTP+SSE.
    pub stream: Option<GatewayStart>,
    pub opened_at: UnixMillis,
    /// The log level that the client has set at this server.
    pub level: Option<LogLevel>,
    pub subscriptions: Vec<String>,
}

struct Slot {
    opened: watch::Receiver<OpenOutcome>,
    /// That of the binding that had it opened.
    epoch: Option<Epoch>,
    /// The session ends with the stream that this start of a gateway has.
    stream: Option<GatewayStart>,
    opened_at: UnixMillis,
    last_used: Instant,
    /// The same, but pings do not count: a client that sends nothing else does not need the
    /// process.
    last_called: Instant,
    /// When the edge last made sure that the session is open, before a message that it
    /// cannot repeat. `None` once a message has come.
    awaited: Option<Instant>,
    /// Each `InHand` of the instance holds a clone.
    in_hand: Arc<()>,
}

impl Slot {
    /// Whether no request is about to use the instance, none is under way, and none is
    /// announced.
    fn is_quiet(&self, instance: &Instance) -> bool {
        Arc::strong_count(&self.in_hand) == 1
            && !instance.is_working()
            && self.awaited.is_none_or(|from| since(from) > ARRIVAL)
    }
}

/// An instance in use: while this is held, only an explicit close, the loss of its
/// server or too much memory ends it.
pub struct InHand {
    instance: Arc<Instance>,
    _mark: Arc<()>,
    /// When it was taken in hand, and when it was before that.
    taken: Instant,
    before: Instant,
}

impl std::ops::Deref for InHand {
    type Target = Arc<Instance>;

    fn deref(&self) -> &Arc<Instance> {
        &self.instance
    }
}

/// What the caller finds in a slot.
pub enum Ready {
    Here(InHand),
    /// Another request is opening it: wait for the outcome.
    Opening(watch::Receiver<OpenOutcome>),
    /// The session goes on with another instance from this message on, since the runner drains or
    /// the settings of the server have changed. The instance is the caller's to close.
    HandedOn(Arc<Instance>),
    Gone,
}

/// Which sessions go on elsewhere with their next message, while a runner drains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOn {
    /// Sessions that were used since then. The first message of another one is still served.
    pub since: Instant,
    /// Servers whose sessions stay.
    pub kept: BTreeSet<ServerName>,
}

/// The state of a slot, for observers.
pub struct Glimpse {
    pub key: InstanceKey,
    /// `None` while it is being opened.
    pub instance: Option<Arc<Instance>>,
    pub opened_at: UnixMillis,
    pub last_used: UnixMillis,
}

/// The outcome of claiming a slot: one caller opens it, the others wait.
pub enum SlotClaim {
    /// The caller opens it, and sends the outcome. It closes the instance that the session has
    /// left, if there is one.
    Opening(watch::Sender<OpenOutcome>, Option<Arc<Instance>>),
    /// It is open or being opened, with this epoch.
    Wait(watch::Receiver<OpenOutcome>, Option<Epoch>),
    /// It is open with an epoch that the edge does not know of.
    Newer(Epoch),
}

/// The slots of all instances, at most one by session and server.
#[derive(Default)]
pub struct Table {
    slots: Locked<HashMap<InstanceKey, Slot>>,
    pub renewals: Renewals,
    /// Whether there is a `hand_on`: read for every message, and nearly always false.
    hands_on: AtomicBool,
    /// The same for outdated instances.
    has_outdated: AtomicBool,
    hand_on: Locked<Option<HandOn>>,
}

impl Table {
    /// The instance, if it is alive or being opened. This counts as use.
    pub fn ready(&self, key: &InstanceKey) -> Ready {
        self.locked(|slots| {
            let leaves =
                self.hands_on.load(Ordering::Relaxed) || self.has_outdated.load(Ordering::Relaxed);
            if leaves && let Some(instance) = self.take_handed_on(slots, key) {
                return Ready::HandedOn(instance);
            }
            let Some(slot) = slots.get_mut(key) else { return Ready::Gone };
            let taken = now();
            slot.last_used = taken;
            let before = std::mem::replace(&mut slot.last_called, taken);
            slot.awaited = None;
            match SlotState::at(&slot.opened) {
                SlotState::Ready(instance) if !instance.is_lost() => {
                    let _mark = Arc::clone(&slot.in_hand);
                    Ready::Here(InHand { instance, _mark, taken, before })
                }
                SlotState::Opening => Ready::Opening(slot.opened.clone()),
                SlotState::Ready(_) | SlotState::Failed | SlotState::Abandoned => Ready::Gone,
            }
        })
    }

    /// An open instance for a message of the gateway itself, with which no session goes on
    /// elsewhere. This counts as use.
    pub fn here(&self, key: &InstanceKey) -> Option<InHand> {
        self.locked(|slots| {
            let slot = slots.get_mut(key)?;
            let SlotState::Ready(instance) = SlotState::at(&slot.opened) else { return None };
            let taken = now();
            slot.last_used = taken;
            let before = slot.last_called;
            let _mark = Arc::clone(&slot.in_hand);
            (!instance.is_lost()).then_some(InHand { instance, _mark, taken, before })
        })
    }

    /// From now on sessions go on elsewhere with their next message, or none does.
    pub fn hand_on(&self, hand_on: Option<HandOn>) {
        self.hands_on.store(hand_on.is_some(), Ordering::Relaxed);
        *self.hand_on.lock() = hand_on;
    }

    fn take_handed_on(
        &self,
        slots: &mut HashMap<InstanceKey, Slot>,
        key: &InstanceKey,
    ) -> Option<Arc<Instance>> {
        let slot = slots.get(key)?;
        let SlotState::Ready(instance) = SlotState::at(&slot.opened) else { return None };
        let is_moved = || {
            self.hand_on.lock().as_ref().is_some_and(|hand_on| {
                slot.last_called > hand_on.since && !hand_on.kept.contains(&key.1)
            })
        };
        let goes = instance.is_outdated() || is_moved();
        // One that a message was announced for is not opened elsewhere for it.
        if !goes || !slot.is_quiet(&instance) || instance.is_asked() || instance.unsaved.is_any() {
            return None;
        }
        instance_of(slots.remove(key)?)
    }

    /// Takes the sessions that leave, by what is known of them and when they were called last.
    /// Failed openings are left to the sweep.
    pub fn take_leaving(
        &self,
        mut leaves: impl FnMut(&InstanceKey, SessionFacts, Instant) -> bool,
    ) -> Vec<(InstanceKey, Arc<Instance>)> {
        self.locked(|slots| {
            let left = slots.iter().filter_map(|(key, slot)| {
                let facts = facts_of(slot)?;
                leaves(key, facts, slot.last_called).then(|| key.clone())
            });
            let left: Vec<InstanceKey> = left.collect();
            let taken = left.into_iter().filter_map(|key| {
                let instance = instance_of(slots.remove(&key)?)?;
                Some((key, instance))
            });
            taken.collect()
        })
    }

    /// Shows every session, with when it was called last.
    pub fn each(&self, mut show: impl FnMut(SessionFacts, Instant)) {
        self.locked(|slots| {
            for slot in slots.values() {
                facts_of(slot).into_iter().for_each(|facts| show(facts, slot.last_called));
            }
        });
    }

    /// Notes that the instance was taken in hand for a ping, unless something else came since.
    pub fn was_ping(&self, key: &InstanceKey, in_hand: &InHand) {
        self.locked(|slots| {
            if let Some(slot) = slots.get_mut(key)
                && slot.last_called == in_hand.taken
            {
                slot.last_called = in_hand.before;
            }
        });
    }

    /// Every instance that is ready.
    pub fn all_ready(&self) -> Vec<(InstanceKey, Arc<Instance>)> {
        self.locked(|slots| {
            let ready = slots.iter().filter_map(|(key, slot)| match &*slot.opened.borrow() {
                Some(Ok(instance)) if !instance.is_lost() => {
                    Some((key.clone(), Arc::clone(instance)))
                }
                _ => None,
            });
            ready.collect()
        })
    }

    /// Whether instances are there whose servers have other settings by now.
    pub fn set_has_outdated(&self, has: bool) {
        self.has_outdated.store(has, Ordering::Relaxed);
    }

    /// How many sessions are being opened now.
    pub fn opening(&self) -> usize {
        self.locked(|slots| {
            let at = |slot: &&Slot| matches!(SlotState::at(&slot.opened), SlotState::Opening);
            slots.values().filter(at).count()
        })
    }

    /// Removes this very instance if `reason` returns something. Its argument is whether
    /// the instance is quiet.
    pub fn take_if<T>(
        &self,
        key: &InstanceKey,
        instance: &Arc<Instance>,
        reason: impl FnOnce(bool) -> Option<T>,
    ) -> Option<T> {
        self.locked(|slots| {
            let slot = slots.get(key)?;
            let same =
                matches!(&*slot.opened.borrow(), Some(Ok(held)) if Arc::ptr_eq(held, instance));
            let reason = reason(slot.is_quiet(instance)).filter(|_| same)?;
            slots.remove(key);
            Some(reason)
        })
    }

    /// Like `ready`, for an open instance only, and without counting as use.
    pub fn peek(&self, key: &InstanceKey) -> Option<Arc<Instance>> {
        self.rested(key, Duration::ZERO)
    }

    /// The same, if it was not called for so long.
    pub fn rested(&self, key: &InstanceKey, rest: Duration) -> Option<Arc<Instance>> {
        self.locked(|slots| {
            let slot = slots.get(key).filter(|slot| since(slot.last_called) >= rest)?;
            match SlotState::at(&slot.opened) {
                SlotState::Ready(instance) => Some(instance).filter(|held| !held.is_lost()),
                _ => None,
            }
        })
    }

    /// Claims the slot of a key, unless it is open or being opened. An instance that the session
    /// has left does not count.
    pub fn enter(
        &self,
        key: &InstanceKey,
        epochs: Epochs,
        stream: Option<GatewayStart>,
    ) -> SlotClaim {
        self.locked(|slots| {
            let mut left = None;
            if let Some(slot) = slots.get_mut(key) {
                let usable = match SlotState::at(&slot.opened) {
                    SlotState::Opening => true,
                    SlotState::Ready(instance) => !instance.is_lost(),
                    SlotState::Failed | SlotState::Abandoned => false,
                };
                match epochs.standing_of(slot.epoch) {
                    Standing::Current if usable => {
                        slot.awaited = Some(now());
                        slot.stream = stream.or(slot.stream);
                        return SlotClaim::Wait(slot.opened.clone(), slot.epoch);
                    }
                    Standing::Newer(epoch) if usable => return SlotClaim::Newer(epoch),
                    Standing::Left if usable => left = slots.remove(key).and_then(instance_of),
                    _ => self.note_quiet_end(key, slot),
                }
            }
            let (sender, opened) = watch::channel(None);
            let slot = Slot {
                opened,
                epoch: epochs.given,
                stream,
                opened_at: UnixMillis::now(),
                last_used: now(),
                last_called: now(),
                awaited: None,
                in_hand: Arc::default(),
            };
            slots.insert(key.clone(), slot);
            SlotClaim::Opening(sender, left)
        })
    }

    /// Removes the slot, unless its epoch is higher than `up_to`.
    pub fn remove(&self, key: &InstanceKey, up_to: Option<Epoch>) -> Option<Arc<Instance>> {
        self.locked(|slots| {
            let is_meant = up_to.is_none() || slots.get(key)?.epoch <= up_to;
            is_meant.then(|| slots.remove(key))?
        })
        .and_then(instance_of)
    }

    /// Whether the slot holds this very instance.
    pub fn holds(&self, key: &InstanceKey, instance: &Arc<Instance>) -> bool {
        self.locked(|slots| {
            slots.get(key).is_some_and(|slot| {
                matches!(&*slot.opened.borrow(), Some(Ok(held)) if Arc::ptr_eq(held, instance))
            })
        })
    }

    /// Removes the slot if it still holds this very instance; returns whether it did.
    pub fn remove_if(&self, key: &InstanceKey, instance: &Arc<Instance>) -> bool {
        self.locked(|slots| {
            let same = slots.get(key).is_some_and(|slot| {
                matches!(&*slot.opened.borrow(), Some(Ok(held)) if Arc::ptr_eq(held, instance))
            });
            let removed = same.then(|| slots.remove(key)).flatten();
            removed.iter().for_each(|slot| self.note_quiet_end(key, slot));
            removed.is_some()
        })
    }

    fn note_quiet_end(&self, key: &InstanceKey, slot: &Slot) {
        if let SlotState::Ready(instance) = SlotState::at(&slot.opened)
            && instance.was_left_idle()
        {
            self.renewals.note(key);
        }
    }

    /// Removes failed openings, and takes instances that were unused for longer than
    /// their server's `own` time, or the default. A client that only listens does not
    /// keep an instance with an `own` time, unless it is subscribed to resources.
    pub fn take_idle(
        &self,
        own: impl Fn(&ServerName) -> Option<Duration>,
        default: Duration,
    ) -> Vec<(InstanceKey, Arc<Instance>)> {
        let now = now();
        self.locked(|slots| {
            let mut stale: Vec<InstanceKey> = Vec::new();
            for (key, slot) in slots.iter_mut() {
                let own = own(&key.1);
                let is_used = match SlotState::at(&slot.opened) {
                    SlotState::Opening => true,
                    SlotState::Failed | SlotState::Abandoned => {
                        stale.push(key.clone());
                        continue;
                    }
                    SlotState::Ready(instance) => {
                        let counts = own.is_none() || instance.is_subscribed();
                        !slot.is_quiet(&instance) || (counts && instance.is_busy())
                    }
                };
                if is_used {
                    (slot.last_used, slot.last_called) = (now, now);
                } else if now.duration_since(slot.last_used) > own.unwrap_or(default) {
                    stale.push(key.clone());
                }
            }
            let taken = stale.into_iter().filter_map(|key| {
                let instance = instance_of(slots.remove(&key)?)?;
                Some((key, instance))
            });
            taken.collect()
        })
    }

    /// Takes the instances of sessions that end with a stream of a gateway.
    pub fn take_of_streams(&self) -> Vec<Arc<Instance>> {
        self.locked(|slots| {
            let of_stream = slots.extract_if(|_, slot| slot.stream.is_some());
            of_stream.filter_map(|(_, slot)| instance_of(slot)).collect()
        })
    }

    pub fn take_all(&self) -> Vec<Arc<Instance>> {
        self.locked(|slots| slots.drain().filter_map(|(_, slot)| instance_of(slot)).collect())
    }

    /// Takes the quiet instance with the highest rank, of those that have one. The argument is for
    /// how long it was not called.
    pub fn take_quiet<R: Ord>(
        &self,
        rank: impl Fn(&ServerName, &Instance, Duration) -> Option<R>,
    ) -> Option<(InstanceKey, Arc<Instance>)> {
        let now = now();
        self.locked(|slots| {
            let quiet = slots.iter().filter_map(|(key, slot)| {
                let SlotState::Ready(instance) = SlotState::at(&slot.opened) else { return None };
                let unused = now.saturating_duration_since(slot.last_called);
                let rank = rank(&key.1, &instance, unused)?;
                slot.is_quiet(&instance).then_some((rank, key))
            });
            let (_, key) = quiet.max_by(|(one, _), (other, _)| one.cmp(other))?;
            let key = key.clone();
            let instance = instance_of(slots.remove(&key)?)?;
            Some((key, instance))
        })
    }

    /// At most `limit` open sessions after a cursor, in the order of their keys.
    pub fn page(&self, after: Option<&InstanceKey>, limit: usize) -> Vec<Held> {
        let mut held: Vec<Held> = self.locked(|slots| {
            let beyond = slots.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
            beyond
                .filter_map(|((session, server), slot)| match &*slot.opened.borrow() {
                    Some(Ok(instance)) => {
                        let (level, subscriptions) = instance.settings();
                        let (session, server) = (*session, server.clone());
                        let Slot { epoch, stream, opened_at, .. } = *slot;
                        Some(Held {
                            session,
                            server,
                            epoch,
                            stream,
                            opened_at,
                            level,
                            subscriptions,
                        })
                    }
                    _ => None,
                })
                .collect()
        });
        held.sort_by(|a, b| (a.session, &a.server).cmp(&(b.session, &b.server)));
        held.truncate(limit);
        held
    }

    /// The slots that are open or being opened, of one server or of all. Failed openings
    /// are left out; instances that have just ended are not.
    pub fn slots(&self, server: Option<&ServerName>) -> Vec<Glimpse> {
        let (now, clock) = (UnixMillis::now(), now());
        self.locked(|slots| {
            let of_server = slots.iter().filter(|(key, _)| server.is_none_or(|s| *s == key.1));
            let glimpse = |(key, slot): (&InstanceKey, &Slot)| {
                let instance = match SlotState::at(&slot.opened) {
                    SlotState::Opening => None,
                    SlotState::Ready(instance) => Some(instance),
                    SlotState::Failed | SlotState::Abandoned => return None,
                };
                let unused = clock.saturating_duration_since(slot.last_used);
                let last_used = now.minus(unused);
                let (key, opened_at) = (key.clone(), slot.opened_at);
                Some(Glimpse { key, instance, opened_at, last_used })
            };
            of_server.filter_map(glimpse).collect()
        })
    }

    /// The number of slots by server, of servers that `of` accepts. Failed openings are
    /// left out.
    pub fn count(&self, of: impl Fn(&ServerName) -> bool) -> BTreeMap<ServerName, u32> {
        let mut counts = BTreeMap::new();
        self.locked(|slots| {
            for ((_, server), slot) in slots.iter().filter(|((_, server), _)| of(server)) {
                if matches!(SlotState::at(&slot.opened), SlotState::Failed | SlotState::Abandoned) {
                    continue;
                }
                match counts.get_mut(server) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(server.clone(), 1)),
                }
            }
        });
        counts
    }

    /// The number of slots.
    pub fn len(&self) -> usize {
        self.locked(|slots| slots.len())
    }

    fn locked<T>(&self, with: impl FnOnce(&mut HashMap<InstanceKey, Slot>) -> T) -> T {
        with(&mut self.slots.lock())
    }
}

/// What a drain has to know of a session; `None` if there is nothing to let go.
fn facts_of(slot: &Slot) -> Option<SessionFacts> {
    match SlotState::at(&slot.opened) {
        SlotState::Opening => Some(SessionFacts { is_working: true, ..SessionFacts::default() }),
        SlotState::Ready(instance) if !instance.is_lost() => Some(SessionFacts {
            is_working: !slot.is_quiet(&instance),
            is_asked: instance.is_asked(),
            is_heard: instance.is_busy(),
            holds_state: instance.holds_state(),
            is_unsaved: instance.unsaved.is_any(),
            ..SessionFacts::default()
        }),
        SlotState::Ready(_) | SlotState::Failed | SlotState::Abandoned => None,
    }
}

fn instance_of(slot: Slot) -> Option<Arc<Instance>> {
    match SlotState::at(&slot.opened) {
        SlotState::Ready(instance) => Some(instance),
        SlotState::Opening | SlotState::Failed | SlotState::Abandoned => None,
    }
}

/// The state of a slot's opening.
enum SlotState {
    Opening,
    Ready(Arc<Instance>),
    Failed,
    /// The task that was opening it has gone without an outcome.
    Abandoned,
}

impl SlotState {
    /// Borrows the channel once: a second `borrow` while the first is held never returns
    /// if the sender waits for the lock by then. `has_changed` takes no lock.
    fn at(opened: &watch::Receiver<OpenOutcome>) -> Self {
        match &*opened.borrow() {
            None if opened.has_changed().is_err() => Self::Abandoned,
            None => Self::Opening,
            Some(Ok(instance)) => Self::Ready(Arc::clone(instance)),
            Some(Err(_)) => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Openings end while other threads read the table.
    #[test]
    fn looking_at_openings_never_stops_them() {
        const OPENINGS: usize = 200_000;
        let table = Arc::new(Table::default());
        let over = Arc::new(AtomicBool::new(false));
        let (done, all) = mpsc::channel();
        for _ in 0..2 {
            let (table, done) = (Arc::clone(&table), done.clone());
            thread::spawn(move || {
                let server = ServerName::parse("s").unwrap();
                for _ in 0..OPENINGS {
                    let key = (SessionId::mint(), server.clone());
                    if let SlotClaim::Opening(sender, _) =
                        table.enter(&key, Epochs::default(), None)
                    {
                        let (server, reason) = (server.clone(), String::new());
                        sender.send_replace(Some(Err(OpenError::Start { server, reason })));
                    }
                    table.remove(&key, None);
                }
                done.send(()).unwrap();
            });
        }
        let looks: [fn(&Table); 2] = [
            |table| drop(table.slots(None)),
            |table| drop(table.take_idle(|_| None, Duration::from_secs(9))),
        ];
        for look in looks {
            let (table, over) = (Arc::clone(&table), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    look(&table);
                }
            });
        }
        for _ in 0..2 {
            all.recv_timeout(Duration::from_secs(20)).expect("no thread waits for ever");
        }
        over.store(true, Ordering::Relaxed);
    }
}
