//! The requests in flight at a server, by id and by progress token.
//!
//! Some servers write a number back as a string, or the other way round. What they mean is found
//! all the same, and the client gets its own back. Two ids that such a server could mix up (`6`,
//! `"6"` and `"06"`) never are at it at once: the second has a number of the gateway's there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::protocol::own_id::{Sender, own_id};
use crate::streams::Stream;
use crate::sync::now;

use super::message_ids::{is_same_number, key, number_in, other_forms};

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
    /// Whether its answer may ask its client, of a session where nothing else can.
    pub may_ask: bool,
    /// What it asks of a task, where the token may live on.
    pub task: Option<TaskRequest>,
    /// The client's id, as a key, if the request has another one at the server.
    pub own: Option<String>,
}

/// A request that makes a task, or is about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRequest {
    Creates,
    About(String),
}

/// Requests that are remembered once the gateway has answered them.
const MOST_GIVEN_UP: usize = 64;

/// By the request's id at the server, as a `key`.
#[derive(Default)]
pub struct Requests {
    open: HashMap<String, InFlight>,
    /// The ids at the server of requests that have another one there, by the clients' ids.
    renamed: HashMap<String, String>,
    /// How many of the keys are no plain numbers.
    texts: usize,
    /// Those of them that mean a number and are not its usual forms.
    unusual: Vec<String>,
    /// Ids that were given out.
    given_out: u64,
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
        let key = key(id);
        self.renamed.contains_key(&key)
            || self.open.get(&key).is_some_and(|request| request.own.is_none())
    }

    /// Enters a request under its id.
    pub fn insert(&mut self, key: String, request: InFlight) {
        if !is_plain(&key) {
            self.texts += 1;
            let is_unusual =
                number_in(&key).is_some_and(|number| number != key && !is_quoted(&number, &key));
            if is_unusual {
                self.unusual.push(key.clone());
            }
        }
        self.open.insert(key, request);
    }

    /// Enters a request that is still to be sent: where the server could mix it up with another one,
    /// under another id.
    pub fn insert_apart(&mut self, key: String, request: InFlight) {
        if !self.may_be_mixed_up(&key) {
            return self.insert(key, request);
        }
        let at_server = loop {
            let id = own_id(Sender::Runner, self.given_out);
            self.given_out += 1;
            if !self.open.contains_key(&id) && !self.given_up.contains(&id) {
                break id;
            }
        };
        self.renamed.insert(key.clone(), at_server.clone());
        self.insert(at_server, InFlight { own: Some(key), ..request });
    }

    /// Whether a server that changes the types of ids could take this one for another.
    fn may_be_mixed_up(&self, key: &str) -> bool {
        // Nearly all clients count, and no number is another one.
        if self.open.is_empty() || self.texts == 0 && is_plain(key) {
            return false;
        }
        let Some(number) = number_in(key) else { return false };
        let is_open = |form: &str| form != key && self.open.contains_key(form);
        is_open(&number)
            || is_open(&format!("\"{number}\""))
            || self.unusual.iter().any(|other| is_same_number(other, key))
    }

    /// Whether a request has another id at the server than its client's.
    #[must_use]
    pub fn has_renamed(&self) -> bool {
        !self.renamed.is_empty()
    }

    /// The id at the server of a client's request, if it is another one.
    #[must_use]
    pub fn renamed(&self, id: &str) -> Option<String> {
        if self.renamed.is_empty() { None } else { self.renamed.get(&key(id)).cloned() }
    }

    pub fn get(&self, id: &str) -> Option<&InFlight> {
        self.open.get(&self.renamed(id).unwrap_or_else(|| key(id)))
    }

    /// Takes out the request with exactly this id.
    pub fn remove(&mut self, id: &str) -> Option<InFlight> {
        let key = self.renamed(id).unwrap_or_else(|| key(id));
        self.take(&key)
    }

    fn take(&mut self, key: &str) -> Option<InFlight> {
        let request = self.open.remove(key)?;
        if !is_plain(key) {
            self.texts -= 1;
            self.unusual.retain(|other| other != key);
        }
        if let Some(own) = &request.own {
            self.renamed.remove(own);
        }
        Some(request)
    }

    /// Takes out all requests, with their clients' ids.
    fn take_all(&mut self) -> impl Iterator<Item = (String, InFlight)> {
        self.renamed.clear();
        self.unusual.clear();
        self.texts = 0;
        self.open.drain().map(|(key, mut request)| (request.own.take().unwrap_or(key), request))
    }

    /// Takes out the request that a server answers under this id. The text is the request's own id,
    /// if the server has written another.
    pub fn answered(&mut self, id: &str) -> Option<(Option<String>, InFlight)> {
        if self.open.is_empty() {
            return None;
        }
        if let Some(mut request) = self.take(&key(id)) {
            return Some((request.own.take(), request));
        }
        let usual = other_forms(id).find(|own| self.open.contains_key(own));
        // The client may have written a number in an unusual way itself.
        let own =
            usual.or_else(|| self.open.keys().find(|own| is_same_number(own, id)).cloned())?;
        let mut request = self.take(&own)?;
        Some((Some(request.own.take().unwrap_or(own)), request))
    }

    /// Takes out a request that the gateway answers itself.
    pub fn give_up(&mut self, id: &str) -> Option<(Option<String>, InFlight)> {
        let renamed = self.renamed(id);
        let (own, request) = match &renamed {
            Some(at_server) => (None, self.take(at_server)?),
            None => self.answered(id)?,
        };
        if self.given_up.len() >= MOST_GIVEN_UP {
            self.given_up.pop_front();
            self.has_forgotten = true;
        }
        self.given_up.push_back(renamed.or(own.clone()).unwrap_or_else(|| key(id)));
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
        if self.open.len() == 1 { self.take_all().next() } else { None }
    }

    /// Takes out all requests, with their ids.
    pub fn drain(&mut self) -> impl Iterator<Item = (String, InFlight)> {
        self.take_all()
    }

    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.open.iter().map(|(key, request)| own_of(key, request)).collect()
    }

    /// The ids of the requests that are answered on a stream.
    #[must_use]
    pub fn ids_at(&self, stream: &Arc<Stream>) -> Vec<String> {
        let at = self.open.iter().filter(|(_, request)| Arc::ptr_eq(&request.stream, stream));
        at.map(|(key, request)| own_of(key, request)).collect()
    }

    /// The id of the request of this stream that a server means by an id which is that of no request
    /// there.
    #[must_use]
    pub fn meant_at(&self, stream: &Arc<Stream>, id: &str) -> Option<String> {
        let is_here = |request: &InFlight| Arc::ptr_eq(&request.stream, stream);
        if self.open.get(&key(id)).is_some_and(is_here) {
            return None;
        }
        self.ids_at(stream)
            .into_iter()
            .find(|own| is_same_number(own, id) || other_forms(id).any(|form| form == *own))
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

fn own_of(key: &str, request: &InFlight) -> String {
    request.own.clone().unwrap_or_else(|| key.to_owned())
}

/// Whether a key is a number as clients count.
fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_quoted(number: &str, key: &str) -> bool {
    key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) == Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{Bounds, KeptAnswers};

    fn request() -> InFlight {
        let (bounds, kept) = (Bounds { events: 1, bytes: 1 }, KeptAnswers::new(1).of(None));
        InFlight {
            stream: Stream::counted(1, None, bounds, &kept),
            asker: Asker::Client,
            progress_token: None,
            order: 0,
            last_progress: now(),
            may_ask: false,
            task: None,
            own: None,
        }
    }

    fn open(ids: &[&str]) -> Requests {
        let mut requests = Requests::default();
        ids.iter().for_each(|id| requests.insert_apart(key(id), request()));
        requests
    }

    #[test]
    fn ids_that_a_server_could_mix_up_are_never_at_it_at_once() {
        for (ids, renamed) in [
            (&["6", "7", "8"][..], &[][..]),
            (&["6", "\"7\"", "\"a\"", "\"6a\""], &[]),
            (&["6", "\"6\""], &["\"6\""]),
            (&["\"6\"", "6"], &["6"]),
            (&["6", "\"06\"", "\" 6\"", "7"], &["\"06\"", "\" 6\""]),
            (&["\"06\"", "6", "\"6\""], &["6", "\"6\""]),
            (&["6.0", "6", "6e0"], &["6", "6e0"]),
        ] {
            let mut requests = open(ids);
            for id in ids {
                assert!(requests.has(id), "{ids:?} {id}");
                assert_eq!(requests.renamed(id).is_some(), renamed.contains(id), "{ids:?} {id}");
            }
            let mut known = requests.ids();
            known.sort();
            let mut all: Vec<&str> = ids.to_vec();
            all.sort_unstable();
            assert_eq!(known, all);
            // A server that makes numbers of all ids answers them in another order.
            for id in ids.iter().rev() {
                let at_server = requests.renamed(id).unwrap_or_else(|| (*id).to_owned());
                let written = number_in(&at_server).unwrap_or(at_server);
                let (own, _) = requests.answered(&written).unwrap();
                assert_eq!(own.unwrap_or(written), *id, "{ids:?}");
            }
            assert!(requests.is_empty() && !requests.has_renamed());
            assert!(requests.texts == 0 && requests.unusual.is_empty());
        }
    }

    #[test]
    fn a_request_under_another_id_is_given_up_by_its_own() {
        let mut requests = open(&["6", "\"06\""]);
        let at_server = requests.renamed("\"06\"").unwrap();
        assert!(!requests.has(&at_server), "a client may have that id, too");
        let (own, _) = requests.give_up("\"06\"").unwrap();
        assert_eq!(own, None);
        assert!(requests.may_be_late(&at_server) && !requests.may_be_late("\"06\""));
        assert!(requests.has("6") && !requests.has("\"06\"") && !requests.has_renamed());
        let mut requests = open(&["6", "\"6\""]);
        let mut all: Vec<String> = requests.drain().map(|(id, _)| id).collect();
        all.sort();
        assert_eq!(all, ["\"6\"", "6"]);
        assert!(requests.remove("6").is_none() && requests.texts == 0);
    }
}
