//! What each server offers, found out once per set of client capabilities.
//!
//! ```text
//! (server, set) ── asked ──► Discovering ──► Known ──► (list_changed: again)
//!                                │
//!                                └─► Failed ── backoff ──► Discovering
//! ```
//!
//! A discovery opens the server for itself, reads every page of every list and
//! ends it again. A session whose server says that its lists have changed has
//! them read over that session; where they differ from the catalogue, the session
//! has lists of its own, and the server is discovered again, since the change may
//! concern everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};

use crate::model::ServerName;
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::{self, ClientSet};
use crate::protocol::methods::List;
use crate::protocol::splice;
use crate::seam::{Handshake, Pool};

use super::caller::{self, CallError, Refusal};
use super::endpoint::Shared;
use super::instance::Instance;
use super::opening::{self, Opening};
use super::served::{Means, Served};

/// A server whose cursor never ends would keep us for ever.
const MAX_PAGES: usize = 1000;
const MAX_ITEMS: usize = 100_000;
/// Longest wait for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A server whose sessions each have lists of their own says so all the time.
const BETWEEN_DISCOVERIES: Duration = Duration::from_secs(10);

type Key = (ServerName, ClientSet);

/// A finished discovery.
#[derive(Debug)]
pub struct Discovered {
    pub catalog: Catalog,
    pub json: Bytes,
    pub digest: Arc<str>,
}

#[derive(Clone)]
enum State {
    Discovering,
    Known(Arc<Discovered>),
    Failed(Arc<str>),
}

/// One catalogue, and how to have it found out again.
struct Entry {
    state: watch::Sender<State>,
    again: Arc<Notify>,
}

pub struct Discovery {
    entries: Mutex<HashMap<Key, Entry>>,
    /// Rediscoveries that found something else, by server.
    generations: Mutex<HashMap<ServerName, u64>>,
    /// Counts changes: whoever publishes digests watches it.
    changes: watch::Sender<u64>,
    stopped: watch::Sender<bool>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            generations: Mutex::default(),
            changes: watch::Sender::new(0),
            stopped: watch::Sender::new(false),
        }
    }
}

impl Discovery {
    /// Begins with every server for clients without capabilities.
    pub fn start(&self, shared: &Arc<Shared>, pool: &Pool) {
        for server in shared.config.servers.keys() {
            self.entry(shared, pool, server, ClientSet::default());
        }
    }

    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The catalogue, after waiting for its first discovery.
    ///
    /// # Errors
    /// Why the server could not be asked; it is asked again in the background.
    pub async fn catalog(
        &self,
        shared: &Arc<Shared>,
        pool: &Pool,
        server: &ServerName,
        set: ClientSet,
    ) -> Result<Arc<Discovered>, String> {
        let Some(served) = shared.config.servers.get(server) else {
            return Err(format!("server {server} is not hosted on this node"));
        };
        // A shared process is told of no capabilities.
        let set = if served.sharing.is_on() { ClientSet::default() } else { set };
        let mut state = self.entry(shared, pool, server, set);
        let settled = state.wait_for(|state| !matches!(state, State::Discovering)).await;
        match settled.as_deref() {
            Ok(State::Known(found)) => Ok(Arc::clone(found)),
            Ok(State::Failed(why)) => Err(why.to_string()),
            Ok(State::Discovering) | Err(_) => Err("the gateway is ending".to_owned()),
        }
    }

    /// Digest of what a server offers: of its catalogue for clients without
    /// capabilities, and how often any of its catalogues has changed.
    #[must_use]
    pub fn digest(&self, server: &ServerName) -> Option<Arc<str>> {
        let digest = match self.known(server, ClientSet::default())? {
            State::Known(found) => Arc::clone(&found.digest),
            State::Discovering | State::Failed(_) => return None,
        };
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match generations.get(server) {
            Some(generation) => format!("{digest}-{generation}").into(),
            None => digest,
        })
    }

    /// The lists of one session have been read. Gives them if they are not what
    /// the catalogue says, and has the server discovered again then.
    pub fn compare(
        &self,
        server: &ServerName,
        set: ClientSet,
        own: Catalog,
    ) -> Option<Arc<Discovered>> {
        let digest: Arc<str> = own.lists_digest().into();
        if let Some(State::Known(found)) = self.known(server, set)
            && found.catalog.lists_digest() == *digest
        {
            return None;
        }
        self.ask_again(server);
        let json = own.to_json();
        Some(Arc::new(Discovered { catalog: own, json, digest }))
    }

    /// Has a server discovered once more, in a while.
    pub fn ask_again(&self, server: &ServerName) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for ((name, _), entry) in entries.iter() {
            if name == server {
                entry.again.notify_one();
            }
        }
    }

    fn known(&self, server: &ServerName, set: ClientSet) -> Option<State> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&(server.clone(), set)).map(|entry| entry.state.borrow().clone())
    }

    fn has_changed(&self, server: &ServerName) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        *generations.entry(server.clone()).or_default() += 1;
    }

    /// Why a server's last discovery failed, if it did.
    #[must_use]
    pub fn failure(&self, server: &ServerName) -> Option<Arc<str>> {
        match self.known(server, ClientSet::default())? {
            State::Failed(why) => Some(why),
            State::Discovering | State::Known(_) => None,
        }
    }

    fn entry(
        &self,
        shared: &Arc<Shared>,
        pool: &Pool,
        server: &ServerName,
        set: ClientSet,
    ) -> watch::Receiver<State> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.clone(), set);
        if let Some(entry) = entries.get(&key) {
            return entry.state.subscribe();
        }
        let entry = watch::Sender::new(State::Discovering);
        let state = entry.subscribe();
        let again = Arc::new(Notify::new());
        entries.insert(key, Entry { state: entry.clone(), again: Arc::clone(&again) });
        tokio::spawn(keep_discovering(
            Arc::downgrade(shared),
            pool.clone(),
            server.clone(),
            set,
            entry,
            again,
            self.stopped.subscribe(),
        ));
        state
    }
}

async fn keep_discovering(
    shared: std::sync::Weak<Shared>,
    pool: Pool,
    server: ServerName,
    set: ClientSet,
    entry: watch::Sender<State>,
    again: Arc<Notify>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut retry = FIRST_RETRY;
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let Some(served) = strong.config.servers.get(&server).cloned() else { return };
        let mut recoveries = strong.means.starts.recoveries(&server);
        let found = tokio::select! {
            found = discover(&server, &served, set, &pool, &strong.means) => found,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let pause = match found {
            Ok(catalog) => {
                retry = FIRST_RETRY;
                if take(&entry, &server, catalog) {
                    strong.discovery.has_changed(&server);
                }
                None
            }
            Err(Undiscovered { why, again }) => {
                let pause = again.unwrap_or(retry);
                let retry_ms = pause.as_millis();
                tracing::warn!(server = %server, retry_ms, "no catalogue: {why}");
                // What was known is better than nothing.
                entry.send_if_modified(|state| {
                    let is_unknown = !matches!(state, State::Known(_));
                    if is_unknown {
                        *state = State::Failed(why.into());
                    }
                    is_unknown
                });
                if again.is_none() {
                    retry = (retry * 2).min(LAST_RETRY);
                }
                Some(pause)
            }
        };
        strong.discovery.changes.send_modify(|count| *count += 1);
        drop(strong);
        let next = async {
            match pause {
                // A session may find out first that it works again.
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = recovery(&mut recoveries) => {}
                },
                None => {
                    tokio::time::sleep(BETWEEN_DISCOVERIES).await;
                    again.notified().await;
                }
            }
        };
        tokio::select! {
            () = next => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

async fn recovery(recoveries: &mut Option<watch::Receiver<u64>>) {
    if let Some(recoveries) = recoveries
        && recoveries.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Makes a catalogue the known one; says whether another was known before.
fn take(entry: &watch::Sender<State>, server: &ServerName, catalog: Catalog) -> bool {
    let digest: Arc<str> = catalog.digest().into();
    let before = match &*entry.borrow() {
        State::Known(found) => Some(Arc::clone(&found.digest)),
        State::Discovering | State::Failed(_) => None,
    };
    if before.as_ref() != Some(&digest) {
        tracing::info!(
            server = %server,
            tools = catalog.tools.len(),
            prompts = catalog.prompts.len(),
            resources = catalog.resources.len(),
            "catalogue discovered"
        );
    }
    let has_changed = before.is_some_and(|before| before != digest);
    let json = catalog.to_json();
    entry.send_replace(State::Known(Arc::new(Discovered { catalog, json, digest })));
    has_changed
}

async fn discover(
    server: &ServerName,
    served: &Served,
    set: ClientSet,
    pool: &Pool,
    means: &Means,
) -> Result<Catalog, Undiscovered> {
    let params = initialize::own_params(set);
    let forwarded = http::HeaderMap::new();
    let opening = Opening {
        params: params.as_bytes(),
        handshake: Handshake::Host,
        forwarded: &forwarded,
        owner: None,
    };
    let instance = opening::open(server, served, opening, pool, means)
        .await
        .map_err(|error| Undiscovered { why: error.to_string(), again: error.retry_after() })?;
    let read = read_lists(&instance, pool).await;
    instance.close(pool).await;
    read.map_err(|error| Undiscovered { why: format!("server {server}: {error}"), again: None })
}

/// Why there is no catalogue, and when a new attempt makes sense if not as usual.
struct Undiscovered {
    why: String,
    again: Option<Duration>,
}

/// Every page of every list that the server announces.
pub async fn read_lists(instance: &Instance, pool: &Pool) -> Result<Catalog, CallError> {
    let text = String::from_utf8_lossy(&instance.result).into_owned();
    let initialize =
        RawValue::from_string(text).map_err(|e| CallError::Unanswered(e.to_string()))?;
    let offered = offered(&instance.result);
    let mut catalog = Catalog::new(initialize);
    for list in List::ALL {
        if !offered.contains(&list.capability()) {
            continue;
        }
        match read_list(instance, pool, list).await {
            Ok(items) => *catalog.items_mut(list) = items,
            Err(CallError::Refused(why, refusal)) if is_missing(list, refusal) => {
                tracing::debug!(method = list.method(), "{why}");
            }
            Err(error) => return Err(error),
        }
    }
    // What a server says while it goes away is not what it offers.
    match instance.is_lost() {
        true => Err(CallError::Unanswered("it went away meanwhile".into())),
        false => Ok(catalog),
    }
}

/// Whether a refused list is announced but not there. A refusal that is not the
/// server's may be over the next time: an empty list would be believed for good.
/// Servers refuse what they only announce in many ways; none may cost a server its
/// tools, so a refusal of those is never believed, and one of the others is.
fn is_missing(list: List, refusal: Refusal) -> bool {
    match refusal {
        Refusal::NoSuchMethod => true,
        Refusal::Other => list != List::Tools,
        Refusal::NotTheServers => false,
    }
}

/// Which of the three list capabilities the server announces.
fn offered(result: &[u8]) -> Vec<&'static str> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Capabilities<'a> {
        #[serde(borrow)]
        tools: Option<&'a RawValue>,
        #[serde(borrow)]
        prompts: Option<&'a RawValue>,
        #[serde(borrow)]
        resources: Option<&'a RawValue>,
    }
    let read: Capabilities<'_> = serde_json::from_slice::<initialize::Outcome<'_>>(result)
        .ok()
        .and_then(|outcome| serde_json::from_str(outcome.capabilities?.get()).ok())
        .unwrap_or_default();
    [("tools", read.tools), ("prompts", read.prompts), ("resources", read.resources)]
        .into_iter()
        .filter_map(|(name, there)| there.map(|_| name))
        .collect()
}

async fn read_list(
    instance: &Instance,
    pool: &Pool,
    list: List,
) -> Result<Vec<Box<RawValue>>, CallError> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = match &cursor {
            Some(cursor) => format!("{{\"cursor\":{}}}", splice::quoted(cursor)),
            None => "{}".to_owned(),
        };
        let call = caller::call(instance, pool, list.method(), &params);
        let result = tokio::time::timeout(PAGE_TIMEOUT, call)
            .await
            .map_err(|_| CallError::Unanswered(format!("{} took too long", list.method())))??;
        let (more, next) = page_of(&result, list).ok_or_else(|| {
            CallError::Unanswered(format!("{} has a senseless result", list.method()))
        })?;
        items.extend(more);
        // The same cursor again would be the same page again.
        if next.is_none() || next == cursor || items.len() > MAX_ITEMS {
            return Ok(items);
        }
        cursor = next;
    }
    Ok(items)
}

/// The items of one page, and the cursor of the next.
fn page_of(result: &[u8], list: List) -> Option<(Vec<Box<RawValue>>, Option<String>)> {
    let members: HashMap<String, &RawValue> = serde_json::from_slice(result).ok()?;
    let items = serde_json::from_str(members.get(list.member())?.get()).ok()?;
    let next = members.get("nextCursor").and_then(|cursor| splice::string(cursor));
    Some((items, next))
}
