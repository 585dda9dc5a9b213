//! Looks at the table without changing it: for reports, drains and operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{Epoch, GatewayStart, ServerName, SessionId, UnixMillis};
use crate::protocol::log_level::LogLevel;
use crate::runner::session::instance::Instance;
use crate::runner::upkeep::drain_policy::SessionFacts;
use crate::sync::now;

use super::slot::{Slot, SlotState, facts_of};
use super::{InstanceKey, Table};

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

/// The state of a slot, for observers.
pub struct Glimpse {
    pub key: InstanceKey,
    /// `None` while it is being opened.
    pub instance: Option<Arc<Instance>>,
    pub opened_at: UnixMillis,
    pub last_used: UnixMillis,
}

impl Table {
    /// Shows every session, with when it was called last.
    pub fn each(&self, mut show: impl FnMut(SessionFacts, Instant)) {
        self.locked(|slots| {
            for slot in slots.values() {
                facts_of(slot).into_iter().for_each(|facts| show(facts, slot.last_called));
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

    /// How many sessions are being opened now.
    pub fn opening(&self) -> usize {
        self.locked(|slots| {
            let at = |slot: &&Slot| matches!(SlotState::at(&slot.opened), SlotState::Opening);
            slots.values().filter(at).count()
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
}
