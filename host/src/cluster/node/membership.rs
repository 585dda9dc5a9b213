//! A node's registrations with its coordinators: an agent for each, and what they are together.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::sync::{Locked, Watcher};

use super::agent::{Agent, Joined};

/// The agents of one node.
pub struct Agents {
    pub agents: Vec<Agent>,
    /// Notified by a request to join.
    pub join: Arc<Notify>,
    pub joined: watch::Receiver<Joined>,
}

impl Agents {
    /// Keeps the node registered until `stop`, then deregisters it everywhere. Unless `at_once`, it
    /// first waits for `join`.
    pub async fn run(self, at_once: bool, mut stop: Watcher) {
        if !at_once {
            tracing::info!("not registering until POST /api/cluster/join (or: mooring join)");
            tokio::select! {
                () = self.join.notified() => {}
                () = stop.raised() => return,
            }
        }
        let running = self.agents.into_iter().map(|agent| agent.run(stop.clone()));
        futures_util::future::join_all(running).await;
    }
}

/// The registrations of one node. One that is registered anywhere takes sessions.
pub struct Memberships {
    each: Locked<Vec<Joined>>,
    together: watch::Sender<Joined>,
}

impl Memberships {
    /// With this many coordinators.
    #[must_use]
    pub fn new(coordinators: usize) -> Arc<Self> {
        let each = Locked::new(vec![Joined::Waiting; coordinators]);
        Arc::new(Self { each, together: watch::Sender::new(Joined::Waiting) })
    }

    #[must_use]
    pub fn together(&self) -> watch::Receiver<Joined> {
        self.together.subscribe()
    }

    /// That with the coordinator of this number.
    #[must_use]
    pub fn with(self: &Arc<Self>, index: usize) -> Membership {
        Membership { all: Arc::clone(self), index }
    }
}

/// The registration with one coordinator.
pub struct Membership {
    all: Arc<Memberships>,
    index: usize,
}

impl Membership {
    pub fn set(&self, joined: Joined) {
        let mut each = self.all.each.lock();
        if let Some(own) = each.get_mut(self.index) {
            *own = joined;
        }
        let furthest = [Joined::Registered, Joined::Registering].into_iter();
        let furthest = furthest.chain([Joined::Waiting]).find(|state| each.contains(state));
        self.all.together.send_replace(furthest.unwrap_or(Joined::Waiting));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_registered_while_one_coordinator_knows_it() {
        let all = Memberships::new(2);
        let (one, other) = (all.with(0), all.with(1));
        let mut together = all.together();
        let mut is = |expect: Joined| assert_eq!(*together.borrow_and_update(), expect);
        is(Joined::Waiting);
        one.set(Joined::Registering);
        is(Joined::Registering);
        other.set(Joined::Registered);
        is(Joined::Registered);
        one.set(Joined::Registered);
        other.set(Joined::Registering);
        is(Joined::Registered);
        one.set(Joined::Registering);
        is(Joined::Registering);
    }
}
