//! The registrations of a node with its coordinators, and what they are together.

use std::sync::Arc;

use tokio::sync::watch;

use crate::sync::Locked;

/// Whether a coordinator knows this node, for `/health` and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Not registering before a join is requested.
    Waiting,
    /// Trying to register, or to register again.
    Registering,
    Registered,
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

    /// Whether the node is registered with all of its coordinators.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.each.lock().iter().all(|joined| *joined == Joined::Registered)
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
