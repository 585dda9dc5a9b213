//! What each server offers, discovered once per set of client capabilities.
//!
//! ```text
//! (server, set) ── asked ──► Discovering ──► Known ──► (list_changed: again)
//!                                │
//!                                └─► Failed ── backoff ──► Discovering
//! ```
//!
//! A discovery opens the server, reads every page of every list and closes it (`discover`). A list
//! that cannot be read costs itself alone: the others count, and it is asked for again later. When
//! a session's server announces changed lists, they are read over that session. If
//! they differ from the catalog, the session has its own lists, and the server is
//! discovered again, since the change may concern every session.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::model::ServerName;
use crate::net::Pool;
use crate::protocol::catalog::{Catalog, Discovered};
use crate::protocol::initialize::ClientSet;
use crate::runner::session::resources::Resources;
use crate::runner::session::revision;
use crate::runner::session::served::{CurrentServers, Recipe};
use crate::sync::{Locked, Signal, Watcher};

use super::discover::{Subject, discover};
use super::gathered::Gathered;

/// Pause after a first failed discovery; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The doubling stops here.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// It stops here at a server elsewhere that was there before: to ask it costs little.
const LAST_RETRY_ELSEWHERE: Duration = Duration::from_secs(5);
/// It stops here where something is known, and the rest is asked for again.
const LAST_RETRY_OF_REST: Duration = Duration::from_secs(600);
/// Shortest time until a server that clients doubt is asked whether it is still there; it doubles while it
/// is, up to `BETWEEN_DISCOVERIES`.
const FIRST_DOUBT: Duration = Duration::from_secs(1);
/// Shortest time between two discoveries of a server: one whose sessions each have
/// their own lists asks for one at every change.
const BETWEEN_DISCOVERIES: Duration = Duration::from_secs(10);

/// Catalogs of one server for clients with extensions; clients with others get that of clients
/// without.
const MAX_EXTENDED: usize = 16;
/// Flaws of one server that are shown.
const MAX_FLAWS: usize = 16;

type DiscoveryKey = (ServerName, ClientSet);

#[derive(Clone)]
enum DiscoveryState {
    Discovering,
    Known(Arc<Discovered>),
    Failed(Arc<str>),
}

/// The state of one catalog, and the request to discover it again.
#[derive(Clone)]
struct DiscoveryEntry {
    state: watch::Sender<DiscoveryState>,
    again: Arc<Notify>,
    /// Notified when clients could not reach the server: perhaps nobody can.
    doubted: Arc<Notify>,
    /// Raised when the server has other settings, or is gone.
    over: Arc<Signal>,
    /// The extensions of its set, as JSON.
    extensions: Option<Arc<str>>,
}

/// The catalogs of all servers of this process.
pub struct Discovery {
    servers: CurrentServers,
    resources: Resources,
    entries: Locked<HashMap<DiscoveryKey, DiscoveryEntry>>,
    /// Discoveries that found a catalog changed, by server.
    generations: Locked<HashMap<ServerName, u64>>,
    /// Counts finished discoveries, failed ones too: digests may have changed.
    changes: watch::Sender<u64>,
    stopped: Signal,
}

impl Discovery {
    #[must_use]
    pub fn new(servers: CurrentServers, resources: Resources) -> Self {
        Self {
            servers,
            resources,
            entries: Locked::default(),
            generations: Locked::default(),
            changes: watch::Sender::new(0),
            stopped: Signal::default(),
        }
    }

    /// Starts to discover every server, for clients without capabilities.
    pub fn start(self: &Arc<Self>, pool: &Pool) {
        for server in self.servers.load().keys() {
            self.entry(pool, server, ClientSet::default(), None);
        }
    }

    /// Starts to discover a server, for clients without capabilities.
    pub fn begin(self: &Arc<Self>, pool: &Pool, server: &ServerName) {
        self.entry(pool, server, ClientSet::default(), None);
    }

    /// Takes what a trial has read of a server, whose settings are new, and keeps it up to date from
    /// now on. What was known of it before is forgotten.
    pub fn adopt(self: &Arc<Self>, pool: &Pool, server: &ServerName, read: &Gathered) {
        let (before, others) = (self.digest_now(server), self.others(server));
        self.forget(server);
        let entry = DiscoveryEntry {
            state: watch::Sender::new(DiscoveryState::Discovering),
            again: Arc::default(),
            doubted: Arc::default(),
            over: Arc::default(),
            extensions: None,
        };
        self.keep(&entry.state, server, read);
        let key = (server.clone(), ClientSet::default());
        self.entries.lock().insert(key.clone(), entry.clone());
        // Nobody has read what it offers to clients with other capabilities.
        if others || (before.is_some() && before != self.digest_now(server)) {
            self.note_change(server);
        }
        let rest = read.is_incomplete().then_some(FIRST_RETRY);
        tokio::spawn(keep_discovering(Arc::downgrade(self), pool.clone(), key, entry, Some(rest)));
        self.touch();
    }

    /// Forgets what is known of a server, and ends its discoveries.
    pub fn forget(&self, server: &ServerName) {
        self.entries.lock().retain(|(name, _), entry| {
            if name == server {
                entry.over.raise();
            }
            name != server
        });
    }

    /// Tells whoever waits for changes that there are some.
    pub fn touch(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether there are catalogs for clients with capabilities.
    fn others(&self, server: &ServerName) -> bool {
        let set = ClientSet::default();
        self.entries.lock().keys().any(|(name, of)| name == server && *of != set)
    }

    /// The digest of the catalog alone.
    fn digest_now(&self, server: &ServerName) -> Option<Arc<str>> {
        self.found(server, ClientSet::default()).map(|found| Arc::clone(&found.digest))
    }

    /// Ends all discoveries, those under way too.
    pub fn stop(&self) {
        self.stopped.raise();
    }

    /// Changes after every discovery.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The catalog, after waiting for its first discovery.
    ///
    /// # Errors
    /// Why the last discovery failed; the next one follows in the background.
    pub async fn catalog(
        self: &Arc<Self>,
        pool: &Pool,
        server: &ServerName,
        set: ClientSet,
        extensions: Option<Arc<str>>,
    ) -> Result<Arc<Discovered>, String> {
        let is_shared = self.servers.load().get(server).map(|served| served.sharing.is_on());
        let Some(is_shared) = is_shared else {
            return Err(format!("server {server} is not hosted on this node"));
        };
        // A shared process is initialized without client capabilities.
        let set = if is_shared { ClientSet::default() } else { set };
        let mut state = self.entry(pool, server, set, extensions);
        let settled = state.wait_for(|state| !matches!(state, DiscoveryState::Discovering)).await;
        match settled.as_deref() {
            Ok(DiscoveryState::Known(found)) => Ok(Arc::clone(found)),
            Ok(DiscoveryState::Failed(why)) => Err(why.to_string()),
            Ok(DiscoveryState::Discovering) | Err(_) => {
                Err("the gateway is shutting down, or the server's settings have changed"
                    .to_owned())
            }
        }
    }

    /// Digest of what a server offers: that of its catalog for clients without
    /// capabilities, and how often any of its catalogs has changed. `None` until that
    /// catalog is known.
    #[must_use]
    pub fn digest(&self, server: &ServerName) -> Option<Arc<str>> {
        let digest = match self.known(server, ClientSet::default())? {
            DiscoveryState::Known(found) => Arc::clone(&found.digest),
            DiscoveryState::Discovering | DiscoveryState::Failed(_) => return None,
        };
        let generations = self.generations.lock();
        Some(match generations.get(server) {
            Some(generation) => format!("{digest}-{generation}").into(),
            None => digest,
        })
    }

    /// Compares the lists of one session with the catalog. If they differ, returns them
    /// and has the server discovered again.
    pub fn compare(
        &self,
        server: &ServerName,
        set: ClientSet,
        own: Catalog,
    ) -> Option<Arc<Discovered>> {
        let digest: Arc<str> = own.lists_digest().into();
        if let Some(DiscoveryState::Known(found)) = self.known(server, set)
            && found.catalog.lists_digest() == *digest
        {
            return None;
        }
        self.ask_again(server);
        let json = own.to_json();
        Some(Arc::new(Discovered { catalog: own, json, digest, flaws: Vec::new() }))
    }

    /// What is known of a server's lists, for clients with these capabilities.
    #[must_use]
    pub fn found(&self, server: &ServerName, set: ClientSet) -> Option<Arc<Discovered>> {
        match self.known(server, set)? {
            DiscoveryState::Known(found) => Some(found),
            DiscoveryState::Discovering | DiscoveryState::Failed(_) => None,
        }
    }

    /// What is wrong with a server's answers, as the last discoveries have found it.
    #[must_use]
    pub fn flaws(&self, server: &ServerName) -> Vec<String> {
        let entries = self.entries.lock();
        let of_server = entries.iter().filter(|((name, _), _)| name == server);
        let known = of_server.filter_map(|(_, entry)| match &*entry.state.borrow() {
            DiscoveryState::Known(found) => Some(Arc::clone(found)),
            DiscoveryState::Discovering | DiscoveryState::Failed(_) => None,
        });
        // Most are found for every set of capabilities.
        let flaws = known.flat_map(|found| found.flaws.clone());
        let of_revision = revision::flaw(&self.resources.revisions, server);
        let flaws: BTreeSet<String> = of_revision.into_iter().chain(flaws).collect();
        flaws.into_iter().take(MAX_FLAWS).collect()
    }

    /// The servers whose answers have been found wrong.
    #[must_use]
    pub fn flawed(&self) -> BTreeSet<ServerName> {
        let is_flawed = |entry: &DiscoveryEntry| match &*entry.state.borrow() {
            DiscoveryState::Known(found) => !found.flaws.is_empty(),
            DiscoveryState::Discovering | DiscoveryState::Failed(_) => false,
        };
        let entries = self.entries.lock();
        let flawed = entries.iter().filter(|(_, entry)| is_flawed(entry));
        let mut flawed: BTreeSet<_> = flawed.map(|((server, _), _)| server.clone()).collect();
        flawed.extend(revision::flawed(&self.resources.revisions));
        flawed
    }

    /// Stores what was read of a server, and says what is wrong with it.
    fn keep(&self, entry: &watch::Sender<DiscoveryState>, server: &ServerName, read: &Gathered) {
        let before = match &*entry.borrow() {
            DiscoveryState::Known(found) => Some(Arc::clone(found)),
            DiscoveryState::Discovering | DiscoveryState::Failed(_) => None,
        };
        let flaws = read.flaws();
        for flaw in &flaws {
            if !before.as_ref().is_some_and(|before| before.flaws.contains(flaw)) {
                tracing::warn!(server = %server, "a flaw of the server: {flaw}");
            }
        }
        let catalog = read.catalog(before.as_ref().map(|before| &before.catalog));
        let digest: Arc<str> = catalog.digest().into();
        let is_new = before.as_ref().is_none_or(|before| before.digest != digest);
        if is_new {
            tracing::info!(
                server = %server,
                tools = catalog.tools.len(),
                prompts = catalog.prompts.len(),
                resources = catalog.resources.len(),
                "catalog discovered"
            );
        }
        let json = catalog.to_json();
        let found = Discovered { catalog, json, digest, flaws };
        entry.send_replace(DiscoveryState::Known(Arc::new(found)));
        if is_new && before.is_some() {
            self.note_change(server);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Has a server asked soon whether it is still there.
    pub fn doubt(&self, server: &ServerName) {
        let key = (server.clone(), ClientSet::default());
        if let Some(entry) = self.entries.lock().get(&key) {
            entry.doubted.notify_one();
        }
    }

    /// Has a server discovered again, at the earliest `BETWEEN_DISCOVERIES` after the
    /// last time.
    pub fn ask_again(&self, server: &ServerName) {
        let entries = self.entries.lock();
        for ((name, _), entry) in entries.iter() {
            if name == server {
                entry.again.notify_one();
            }
        }
    }

    fn known(&self, server: &ServerName, set: ClientSet) -> Option<DiscoveryState> {
        let entries = self.entries.lock();
        entries.get(&(server.clone(), set)).map(|entry| entry.state.borrow().clone())
    }

    fn note_change(&self, server: &ServerName) {
        let mut generations = self.generations.lock();
        *generations.entry(server.clone()).or_default() += 1;
    }

    /// Why a server's last discovery failed, if it did.
    #[must_use]
    pub fn failure(&self, server: &ServerName) -> Option<Arc<str>> {
        match self.known(server, ClientSet::default())? {
            DiscoveryState::Failed(why) => Some(why),
            DiscoveryState::Discovering | DiscoveryState::Known(_) => None,
        }
    }

    fn entry(
        self: &Arc<Self>,
        pool: &Pool,
        server: &ServerName,
        set: ClientSet,
        extensions: Option<Arc<str>>,
    ) -> watch::Receiver<DiscoveryState> {
        let mut entries = self.entries.lock();
        let is_new = !entries.contains_key(&(server.clone(), set));
        let with_some = || {
            let known = entries.keys().filter(|(name, set)| name == server && set.has_extensions());
            known.count()
        };
        // A coordinator may ask for any number.
        let set = match is_new && set.has_extensions() && with_some() >= MAX_EXTENDED {
            true => set.without_extensions(),
            false => set,
        };
        let extensions = extensions.filter(|_| set.has_extensions());
        let key = (server.clone(), set);
        if let Some(entry) = entries.get(&key) {
            return entry.state.subscribe();
        }
        let entry = DiscoveryEntry {
            state: watch::Sender::new(DiscoveryState::Discovering),
            again: Arc::default(),
            doubted: Arc::default(),
            over: Arc::default(),
            extensions,
        };
        let state = entry.state.subscribe();
        entries.insert(key.clone(), entry.clone());
        tokio::spawn(keep_discovering(Arc::downgrade(self), pool.clone(), key, entry, None));
        state
    }
}

/// Keeps one catalog up to date until the gateway ends, or its server has other settings. `known` if
/// it was read just now: when it is to be read again by itself.
async fn keep_discovering(
    discovery: Weak<Discovery>,
    pool: Pool,
    (server, set): DiscoveryKey,
    entry: DiscoveryEntry,
    mut known: Option<Option<Duration>>,
) {
    let Some(stopped) = discovery.upgrade().map(|discovery| discovery.stopped.watch()) else {
        return;
    };
    let mut stopped = std::pin::pin!(either(stopped, entry.over.watch()));
    let (mut retry, mut wary) = (FIRST_RETRY, FIRST_DOUBT);
    loop {
        let Some(strong) = discovery.upgrade() else { return };
        let served = strong.servers.load().get(&server).map(Arc::clone);
        let Some(served) = served else { return };
        let mut recoveries = strong.resources.starts.recoveries(&server);
        let mut doubts = strong.resources.starts.doubts(&server);
        let extensions = entry.extensions.as_deref();
        let subject = Subject { server: &server, served: &served, set, extensions };
        let early = |known: &Gathered| strong.keep(&entry.state, &server, known);
        let is_elsewhere = !matches!(served.recipe, Recipe::Stdio(_) | Recipe::Broken(_));
        let found = match known.take() {
            Some(rest) => Err(Ok(rest)),
            None => tokio::select! {
                found = discover(subject, &pool, &strong.resources, early) => found.map_err(Err),
                () = &mut stopped => return,
            },
        };
        // What was found meanwhile is that of the settings before.
        if entry.over.is_raised() {
            return;
        }
        let pause = match found {
            Ok(gathered) => {
                strong.keep(&entry.state, &server, &gathered);
                let rest = gathered.is_incomplete().then_some(retry);
                retry = rest.map_or(FIRST_RETRY, |retry| (retry * 2).min(LAST_RETRY_OF_REST));
                rest
            }
            Err(Ok(rest)) => rest,
            Err(Err(error)) => {
                let again = error.retry_after();
                let pause = again.unwrap_or(retry);
                let retry_ms = pause.as_millis();
                let (starts, text) = (&strong.resources.starts, error.to_string());
                if starts.has_failed(&server) || !starts.is_news(&server, &text) {
                    tracing::debug!(server = %server, retry_ms, "no catalog: {text}");
                } else {
                    tracing::warn!(server = %server, retry_ms, "no catalog: {text}");
                }
                let is_gone =
                    is_elsewhere && set == ClientSet::default() && error.is_failed_start();
                wary = FIRST_DOUBT;
                if is_gone {
                    starts.in_vain(&server, &text);
                }
                // A catalog that is known stays: an old one is better than none.
                entry.state.send_if_modified(|state| {
                    let is_unknown = !matches!(state, DiscoveryState::Known(_));
                    if is_unknown {
                        *state = DiscoveryState::Failed(text.into());
                    }
                    is_unknown
                });
                if again.is_none() {
                    let last = if is_gone { LAST_RETRY_ELSEWHERE } else { LAST_RETRY };
                    retry = (retry * 2).min(last);
                }
                Some(pause)
            }
        };
        strong.changes.send_modify(|count| *count += 1);
        drop(strong);
        let rest = wary;
        wary = (wary * 2).min(BETWEEN_DISCOVERIES);
        let next = async {
            match pause {
                // A session may be the first to start the server again.
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = changed(&mut recoveries) => {}
                },
                None => {
                    let asked = async {
                        tokio::time::sleep(BETWEEN_DISCOVERIES).await;
                        wary = FIRST_DOUBT;
                        tokio::select! {
                            () = entry.again.notified() => {}
                            // Its answer to the gateway's own parameters decides.
                            () = changed(&mut doubts) => {}
                        }
                    };
                    let doubted = async {
                        tokio::time::sleep(rest).await;
                        entry.doubted.notified().await;
                    };
                    tokio::select! {
                        () = asked => {}
                        () = doubted => {}
                    }
                }
            }
        };
        tokio::select! {
            () = next => {}
            () = &mut stopped => return,
        }
    }
}

/// Waits for the first of two signals.
async fn either(mut one: Watcher, mut other: Watcher) {
    tokio::select! {
        () = one.raised() => {}
        () = other.raised() => {}
    }
}

async fn changed(count: &mut Option<watch::Receiver<u64>>) {
    if let Some(count) = count
        && count.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
