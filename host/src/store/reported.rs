//! What nodes report of the sessions that they hold, and which of two nodes keeps one.

use crate::model::{Epoch, NodeId, ServerName, SessionId, UnixMillis};

use super::bindings::{Bindings, note, take};
use super::record::Binding;

/// A node's word that it holds an instance of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    pub node: NodeId,
    /// `None` from nodes of earlier versions.
    pub epoch: Option<Epoch>,
    pub opened_at: UnixMillis,
}

impl Reported {
    /// The binding to the node.
    pub(super) fn binding(&self, now: UnixMillis) -> Binding {
        Binding {
            node: self.node.clone(),
            since: self.opened_at,
            last_used: now,
            known_since: now,
            decided_here: false,
            was_open: true,
            epoch: self.epoch,
            opened: self.epoch,
        }
    }
}

/// The outcome of a node's report that it holds a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportOutcome {
    /// The binding is the reporting node's.
    Taken,
    /// The session stays bound to this node: the reporting one is to close it.
    Older(NodeId),
    /// The session has been open elsewhere since, and is bound to no node: the reporting one is to
    /// close it.
    Left,
    /// The reporting node gets the binding: this node is to close its instance, which has at most
    /// this epoch.
    Replaced(NodeId, Option<Epoch>),
}

impl Bindings {
    /// Takes a node's report that it holds a session. A session whose holder this process chose
    /// stays there: a node may report what it likes. Of two other nodes the one with the higher
    /// epoch gets the binding. If those are equal, or one is unknown, the holder keeps it while it
    /// is alive, and then the one that opened it earlier gets it.
    pub fn report(
        &self,
        session: SessionId,
        server: &ServerName,
        reported: &Reported,
        is_alive: impl Fn(&NodeId) -> bool,
    ) -> ReportOutcome {
        let now = UnixMillis::now();
        let Reported { node, epoch, opened_at } = reported;
        self.changed(session);
        self.with_room(session, |records| {
            let record = self.entry(records, session, *opened_at);
            // The node keeps it: its idle time begins now.
            record.last_used = record.last_used.max(now);
            let is_left = |opened: Option<Epoch>| epoch.is_some() && *epoch < opened;
            let Some((_, binding)) = record.servers.iter_mut().find(|(name, _)| name == server)
            else {
                let gone = record.gone.iter().find(|(name, _)| name == server);
                if gone.is_some_and(|(_, opened)| is_left(*opened)) {
                    return ReportOutcome::Left;
                }
                self.moved(None, Some(node));
                take(&mut record.gone, server);
                record.bind(server, reported.binding(now));
                return ReportOutcome::Taken;
            };
            if binding.node == *node {
                if is_left(binding.opened) {
                    return ReportOutcome::Left;
                }
                binding.since = binding.since.min(*opened_at);
                binding.was_open = true;
                if epoch.is_some() {
                    (binding.epoch, binding.opened) = (*epoch, *epoch);
                }
                return ReportOutcome::Taken;
            }
            if binding.decided_here || is_left(binding.opened) {
                return ReportOutcome::Older(binding.node.clone());
            }
            let is_higher = epoch.is_some() && binding.epoch.is_some() && *epoch > binding.epoch;
            if !is_higher && (binding.since <= *opened_at || is_alive(&binding.node)) {
                return ReportOutcome::Older(binding.node.clone());
            }
            let loser = std::mem::replace(binding, reported.binding(now));
            self.moved(Some(&loser.node), Some(node));
            // The client has used what it loses now, and was told nothing of it.
            if is_higher && loser.last_used > loser.known_since {
                note(&mut record.unreported_losses, server);
            }
            ReportOutcome::Replaced(loser.node, loser.epoch)
        })
    }
}

#[cfg(test)]
mod tests;
