//! Takes instances out of the table, for their callers to close.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{GatewayStart, ServerName, SessionId, SessionMap};
use crate::runner::session::instance::Instance;
use crate::runner::upkeep::drain_policy::SessionFacts;
use crate::sync::now;

use super::slot::{Slot, SlotState, facts_of, instance_of};
use super::{InstanceKey, Table};

impl Table {
    /// Takes the instance of a session that goes on elsewhere with this message.
    pub(super) fn take_handed_on(
        &self,
        slots: &mut SessionMap<InstanceKey, Slot>,
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

    /// Takes those of them whose streams these starts had.
    pub fn take_of_starts(&self, starts: &[GatewayStart]) -> Vec<Arc<Instance>> {
        self.locked(|slots| {
            let is_over = |slot: &Slot| slot.stream.is_some_and(|start| starts.contains(&start));
            let over = slots.extract_if(|_, slot| is_over(slot));
            over.filter_map(|(_, slot)| instance_of(slot)).collect()
        })
    }

    /// These sessions end with the stream that this start has, from now on.
    pub fn move_streams(&self, sessions: &HashSet<SessionId>, start: GatewayStart) {
        self.locked(|slots| {
            for ((session, _), slot) in slots.iter_mut() {
                if slot.stream.is_some() && sessions.contains(session) {
                    slot.stream = Some(start);
                }
            }
        });
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
}
