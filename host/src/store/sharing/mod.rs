//! What this coordinator shares with others, and when: between the edge, which asks here, and the
//! store.
//!
//! ```text
//!            claim, learn, end, params: one round trip            ┌─────────┐
//! edge ───────────────────────────────────────────────► Sharing ─►│ store   │
//!   │                                                       ▲     └─────────┘
//!   └─► Bindings: the cache, no round trip on a bound call  │ events of others
//!              └── changes (what was opened, set, lost) ────┘ written a moment later
//! ```
//!
//! A claim that is kept by the store becomes the binding here; one that is lost makes the winner's
//! binding that of this coordinator too. While the store is away, this coordinator decides alone, by
//! what it knows, and notes what it has decided; when the store is there again, everything is
//! claimed anew, and whose claim is lost closes its instance. Nodes hold the sessions themselves:
//! a store that was emptied is filled again from here.

mod feeds;
mod standing;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

use crate::model::{Epoch, GatewayStart, NodeId, ServerName, SessionId, UnixMillis};
use crate::protocol::seal::{KeyRing, MAX_AGE};

use super::adopted::LeftInstance;
use super::bindings::Bindings;
use super::changes::Changes;
use super::records::Records;
use super::settings::SessionSettings;
use super::shared::{
    Claimed, Leased, Listening, MAX_VALUE, SharedBinding, SharedClaim, SharedEvent, SharedLoss,
    SharedSession, SharedStore, StoreError,
};

pub use standing::{Standing, StoreCounts};

/// What is sealed in the store.
const SETTINGS: &str = "settings";
const PARAMS: &str = "params";
const REST: &str = "rest";
const STATE: &str = "state";
const LOSS: &str = "loss";
/// How long the rest of a stream waits to be taken: its taker waits for it.
const REST_TIME: Duration = Duration::from_secs(30);
/// Instances that wait to be closed. Of further ones the instances end when they are idle.
const MAX_LEFT: usize = 10_000;
/// Notices that wait. Further events of the others are read later.
const MAX_NOTICES: usize = 10_000;
/// Pause between two looks into a store that is being filled.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long large parameters of a session without a second message are kept.
const UNUSED: Duration = Duration::from_secs(120);

/// An instance that a session has left, and the server that it is of.
pub type Left = (SessionId, ServerName, LeftInstance);

/// A secret that was generated for all coordinators, with its name.
pub type SharedSecret = (String, Vec<u8>);

/// Who holds a server after a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Node(NodeId),
    /// The session has ended, at another coordinator.
    Ended,
}

/// What the keeper of the nodes has to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The store is there, for the first time or again.
    Connected,
    /// A coordinator tells something of a node.
    Event(SharedEvent),
}

/// What has to be done outside of the store.
pub struct Told {
    pub notices: mpsc::Receiver<Notice>,
    /// What coordinators tell of sessions.
    pub sessions: mpsc::Receiver<SharedEvent>,
    /// Instances to be closed.
    pub left: mpsc::Receiver<Left>,
}

/// This coordinator's part of what all coordinators know.
pub struct Sharing {
    store: Arc<dyn SharedStore>,
    bindings: Arc<Bindings>,
    records: Arc<Records>,
    keys: KeyRing,
    /// What this coordinator is called in the store.
    name: String,
    /// What its own events have, which come back to it.
    teller: u64,
    /// Held while an event is told whose order counts.
    telling: Mutex<()>,
    /// What all coordinators have, for a store that was emptied.
    secrets: Vec<SharedSecret>,
    changes: Arc<Changes>,
    standing: Standing,
    notices: mpsc::Sender<Notice>,
    of_sessions: mpsc::Sender<SharedEvent>,
    left: mpsc::Sender<Left>,
}

impl Sharing {
    /// Not connected until [`Self::run`] runs.
    #[must_use]
    pub fn new(
        store: Arc<dyn SharedStore>,
        bindings: Arc<Bindings>,
        records: Arc<Records>,
        (keys, secrets, name): (KeyRing, Vec<SharedSecret>, String),
    ) -> (Arc<Self>, Told) {
        let (notices, noticed) = mpsc::channel(MAX_NOTICES);
        let (of_sessions, sessions) = mpsc::channel(MAX_NOTICES);
        let (left, leaving) = mpsc::channel(MAX_LEFT);
        let changes = Arc::<Changes>::default();
        bindings.share(Arc::clone(&changes));
        let standing = Standing::default();
        let this = Self {
            store,
            bindings,
            records,
            keys,
            name,
            teller: GatewayStart::random().get(),
            telling: Mutex::default(),
            secrets,
            changes,
            standing,
            notices,
            of_sessions,
            left,
        };
        (Arc::new(this), Told { notices: noticed, sessions, left: leaving })
    }

    /// The store, for what has nothing to do with sessions.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SharedStore> {
        &self.store
    }

    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What this coordinator is called in the store; the same at its next start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Makes known here what others know of a session, if it is not yet. False if it has ended.
    pub async fn learn(&self, session: SessionId) -> bool {
        if self.bindings.is_learned(session) {
            return true;
        }
        // A store that was just emptied is being filled: what is not there yet may come.
        while self.standing.is_being_filled() {
            let Some(found) = self.ask(self.store.sessions(&[session])).await else { return true };
            if found.iter().any(|found| found.is_ended || !found.bindings.is_empty()) {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.refresh(session).await
    }

    /// The same for a session that is known here: others may have changed what its client has set.
    pub async fn refresh(&self, session: SessionId) -> bool {
        let Some(found) = self.ask(self.store.sessions(&[session])).await else { return true };
        let Some(found) = found.into_iter().next() else { return true };
        self.take_in(session, &found)
    }

    /// The same for a session of which it is not known whether it is one.
    pub async fn look_up(&self, session: SessionId) {
        if self.bindings.is_learned(session) {
            return;
        }
        let Some(found) = self.ask(self.store.sessions(&[session])).await else { return };
        if let Some(found) = found.first().filter(|found| !found.bindings.is_empty()) {
            self.take_in(session, found);
        }
    }

    /// The same for several.
    pub async fn learn_all(&self, sessions: &[SessionId]) {
        let Some(found) = self.ask(self.store.sessions(sessions)).await else { return };
        for (session, found) in sessions.iter().zip(&found) {
            self.take_in(*session, found);
        }
    }

    fn take_in(&self, session: SessionId, found: &SharedSession) -> bool {
        if found.is_ended {
            self.ended_elsewhere(session, UnixMillis::now().plus(MAX_AGE));
            return false;
        }
        for (server, binding) in &found.bindings {
            self.adopt(session, server, binding);
        }
        // What was set here and is not written yet is newer.
        if !self.changes.has(session)
            && let Some(text) = &found.settings
            && let Some(text) = self.keys.open_shared(SETTINGS, session, text)
            && let Some(settings) = SessionSettings::read(&text)
        {
            self.bindings.set_settings(session, &settings);
        }
        self.bindings.learned(session);
        true
    }

    /// Binds the server to `node` if nobody has bound it to another one meanwhile. `seen` is the
    /// epoch of a binding that was given up since the session was last looked at. It `is_news` to
    /// the others unless nobody but this process can know the session.
    pub async fn claim(
        &self,
        session: SessionId,
        server: &ServerName,
        (previous, seen): (Option<&NodeId>, Option<Epoch>),
        node: &NodeId,
        is_news: bool,
    ) -> Holder {
        let claim = match self.bindings.draft(session, server, (previous, seen), node) {
            Ok(claim) => SharedClaim { is_news, ..claim },
            Err(bound) => return Holder::Node(bound),
        };
        let asked = self.ask(self.store.claim(std::slice::from_ref(&claim))).await;
        let holder = match asked.and_then(|claimed| claimed.into_iter().next()) {
            Some(Claimed::Ended) => {
                let until = UnixMillis::now().plus(MAX_AGE);
                self.ended_elsewhere(session, until);
                return Holder::Ended;
            }
            Some(Claimed::Lost(winner)) => {
                self.adopt(session, server, &winner);
                winner.node
            }
            // While the store is away, this is written once it is back.
            Some(Claimed::Kept) | None => {
                if self.bindings.epoch(session, server) < Some(claim.binding.epoch) {
                    self.bindings.adopt(session, server, &claim.binding, true);
                    // To be claimed once the store is back.
                    self.changes.note(session);
                }
                claim.binding.node
            }
        };
        Holder::Node(self.bindings.look(session, server).unwrap_or(holder))
    }

    /// Ends a session for all coordinators.
    pub async fn end(&self, session: SessionId, until: UnixMillis) {
        if self.ask(self.store.end(&[(session, until)])).await.is_none() {
            self.standing.owes_ends();
        }
    }

    /// Keeps the large parameters of a session that begins, or of one that is `used`.
    pub async fn keep_params(&self, session: SessionId, params: &Bytes, used: Option<UnixMillis>) {
        let until = used.unwrap_or_else(|| UnixMillis::now().plus(UNUSED));
        let Some(text) = self.keys.seal_shared(PARAMS, session, params) else { return };
        if self.ask(self.store.keep_params(session, text.as_bytes(), until)).await.is_none() {
            self.standing.owes_params();
        }
    }

    /// The large parameters of a session that has begun at another coordinator.
    pub async fn params(&self, session: SessionId) -> Option<Bytes> {
        let text = self.ask(self.store.params(session)).await??;
        self.keys.open_shared(PARAMS, session, &text).map(Bytes::from)
    }

    /// Notes that this coordinator keeps what sets the state of a session's servers.
    pub async fn join_keepers(&self, session: SessionId) {
        if self.ask(self.store.join_keepers(session, &self.name)).await.is_some() {
            self.bindings.note_keeper(session);
        }
    }

    /// What other coordinators keep of the state of a session that began then, each with its name.
    /// `None` if there may be more than can be known.
    pub async fn states_of_others(
        &self,
        session: SessionId,
        began: UnixMillis,
    ) -> Option<Vec<(String, Vec<u8>)>> {
        let mut names = self.ask(self.store.join_keepers(session, "")).await?;
        names.retain(|name| *name != self.name);
        let mut states = Vec::new();
        for name in names {
            let key = state_key(session, &name);
            let sealed = self.ask(self.store.leased(Leased::State, &key)).await??;
            states.push((name, self.keys.open_shared(STATE, &key, &sealed)?));
        }
        (!self.standing.was_emptied_since(began)).then_some(states)
    }

    /// Lets the others have what this coordinator keeps of a session's state. What is too large for
    /// the store they do not get, and know that they lack something.
    pub async fn keep_state(&self, session: SessionId, text: &[u8]) {
        let key = state_key(session, &self.name);
        let Some(sealed) = self.keys.seal_shared(STATE, &key, text) else { return };
        let storing = async {
            if sealed.len() > MAX_VALUE {
                return self.store.let_go(Leased::State, &key).await.map(drop);
            }
            self.store.lease(Leased::State, &key, sealed.as_bytes(), MAX_AGE).await
        };
        self.ask(storing).await;
    }

    /// Takes it back: the session has ended.
    pub async fn forget_state(&self, session: SessionId) {
        self.ask(self.store.let_go(Leased::State, &state_key(session, &self.name))).await;
    }

    /// Tells the others of a loss that the client was not told of here: it may listen there.
    /// `text` is what they have to know to tell it.
    pub fn tell_loss(
        self: &Arc<Self>,
        session: SessionId,
        server: &ServerName,
        text: Option<&[u8]>,
    ) {
        let (server, teller) = (server.clone(), self.teller);
        let sealed = text.and_then(|text| self.keys.seal_shared(LOSS, session, text));
        let sealed = sealed.unwrap_or_default();
        self.tell_in_turn(SharedEvent::Lost(SharedLoss { session, server, teller, sealed }));
    }

    /// What more was told of a loss.
    #[must_use]
    pub fn text_of_loss(&self, loss: &SharedLoss) -> Option<Vec<u8>> {
        self.keys.open_shared(LOSS, loss.session, loss.sealed.as_bytes())
    }

    /// Tells the others that the client knows of its losses: they need not tell it again.
    pub fn tell_told(self: &Arc<Self>, session: SessionId) {
        self.tell_in_turn(SharedEvent::Told(session, self.teller));
    }

    /// Nobody waits for it. What is told first comes first.
    fn tell_in_turn(self: &Arc<Self>, event: SharedEvent) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = this.telling.lock().await;
            this.ask(this.store.tell(&event)).await;
        });
    }

    /// Tells all that a client listens here: the others' streams for it give way. False if that
    /// cannot be told.
    pub async fn tell_listens(&self, session: SessionId, listening: Listening) -> bool {
        let event = SharedEvent::Listens(session, listening);
        self.ask(self.store.tell(&event)).await.is_some()
    }

    /// Leaves what a stream has left for its client to the coordinator that has this stream.
    pub async fn leave_rest(&self, session: SessionId, stream: u32, rest: &[u8]) {
        let Some(text) = self.keys.seal_shared(REST, session, rest) else { return };
        let (store, name) = (&self.store, session.to_string());
        if self.ask(store.lease(Leased::Rest, &name, text.as_bytes(), REST_TIME)).await.is_some() {
            self.ask(store.tell(&SharedEvent::Rest(session, stream))).await;
        }
    }

    /// Takes what another coordinator has left.
    pub async fn take_rest(&self, session: SessionId) -> Option<Vec<u8>> {
        let name = session.to_string();
        let text = self.ask(self.store.leased(Leased::Rest, &name)).await??;
        self.ask(self.store.let_go(Leased::Rest, &name)).await;
        self.keys.open_shared(REST, session, &text)
    }

    /// Has a node called that another coordinator knows.
    pub fn ask_for(&self, node: &NodeId) {
        // If so many are waiting, its coordinator says it again with its next heartbeat.
        let _ = self.notices.try_send(Notice::Event(SharedEvent::Node(node.clone())));
    }

    fn adopt(&self, session: SessionId, server: &ServerName, binding: &SharedBinding) {
        if let Some(left) = self.bindings.adopt(session, server, binding, false) {
            tracing::debug!(
                session = %session.short(), server = %server,
                "session affinity: {} holds it, and {} held it before", binding.node, left.node
            );
            // Beyond the bound it ends when it is idle.
            let _ = self.left.try_send((session, server.clone(), left));
        }
    }

    /// Takes note of a session that has ended at another coordinator, which has closed it.
    fn ended_elsewhere(&self, session: SessionId, until: UnixMillis) {
        self.records.learn_end(session, until.min(UnixMillis::now().plus(MAX_AGE)));
        self.bindings.forget(session);
    }

    /// The store's answer; `None` if it has none, which is noted.
    pub async fn ask<T>(&self, asking: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        // While it is away, nobody waits to learn that.
        if !self.standing.is_fresh() {
            self.standing.note_alone();
            return None;
        }
        match asking.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.standing.lost(&error);
                None
            }
        }
    }
}

/// What a coordinator keeps of a session's state is called so in the store.
fn state_key(session: SessionId, coordinator: &str) -> String {
    format!("{session}/{coordinator}")
}

#[cfg(test)]
mod tests;
