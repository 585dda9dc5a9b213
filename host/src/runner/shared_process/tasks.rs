//! Which session has which task of a shared process.

use std::collections::{HashMap, VecDeque};

use crate::model::SessionId;

/// Tasks that are remembered of one session; beyond this its oldest, which are long over, are
/// dropped.
const MAX_TASKS: usize = 1000;
/// The longest id of a task that is remembered, in bytes. The server chooses it.
const MAX_ID: usize = 1024;
/// Sessions that have left the process and may come back.
const MAX_LEFT: usize = 100;

/// The tasks of the sessions of one process.
#[derive(Default)]
pub struct Tasks {
    owners: HashMap<String, SessionId>,
    /// Oldest first.
    ids: HashMap<SessionId, VecDeque<String>>,
    left: VecDeque<SessionId>,
}

impl Tasks {
    /// The session whose task it is.
    #[must_use]
    pub fn owner(&self, id: &str) -> Option<SessionId> {
        self.owners.get(id).copied()
    }

    /// Remembers a session's task.
    pub fn keep(&mut self, session: SessionId, id: String) {
        if id.len() > MAX_ID || self.owners.insert(id.clone(), session) == Some(session) {
            return;
        }
        let ids = self.ids.entry(session).or_default();
        ids.push_back(id);
        let oldest = if ids.len() > MAX_TASKS { ids.pop_front() } else { None };
        if let Some(oldest) = oldest {
            self.forget(session, &oldest);
        }
    }

    /// A session has left the process. `is_here` says whether one has a seat.
    pub fn leave(&mut self, session: SessionId, is_here: impl Fn(SessionId) -> bool) {
        self.left.retain(|left| *left != session);
        if !self.ids.contains_key(&session) {
            return;
        }
        self.left.push_back(session);
        if self.left.len() > MAX_LEFT
            && let Some(longest) = self.left.pop_front()
            && !is_here(longest)
        {
            for id in self.ids.remove(&longest).unwrap_or_default() {
                self.forget(longest, &id);
            }
        }
    }

    /// A task whose id the server has given to another session since stays that one's.
    fn forget(&mut self, session: SessionId, id: &str) {
        if self.owner(id) == Some(session) {
            self.owners.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_tasks_displace_only_its_own() {
        let (busy, calm) = (SessionId::mint(), SessionId::mint());
        let mut tasks = Tasks::default();
        tasks.keep(calm, "calm".to_owned());
        for number in 0..=MAX_TASKS {
            tasks.keep(busy, number.to_string());
        }
        assert_eq!(tasks.owner("calm"), Some(calm));
        assert_eq!(tasks.owner("0"), None);
        assert_eq!(tasks.owner("1"), Some(busy));
        assert_eq!(tasks.owners.len(), MAX_TASKS + 1);
        tasks.keep(busy, "x".repeat(MAX_ID + 1));
        assert_eq!(tasks.owners.len(), MAX_TASKS + 1);
    }

    #[test]
    fn those_of_sessions_that_stay_away_are_forgotten() {
        let mut tasks = Tasks::default();
        let sessions: Vec<SessionId> = (0..=MAX_LEFT + 1).map(|_| SessionId::mint()).collect();
        for (number, session) in sessions.iter().enumerate() {
            tasks.keep(*session, number.to_string());
            tasks.leave(*session, |of| of == sessions[0]);
        }
        assert_eq!(tasks.owner("0"), Some(sessions[0]), "it is back");
        assert_eq!(tasks.owner("1"), None);
        assert_eq!(tasks.owner("2"), Some(sessions[2]));
        assert_eq!(tasks.ids.len(), MAX_LEFT + 1);
    }
}
