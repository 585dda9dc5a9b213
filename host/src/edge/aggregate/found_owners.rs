//! Which server has a resource that no list names, as it was found out by asking. A session finds
//! the server there again.

use std::collections::{HashMap, VecDeque};

use crate::model::{ServerName, SessionId};
use crate::sync::Locked;

/// Resources that are remembered; then the oldest is forgotten, and asked for again.
const MOST: usize = 4096;
/// Bytes of the longest URI that is remembered.
const LONGEST: usize = 2048;

type Key = (SessionId, String);

/// Owners by session and URI.
#[derive(Debug, Default)]
pub struct FoundOwners(Locked<Known>);

#[derive(Debug, Default)]
struct Known {
    owners: HashMap<Key, ServerName>,
    order: VecDeque<Key>,
}

impl FoundOwners {
    /// The server that had the resource in this session.
    #[must_use]
    pub fn get(&self, session: SessionId, uri: &str) -> Option<ServerName> {
        let known = self.0.lock();
        if known.owners.is_empty() {
            return None;
        }
        known.owners.get(&(session, uri.to_owned())).cloned()
    }

    /// Remembers the server that has a resource.
    pub fn keep(&self, session: SessionId, uri: &str, server: &ServerName) {
        if uri.len() > LONGEST {
            return;
        }
        let key = (session, uri.to_owned());
        let mut known = self.0.lock();
        if known.owners.insert(key.clone(), server.clone()).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.owners.remove(&oldest);
            }
        }
    }
}
