//! HTTP+SSE sessions. Each lives while its client has a stream, and for a moment after.
//!
//! ```text
//! Waiting ── initialize ──▶ Opening ── its result ──▶ Open
//!    ▲                        │                        ▲
//!    └──────── refused ───────┘      a stream of it comes back
//! ```
//!
//! In each of these stages the session is over when the client stays away or the gateway drains. A
//! task that works for the session holds a slot of it. The session is ended at its servers once
//! all slots are free, so that no task opens it there again afterwards.
//!
//! A POST may reach another worker than the one with the stream, so the table is shared.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};

use crate::edge::connection::unread::Unread;
use crate::edge::session::client_session::{Origin, Session};
use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::initialize::Granted;
use crate::protocol::seal::KeyRing;
use crate::protocol::seal::stream_id::StreamId;
use crate::protocol::sse;
use crate::protocol::version::Version;
use crate::sync::{Locked, Signal};

use super::sse_stream::{ClientStream, Outbox, StreamGone};

/// Most notifications and responses of one client on their way to servers at once. The task that
/// listens to the servers counts as one.
const ASIDES: u32 = 64;
/// Milliseconds after which a client is asked to come back when its stream breaks off.
const RECONNECT_MS: u64 = 1000;
/// Longest wait for a free slot; then the message is refused.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of one session.
#[derive(Debug, Clone)]
pub struct SessionBounds {
    /// Most requests in progress at once.
    pub requests: u32,
    /// Most bytes that wait for the client to read them.
    pub bytes: u32,
    /// Silence after which a keep-alive comment is sent.
    pub keep_alive: Duration,
    /// Counts what clients have not read, of all sessions.
    pub unread: Arc<Unread>,
    /// What stands in front of the path that the client posts to.
    pub base_path: String,
}

/// All sessions of this process that have a stream, or had one a moment ago.
#[derive(Default)]
pub struct SseSessions {
    open: Locked<HashMap<SessionId, Arc<SseSession>>>,
    /// Counts the sessions that came back, and those that were the only one.
    came: watch::Sender<u64>,
}

impl SseSessions {
    /// A session that has yet to be initialized.
    pub fn open(
        &self,
        scope: Scope,
        principal: Principal,
        bounds: SessionBounds,
    ) -> Arc<SseSession> {
        let (id, minted_at) = (SessionId::mint(), UnixMillis::now());
        let live = SseSession::new((id, minted_at), scope, principal, bounds);
        let is_first = self.locked(|open| {
            open.insert(id, Arc::clone(&live));
            open.len() == 1
        });
        if is_first {
            self.note_change();
        }
        live
    }

    /// The session to which a client comes back; true if it has to be made known again, since this
    /// process does not have it any more.
    pub fn come_back(
        &self,
        session: Session,
        scope: Scope,
        bounds: SessionBounds,
    ) -> (Arc<SseSession>, bool) {
        let (live, is_new) = self.locked(|open| match open.entry(session.id) {
            Entry::Occupied(known) => (Arc::clone(known.get()), false),
            Entry::Vacant(place) => {
                let ids = (session.id, session.minted_at);
                let live = SseSession::new(ids, scope, session.principal.clone(), bounds);
                *live.stage.lock() = SessionStage::Open(Arc::new(session));
                live.is_returned.store(true, Ordering::Relaxed);
                (Arc::clone(place.insert(live)), true)
            }
        });
        if is_new {
            self.note_change();
        }
        (live, is_new)
    }

    fn note_change(&self) {
        self.came.send_modify(|count| *count += 1);
    }

    /// The sessions that have come back to this process from another one, or from its start before.
    /// `None` if it has no session at all.
    #[must_use]
    pub fn returned(&self) -> Option<Vec<SessionId>> {
        self.locked(|open| {
            let is_returned = |live: &&Arc<SseSession>| live.is_returned.load(Ordering::Relaxed);
            let returned = || open.values().filter(is_returned).map(|live| live.id).collect();
            (!open.is_empty()).then(returned)
        })
    }

    /// Changes when a session has come back, and when there is one after there was none.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.came.subscribe()
    }

    /// The session that an id in a URL names. `None` for every reason alike, so that a client that
    /// guesses learns nothing.
    pub fn find(&self, id: &StreamId, principal: &Principal) -> Option<Arc<SseSession>> {
        let live = self.locked(|open| open.get(&id.session).cloned())?;
        id.is_of(&live.scope, principal).then_some(live)
    }

    /// Sessions whose clients wait for answers.
    pub fn answering(&self) -> usize {
        let waits = |live: &&Arc<SseSession>| live.requests.is_in_use();
        self.locked(|open| open.values().filter(waits).count())
    }

    /// The same, and waits until the session's client has come back with its stream.
    pub async fn wait_for(
        &self,
        id: &StreamId,
        principal: &Principal,
        patience: Duration,
    ) -> Option<Arc<SseSession>> {
        let mut came = self.came.subscribe();
        let waiting = async {
            loop {
                came.borrow_and_update();
                if let Some(live) = self.find(id, principal) {
                    return Some(live);
                }
                came.changed().await.ok()?;
            }
        };
        tokio::time::timeout(patience, waiting).await.ok().flatten()
    }

    /// Whether a session is here. It has a stream, or had one a moment ago.
    #[must_use]
    pub fn has(&self, id: SessionId) -> bool {
        self.locked(|open| open.contains_key(&id))
    }

    pub fn remove(&self, id: SessionId) {
        self.locked(|open| {
            open.remove(&id);
            if open.len() * 4 < open.capacity() {
                open.shrink_to_fit();
            }
        });
    }

    fn locked<T>(&self, with: impl FnOnce(&mut HashMap<SessionId, Arc<SseSession>>) -> T) -> T {
        with(&mut self.open.lock())
    }
}

/// The stage of a session; see the top of this module.
enum SessionStage {
    /// The client has not sent `initialize`.
    Waiting,
    /// Its `initialize` is in progress.
    Opening(Arc<Session>),
    Open(Arc<Session>),
}

/// A session that has a stream, or had one a moment ago.
pub struct SseSession {
    pub id: SessionId,
    minted_at: UnixMillis,
    pub scope: Scope,
    principal: Principal,
    /// What stands in front of the path that the client posts to.
    base_path: String,
    stage: Locked<SessionStage>,
    /// Whether it began at another process.
    is_returned: AtomicBool,
    /// Whether a task listens to its servers.
    is_fed: AtomicBool,
    /// Whether a message came after `initialize`.
    is_used: AtomicBool,
    /// What the client reads.
    pub outbox: Arc<Outbox>,
    /// Held while a list is made and put onto the stream.
    list_turn: Semaphore,
    requests: SlotCount,
    asides: SlotCount,
    /// Raised when work for the session has to stop.
    over: Signal,
}

/// Why a message gets no slot.
#[derive(Debug)]
pub enum NoPlace {
    /// All slots, this many, stayed in use for [`PLACE_TIMEOUT`].
    Taken(u32),
    /// The session is over.
    Over,
}

impl SseSession {
    fn new(
        (id, minted_at): (SessionId, UnixMillis),
        scope: Scope,
        principal: Principal,
        bounds: SessionBounds,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            minted_at,
            scope,
            principal,
            base_path: bounds.base_path,
            stage: Locked::new(SessionStage::Waiting),
            is_returned: AtomicBool::new(false),
            is_fed: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            outbox: Outbox::new(bounds.bytes, bounds.unread, bounds.keep_alive),
            list_turn: Semaphore::new(1),
            requests: SlotCount::new(bounds.requests),
            asides: SlotCount::new(ASIDES),
            over: Signal::default(),
        })
    }

    /// A stream of the client, whose events name the session by `name`, if it has one already.
    /// `None` if no address can be sealed for it.
    pub fn stream(&self, keys: &KeyRing, name: Option<&str>) -> Option<ClientStream> {
        let Self { id, minted_at, scope, principal, .. } = self;
        let sealed = keys.seal_stream(*id, *minted_at, scope, principal)?;
        let unnamed = match name {
            Some(name) => name.to_owned(),
            None => keys.seal_unnamed_event(*id, *minted_at, scope, principal)?,
        };
        // A path alone: clients refuse an endpoint of another origin, and the gateway does not know
        // its public one.
        let path = format!("{}/messages?sessionId={sealed}", self.base_path);
        let first = sse::endpoint(&path, &unnamed, RECONNECT_MS);
        Some(self.outbox.stream(first))
    }

    /// Takes the parameters of the client's `initialize`. `None` if it has sent one before.
    pub fn initialize(&self, params: Bytes, is_single_server: bool) -> Option<Arc<Session>> {
        self.locked(|stage| {
            let SessionStage::Waiting = stage else { return None };
            let session = Arc::new(Session {
                id: self.id,
                minted_at: self.minted_at,
                principal: self.principal.clone(),
                // Replaced once a revision has been negotiated.
                version: Version::LATEST,
                named: None,
                params,
                set: OnceLock::new(),
                is_single_server,
                has_id: false,
                of_stream: true,
                origin: Origin::Client,
            });
            *stage = SessionStage::Opening(Arc::clone(&session));
            Some(session)
        })
    }

    /// Ends the `initialize` with the negotiated revision. Without one it was refused, and the
    /// client may send another.
    pub fn initialized(&self, granted: Option<&Granted>) {
        self.locked(|stage| {
            *stage = match (std::mem::replace(stage, SessionStage::Waiting), granted) {
                (SessionStage::Opening(session) | SessionStage::Open(session), Some(granted)) => {
                    let (version, named) = (granted.version, granted.named.as_deref());
                    let named = named.map(Into::into);
                    let session =
                        Session { version, named, has_id: true, ..Session::clone(&session) };
                    SessionStage::Open(Arc::new(session))
                }
                _ => SessionStage::Waiting,
            };
        });
    }

    /// The session; `None` before `initialize`.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.locked(|stage| match stage {
            SessionStage::Waiting => None,
            SessionStage::Opening(session) | SessionStage::Open(session) => {
                Some(Arc::clone(session))
            }
        })
    }

    pub fn is_open(&self) -> bool {
        self.locked(|stage| matches!(stage, SessionStage::Open(_)))
    }

    /// The session, for the first caller after it has begun only.
    pub fn first_use(&self) -> Option<Arc<Session>> {
        if self.is_used.load(Ordering::Relaxed) || !self.is_open() {
            return None;
        }
        self.session().filter(|_| !self.is_used.swap(true, Ordering::Relaxed))
    }

    /// Claims the task of listening to the servers. True for the first caller only.
    pub fn claim_feeding(&self) -> bool {
        !self.is_fed.swap(true, Ordering::Relaxed)
    }

    /// Puts a message onto the stream. Waits while the queue is full.
    pub async fn send(&self, message: Bytes) -> Result<(), StreamGone> {
        self.outbox.send(message).await
    }

    /// A turn to make a list and put it onto the stream. One at a time: a few bytes can ask for a
    /// large list hundreds of times.
    pub async fn list_turn(&self) -> Option<SemaphorePermit<'_>> {
        // An error would mean that the semaphore was closed, which it never is.
        self.list_turn.acquire().await.ok()
    }

    /// A slot for a request, held until it is answered.
    pub async fn request(&self) -> Result<RequestSlot, NoPlace> {
        self.place(&self.requests).await
    }

    /// A slot for a message that gets no answer. These have slots of their own, since a server may
    /// wait for such a message before it answers requests.
    pub async fn aside(&self) -> Result<RequestSlot, NoPlace> {
        self.place(&self.asides).await
    }

    async fn place(&self, places: &SlotCount) -> Result<RequestSlot, NoPlace> {
        tokio::select! {
            place = places.take() => place,
            () = self.over() => Err(NoPlace::Over),
        }
    }

    /// Waits until the session is over, so that work for it is of no use any more.
    pub async fn over(&self) {
        self.over.watch().raised().await;
    }

    /// Waits until all requests have been answered.
    pub async fn answered(&self) {
        let _ = self.requests.all().await;
    }

    /// Stops all work for the session. When it returns, all slots are free and none can be taken.
    pub async fn stop(&self) {
        self.over.raise();
        self.outbox.close();
        for places in [&self.requests, &self.asides] {
            let _ = places.all().await;
            places.semaphore.close();
        }
    }

    fn locked<T>(&self, with: impl FnOnce(&mut SessionStage) -> T) -> T {
        with(&mut self.stage.lock())
    }
}

/// A slot, held by a task while it works for a session.
pub struct RequestSlot {
    _permit: OwnedSemaphorePermit,
}

/// The slots for one kind of message.
struct SlotCount {
    semaphore: Arc<Semaphore>,
    count: u32,
}

impl SlotCount {
    fn new(count: u32) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(count as usize)), count }
    }

    async fn take(&self) -> Result<RequestSlot, NoPlace> {
        let free = Arc::clone(&self.semaphore).acquire_owned();
        match tokio::time::timeout(PLACE_TIMEOUT, free).await {
            Ok(Ok(permit)) => Ok(RequestSlot { _permit: permit }),
            Ok(Err(_)) => Err(NoPlace::Over),
            Err(_) => Err(NoPlace::Taken(self.count)),
        }
    }

    fn is_in_use(&self) -> bool {
        self.semaphore.available_permits() < self.count as usize
    }

    async fn all(&self) -> Result<(), tokio::sync::AcquireError> {
        self.semaphore.acquire_many(self.count).await.map(drop)
    }
}
