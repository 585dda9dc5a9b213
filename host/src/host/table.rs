//! The instances of this host, by session and server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::{ServerName, SessionId, UnixMillis};

use super::instance::{Instance, OpenError};

pub type Key = (SessionId, ServerName);
type Opened = Option<Result<Arc<Instance>, OpenError>>;

/// A session that this host holds for a server: what a coordinator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub session: SessionId,
    pub server: ServerName,
    pub opened_at: UnixMillis,
    /// What the client has set, as far as it concerns this server.
    pub level: Option<String>,
    pub subscriptions: Vec<String>,
}

struct Slot {
    opened: watch::Receiver<Opened>,
    opened_at: UnixMillis,
    last_used: Instant,
}

/// A slot as it is, for who looks: without an instance while it is opened.
pub struct Glimpse {
    pub key: Key,
    pub instance: Option<Arc<Instance>>,
    pub opened_at: UnixMillis,
    pub last_used: UnixMillis,
}

/// Whoever finds no slot opens it; whoever finds one waits for that opening.
pub enum Entry {
    Opening(watch::Sender<Opened>),
    Wait(watch::Receiver<Opened>),
}

#[derive(Default)]
pub struct Table {
    slots: Mutex<HashMap<Key, Slot>>,
}

impl Table {
    /// The ready instance, if there is one that still lives.
    pub fn ready(&self, key: &Key) -> Option<Arc<Instance>> {
        self.locked(|slots| {
            let slot = slots.get_mut(key)?;
            slot.last_used = Instant::now();
            match &*slot.opened.borrow() {
                Some(Ok(instance)) if !instance.is_lost() => Some(Arc::clone(instance)),
                _ => None,
            }
        })
    }

    /// The same without counting as use.
    pub fn peek(&self, key: &Key) -> Option<Arc<Instance>> {
        self.locked(|slots| match &*slots.get(key)?.opened.borrow() {
            Some(Ok(instance)) if !instance.is_lost() => Some(Arc::clone(instance)),
            _ => None,
        })
    }

    /// The place of a key: to be opened by the caller, or being opened already.
    pub fn enter(&self, key: &Key) -> Entry {
        self.locked(|slots| {
            if let Some(slot) = slots.get(key) {
                let usable = match &*slot.opened.borrow() {
                    None => !is_abandoned(&slot.opened),
                    Some(Ok(instance)) => !instance.is_lost(),
                    Some(Err(_)) => false,
                };
                if usable {
                    return Entry::Wait(slot.opened.clone());
                }
            }
            let (sender, opened) = watch::channel(None);
            let slot = Slot { opened, opened_at: UnixMillis::now(), last_used: Instant::now() };
            slots.insert(key.clone(), slot);
            Entry::Opening(sender)
        })
    }

    pub fn remove(&self, key: &Key) -> Option<Arc<Instance>> {
        self.locked(|slots| slots.remove(key)).and_then(instance_of)
    }

    /// Takes the slot away only if it still holds this very instance; says whether
    /// it did.
    pub fn remove_if(&self, key: &Key, instance: &Arc<Instance>) -> bool {
        self.locked(|slots| {
            let same = slots.get(key).is_some_and(|slot| {
                matches!(&*slot.opened.borrow(), Some(Ok(held)) if Arc::ptr_eq(held, instance))
            });
            same && slots.remove(key).is_some()
        })
    }

    /// Takes away what was not used for so long, and failed openings.
    pub fn take_idle(&self, idle: Duration) -> Vec<(Key, Arc<Instance>)> {
        self.locked(|slots| {
            let stale: Vec<Key> = slots
                .iter()
                .filter(|(_, slot)| {
                    let in_use = match &*slot.opened.borrow() {
                        None => true,
                        Some(Ok(instance)) => instance.is_busy(),
                        Some(Err(_)) => return true,
                    };
                    is_abandoned(&slot.opened) || (!in_use && slot.last_used.elapsed() > idle)
                })
                .map(|(key, _)| key.clone())
                .collect();
            let taken = stale.into_iter().filter_map(|key| {
                let instance = instance_of(slots.remove(&key)?)?;
                Some((key, instance))
            });
            taken.collect()
        })
    }

    pub fn take_all(&self) -> Vec<Arc<Instance>> {
        self.locked(|slots| slots.drain().filter_map(|(_, slot)| instance_of(slot)).collect())
    }

    /// Sessions after a cursor, in the order of their keys.
    pub fn page(&self, after: Option<&Key>, limit: usize) -> Vec<Held> {
        let mut held: Vec<Held> = self.locked(|slots| {
            let beyond = slots.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
            beyond
                .filter_map(|((session, server), slot)| match &*slot.opened.borrow() {
                    Some(Ok(instance)) => {
                        let (level, subscriptions) = instance.settings();
                        let (session, server) = (*session, server.clone());
                        let opened_at = slot.opened_at;
                        Some(Held { session, server, opened_at, level, subscriptions })
                    }
                    _ => None,
                })
                .collect()
        });
        held.sort_by(|a, b| (a.session, &a.server).cmp(&(b.session, &b.server)));
        held.truncate(limit);
        held
    }

    /// What is being opened or was; failed openings are left out.
    pub fn slots(&self, server: Option<&ServerName>) -> Vec<Glimpse> {
        let (now, clock) = (UnixMillis::now(), Instant::now());
        self.locked(|slots| {
            let of_server = slots.iter().filter(|(key, _)| server.is_none_or(|s| *s == key.1));
            let glimpse = |(key, slot): (&Key, &Slot)| {
                let instance = match &*slot.opened.borrow() {
                    None if is_abandoned(&slot.opened) => return None,
                    None => None,
                    Some(Ok(instance)) => Some(Arc::clone(instance)),
                    Some(Err(_)) => return None,
                };
                let unused = clock.saturating_duration_since(slot.last_used);
                let last_used = now.minus(unused);
                let (key, opened_at) = (key.clone(), slot.opened_at);
                Some(Glimpse { key, instance, opened_at, last_used })
            };
            of_server.filter_map(glimpse).collect()
        })
    }

    pub fn len(&self) -> usize {
        self.locked(|slots| slots.len())
    }

    fn locked<T>(&self, with: impl FnOnce(&mut HashMap<Key, Slot>) -> T) -> T {
        with(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn instance_of(slot: Slot) -> Option<Arc<Instance>> {
    match &*slot.opened.borrow() {
        Some(Ok(instance)) => Some(Arc::clone(instance)),
        _ => None,
    }
}

/// Whoever was opening it is gone without a result.
fn is_abandoned(opened: &watch::Receiver<Opened>) -> bool {
    opened.borrow().is_none() && opened.has_changed().is_err()
}
