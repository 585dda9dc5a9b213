//! Bindings as several coordinators share them: what this one says of its own, and what it takes
//! over of others'.

use std::sync::Arc;

use crate::model::{Epoch, NodeId, ServerName, SessionId, UnixMillis};

use super::bindings::{Bindings, take};
use super::changes::Changes;
use super::record::{Before, Binding, Record};
use super::settings::SessionSettings;
use super::shared::{SharedBinding, SharedClaim};

/// An instance that a session has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftInstance {
    pub node: NodeId,
    pub epoch: Option<Epoch>,
}

impl Bindings {
    /// Notes from now on what others have to know.
    pub fn share(&self, changes: Arc<Changes>) {
        // The first one stays.
        let _ = self.changes.set(changes);
    }

    /// Notes that something of the session has changed.
    pub(super) fn changed(&self, session: SessionId) {
        if let Some(changes) = self.changes.get() {
            changes.note(session);
        }
    }

    /// The claim by which the server would be bound to `node`, if it is still bound to `previous` or
    /// to no node. `seen` is the epoch of a binding that was released since.
    ///
    /// # Errors
    /// The node that it is bound to now.
    pub fn draft(
        &self,
        session: SessionId,
        server: &ServerName,
        (previous, seen): (Option<&NodeId>, Option<Epoch>),
        node: &NodeId,
    ) -> Result<SharedClaim, NodeId> {
        let (known, before) = self.with(session, |records| {
            let Some(record) = records.get(&session) else { return Ok((None, Before::default())) };
            if let Some((_, binding)) = record.servers.iter().find(|(name, _)| name == server) {
                if Some(&binding.node) != previous {
                    return Err(binding.node.clone());
                }
                return Ok((binding.epoch.max(binding.opened), binding.before()));
            }
            let gone = record.gone.iter().find(|(name, _)| name == server);
            let opened = gone.and_then(|(_, opened)| *opened);
            Ok((opened, Before { was_open: gone.is_some(), opened }))
        })?;
        let seen = known.max(seen);
        let binding = SharedBinding {
            node: node.clone(),
            epoch: self.epochs.after(seen),
            opened: before.opened,
            was_open: before.was_open,
        };
        Ok(SharedClaim { session, server: server.clone(), seen, binding, is_news: false })
    }

    /// Takes over a binding that all share, and says whether this process has decided it. Returns
    /// the instance that the session has left by that.
    pub fn adopt(
        &self,
        session: SessionId,
        server: &ServerName,
        shared: &SharedBinding,
        decided_here: bool,
    ) -> Option<LeftInstance> {
        let now = UnixMillis::now();
        self.with_room(session, |records| {
            let record = self.entry(records, session, now);
            let SharedBinding { node, epoch, opened, was_open } = shared;
            let Some((_, known)) = record.servers.iter_mut().find(|(name, _)| name == server)
            else {
                self.moved(None, Some(node));
                let before = take(&mut record.gone, server).unwrap_or_default();
                let before = Before {
                    was_open: *was_open || before.was_open,
                    opened: (*opened).max(before.opened),
                };
                let binding = Binding::decided(node, now, *epoch, before);
                record.bind(server, Binding { decided_here, ..binding });
                return None;
            };
            known.was_open |= was_open;
            known.opened = known.opened.max(*opened);
            // Of two that two coordinators have given the same number, that of all counts.
            if known.epoch > Some(*epoch) || (known.epoch == Some(*epoch) && known.node == *node) {
                return None;
            }
            let left = LeftInstance { node: known.node.clone(), epoch: known.epoch };
            self.moved(Some(&known.node), Some(node));
            let binding = Binding::decided(node, now, *epoch, known.before());
            *known = Binding { last_used: known.last_used, decided_here, ..binding };
            (left.node != *node).then_some(left)
        })
    }

    /// What this process knows of a session, to be that of all: claims of its bindings, and what its
    /// client has set, if it ever has. `None` if the session is not known.
    #[must_use]
    pub fn shared_of(
        &self,
        session: SessionId,
    ) -> Option<(Vec<SharedClaim>, Option<SessionSettings>)> {
        self.with(session, |records| {
            let record = records.get_mut(&session)?;
            let claims = record.servers.iter().filter_map(|(server, binding)| {
                let Binding { node, opened, was_open, .. } = binding.clone();
                // Without one, it was opened by an earlier version: its node tells each coordinator.
                let epoch = binding.epoch?;
                let binding = SharedBinding { node, epoch, opened, was_open };
                let (server, seen) = (server.clone(), Some(epoch));
                Some(SharedClaim { session, server, seen, binding, is_news: false })
            });
            let claims = claims.collect();
            let settings = SessionSettings::of(record);
            // Once there were some, it has to be said that there are none.
            let had_some = std::mem::replace(&mut record.has_settings, !settings.is_empty());
            Some((claims, Some(settings).filter(|settings| had_some || !settings.is_empty())))
        })
    }

    /// The epoch of the server's binding.
    #[must_use]
    pub fn epoch(&self, session: SessionId, server: &ServerName) -> Option<Epoch> {
        self.with(session, |records| {
            let servers = &records.get(&session)?.servers;
            servers.iter().find(|(name, _)| name == server)?.1.epoch
        })
    }

    /// Whether this process knows all that the others know of the session.
    #[must_use]
    pub fn is_learned(&self, session: SessionId) -> bool {
        self.with(session, |records| records.get(&session).is_some_and(|record| record.is_learned))
    }

    /// Notes that this process knows all that the others know of the session.
    pub fn learned(&self, session: SessionId) {
        let now = UnixMillis::now();
        self.with_room(session, |records| self.entry(records, session, now).is_learned = true);
    }

    /// Whether other coordinators know that this one keeps what sets the state of its servers.
    #[must_use]
    pub fn is_keeper(&self, session: SessionId) -> bool {
        self.with(session, |records| records.get(&session).is_some_and(|record| record.is_keeper))
    }

    /// Notes that they know it.
    pub fn note_keeper(&self, session: SessionId) {
        self.with(session, |records| {
            if let Some(record) = records.get_mut(&session) {
                record.is_keeper = true;
            }
        });
    }

    /// Replaces what the client of a session has set.
    pub fn set_settings(&self, session: SessionId, settings: &SessionSettings) {
        let old = self.with(session, |records| {
            let record = records.get_mut(&session)?;
            record.log_level = settings.level.or(record.log_level);
            record.has_settings |= !settings.is_empty();
            // Of those of a session that is known others say when they are found: what stands there may
            // have been told here meanwhile.
            match record.is_learned {
                true => record.unreported_losses.retain(|server| settings.losses.contains(server)),
                false => record.unreported_losses.clone_from(&settings.losses),
            }
            Some(record.subscriptions.clone())
        });
        for (server, uri) in old.unwrap_or_default() {
            if !settings.has(&server, &uri) {
                self.unsubscribe(session, &server, &uri);
            }
        }
        for (server, uri) in &settings.subscriptions {
            self.subscribe(session, server, uri);
        }
    }

    /// Sessions that this process knows, part by part: those of the part of this number, below
    /// `bindings::SHARDS`.
    #[must_use]
    pub fn part(&self, number: usize) -> Vec<SessionId> {
        let bound = |record: &Record| !record.servers.is_empty() || record.has_settings;
        self.shards.get(number).map_or_else(Vec::new, |shard| {
            let records = shard.lock();
            records.iter().filter(|(_, record)| bound(record)).map(|(id, _)| *id).collect()
        })
    }
}
