//! The requests in flight at a server, by id and by progress token.
//!
//! Some servers write a number back as a string, or the other way round. What they mean is found
//! all the same, unless another request has that very id; and the client gets its own back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::streams::Stream;
use crate::sync::now;

use super::message_ids::{is_same_number, key, other_forms};

/// The sender of a request. The gateway reads only the answers to its own requests,
/// and these do not count against the client's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    Client,
    Gateway,
}

impl Asker {
    /// Clients accept event streams here; only the gateway does not.
    #[must_use]
    pub fn of(takes_events: bool) -> Self {
        if takes_events { Self::Client } else { Self::Gateway }
    }
}

/// A request that was sent.
pub struct InFlight {
    pub stream: Arc<Stream>,
    pub asker: Asker,
    pub progress_token: Option<String>,
    /// Higher for newer requests.
    pub order: u64,
    /// When the request began, or its last progress came.
    pub last_progress: Instant,
    /// What it asks of a task, where the token may live on.
    pub task: Option<TaskRequest>,
}

/// A request that makes a task, or is about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRequest {
    Creates,
    About(String),
}

/// Requests that are remembered once the gateway has answered them.
const MOST_GIVEN_UP: usize = 64;

/// By the request's id, as a `key`.
#[derive(Default)]
pub struct Requests {
    open: HashMap<String, InFlight>,
    /// Those that the gateway has answered itself: the server's answer may still come.
    given_up: VecDeque<String>,
    /// Whether some of these were forgotten.
    has_forgotten: bool,
}

impl Requests {
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.open.contains_key(&key(id))
    }

    pub fn insert(&mut self, key: String, request: InFlight) {
        self.open.insert(key, request);
    }

    pub fn get(&self, id: &str) -> Option<&InFlight> {
        self.open.get(&key(id))
    }

    /// Takes out the request with exactly this id.
    pub fn remove(&mut self, id: &str) -> Option<InFlight> {
        self.open.remove(&key(id))
    }

    /// Takes out the request that a server answers under this id. The text is the request's own id,
    /// if the server has written another.
    pub fn answered(&mut self, id: &str) -> Option<(Option<String>, InFlight)> {
        if let Some(request) = self.remove(id) {
            return Some((None, request));
        }
        if self.open.is_empty() {
            return None;
        }
        let usual = other_forms(id).find(|own| self.open.contains_key(own));
        // The client may have written a number in an unusual way itself.
        let own =
            usual.or_else(|| self.open.keys().find(|own| is_same_number(own, id)).cloned())?;
        let request = self.open.remove(&own)?;
        Some((Some(own), request))
    }

    /// Takes out a request that the gateway answers itself.
    pub fn give_up(&mut self, id: &str) -> Option<(Option<String>, InFlight)> {
        let (own, request) = self.answered(id)?;
        if self.given_up.len() >= MOST_GIVEN_UP {
            self.given_up.pop_front();
            self.has_forgotten = true;
        }
        self.given_up.push_back(own.clone().unwrap_or_else(|| key(id)));
        Some((own, request))
    }

    /// Whether an answer under this id may be a late one, to a request that was given up.
    #[must_use]
    pub fn may_be_late(&self, id: &str) -> bool {
        let is_known = |id: &str| self.given_up.iter().any(|given_up| given_up == id);
        self.has_forgotten || is_known(&key(id)) || other_forms(id).any(|id| is_known(&id))
    }

    /// Takes out the only request, if there is just one.
    pub fn take_only(&mut self) -> Option<(String, InFlight)> {
        if self.open.len() == 1 { self.open.drain().next() } else { None }
    }

    /// Takes out all requests, with their ids.
    pub fn drain(&mut self) -> impl Iterator<Item = (String, InFlight)> {
        self.open.drain()
    }

    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.open.keys().cloned().collect()
    }

    /// The ids of the requests that are answered on a stream.
    #[must_use]
    pub fn ids_at(&self, stream: &Arc<Stream>) -> Vec<String> {
        let at = self.open.iter().filter(|(_, request)| Arc::ptr_eq(&request.stream, stream));
        at.map(|(id, _)| id.clone()).collect()
    }

    pub fn values(&self) -> impl Iterator<Item = &InFlight> {
        self.open.values()
    }

    /// The request that has asked for progress under this token, whose time begins anew. The text
    /// is its own token, if the server has written another.
    pub fn progressed(&mut self, token: &str) -> Option<(Option<String>, Arc<Stream>)> {
        let token = key(token);
        let mut now = |token: &str| {
            let has = |request: &&mut InFlight| request.progress_token.as_deref() == Some(token);
            let request = self.open.values_mut().find(has)?;
            request.last_progress = now();
            Some(Arc::clone(&request.stream))
        };
        if let Some(stream) = now(&token) {
            return Some((None, stream));
        }
        other_forms(&token).find_map(|own| Some((Some(own.clone()), now(&own)?)))
    }
}
