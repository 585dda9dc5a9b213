//! What servers say of the eras that they serve. Every request without a session asks for it, so it is
//! found once for each state of catalogs and topology.

use std::collections::HashMap;

use crate::model::ServerName;
use crate::protocol::era::discovered::{has_no_sessions, is_marked};
use crate::sync::Locked;

/// What one server says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct EraMarks {
    /// It takes requests without a session as they are.
    pub takes_requests: bool,
    /// It does, and opens no sessions.
    pub has_no_sessions: bool,
    /// A replica has told of other lists meanwhile, which are not fetched yet.
    pub is_outdated: bool,
}

impl EraMarks {
    /// In an `InitializeResult` as catalogs have it.
    #[must_use]
    pub fn of(initialize: &str) -> Self {
        let has_no_sessions = has_no_sessions(initialize);
        Self { takes_requests: is_marked(initialize), has_no_sessions, is_outdated: false }
    }
}

/// The count of catalog changes, and the generation of the topology.
type State = (u64, u64);

/// What was found in the state that was seen last.
#[derive(Default)]
pub struct KnownMarks(Locked<(State, HashMap<ServerName, EraMarks, foldhash::fast::RandomState>)>);

impl KnownMarks {
    /// What the server says in this state, which is the present one: found now, if it was not before.
    pub fn in_state(
        &self,
        state: State,
        server: &ServerName,
        find: impl FnOnce() -> EraMarks,
    ) -> EraMarks {
        {
            let known = self.0.lock();
            if known.0 == state
                && let Some(marks) = known.1.get(server)
            {
                return *marks;
            }
        }
        let found = find();
        let mut known = self.0.lock();
        if known.0 != state {
            *known = (state, HashMap::default());
        }
        known.1.insert(server.clone(), found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_holds_until_the_state_is_another() {
        let (known, server) = (KnownMarks::default(), ServerName::parse("s").unwrap());
        let marked = EraMarks::of(r#"{"_meta":{"mooring/era":"modern"}}"#);
        let both = EraMarks::of(r#"{"_meta":{"mooring/era":"modern","mooring/sessions":true}}"#);
        assert_eq!(both, EraMarks { takes_requests: true, ..EraMarks::default() });
        assert_eq!(marked, EraMarks { has_no_sessions: true, ..both });
        assert_eq!(EraMarks::of("{}"), EraMarks::default());
        let ask = |state, finds| known.in_state(state, &server, || finds);
        assert_eq!(ask((1, 1), marked), marked);
        assert_eq!(ask((1, 1), both), marked);
        assert_eq!(ask((2, 1), both), both);
        assert_eq!(ask((2, 2), marked), marked);
        let other = ServerName::parse("t").unwrap();
        assert_eq!(known.in_state((2, 2), &other, || both), both);
        assert_eq!(ask((2, 2), both), marked);
    }
}
