//! The instances of this runner, by session and server.

pub mod looking;
pub mod slot;
mod taking;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::{
    Epoch, Epochs, GatewayStart, ServerName, SessionId, SessionMap, Standing, UnixMillis,
};
use crate::sync::{Locked, now, since};

use self::slot::{OpenOutcome, Slot, SlotState, instance_of};
use super::instance::Instance;
use super::renewals::Renewals;

pub type InstanceKey = (SessionId, ServerName);

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
    slots: Locked<SessionMap<InstanceKey, Slot>>,
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

    /// Whether instances are there whose servers have other settings by now.
    pub fn set_has_outdated(&self, has: bool) {
        self.has_outdated.store(has, Ordering::Relaxed);
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
            && (instance.was_left_idle() || instance.loses_nothing())
        {
            self.renewals.note(key);
        }
    }

    fn locked<T>(&self, with: impl FnOnce(&mut SessionMap<InstanceKey, Slot>) -> T) -> T {
        with(&mut self.slots.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::runner::admission::open_error::OpenError;

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
