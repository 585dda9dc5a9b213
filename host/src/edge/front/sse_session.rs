//! HTTP+SSE sessions. Each lives while its client reads the stream.
//!
//! ```text
//! Waiting ── initialize ──▶ Opening ── its result ──▶ Open
//!    ▲                        │
//!    └──────── refused ───────┘
//! ```
//!
//! In each of these stages the session is over when the client leaves or the gateway drains. A
//! task that works for the session holds a slot of it. The session is ended at its servers once
//! all slots are free, so that no task opens it there again afterwards.
//!
//! A POST may reach another worker than the one with the stream, so the table is shared. Messages
//! that the client has not read wait in a queue with a limit in messages and one in bytes; a task
//! that adds to a full queue waits.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use crate::edge::connection::unread::Unread;
use crate::edge::session::client_session::Session;
use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::initialize::Granted;
use crate::protocol::seal::KeyRing;
use crate::protocol::version::Version;
use crate::protocol::{splice, sse};
use crate::sync::{Locked, Signal};

/// Most messages that wait for one client to read them.
const QUEUE: usize = 64;
/// Most notifications and responses of one client on their way to servers at once. The task that
/// listens to the servers counts as one.
const ASIDES: u32 = 64;
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

/// All sessions of this process whose stream is open.
#[derive(Default)]
pub struct SseSessions {
    open: Locked<HashMap<SessionId, Arc<SseSession>>>,
}

/// A stream that has just been opened.
pub struct OpenedStream {
    pub live: Arc<SseSession>,
    /// The body of the response to the client.
    pub events: ClientStream,
    /// Ends the stream when it is dropped.
    pub last: oneshot::Sender<()>,
}

impl SseSessions {
    /// Opens a stream; `None` if no id can be sealed for it.
    pub fn open(
        &self,
        keys: &KeyRing,
        scope: Scope,
        principal: Principal,
        bounds: SessionBounds,
    ) -> Option<OpenedStream> {
        let (id, minted_at) = (SessionId::mint(), UnixMillis::now());
        let sealed = keys.seal_stream(id, minted_at, &scope, &principal)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (last, is_last) = oneshot::channel();
        let room = Arc::new(Semaphore::new(bounds.bytes as usize));
        let live = Arc::new(SseSession {
            id,
            minted_at,
            scope,
            principal,
            stage: Locked::new(SessionStage::Waiting),
            is_fed: AtomicBool::new(false),
            queue: sender,
            room,
            unread: bounds.unread,
            list_turn: Semaphore::new(1),
            requests: SlotCount::new(bounds.requests),
            asides: SlotCount::new(ASIDES),
            bytes: bounds.bytes,
            over: Signal::default(),
        });
        self.locked(|open| open.insert(id, Arc::clone(&live)));
        let events = ClientStream {
            // A path alone: clients refuse an endpoint of another origin, and the gateway does not
            // know its public one.
            first: Some(sse::endpoint(&format!(
                "{}/messages?sessionId={sealed}",
                bounds.base_path
            ))),
            queue: receiver,
            last: is_last,
            keep_alive: bounds.keep_alive,
            silence: Box::pin(tokio::time::sleep(bounds.keep_alive)),
        };
        Some(OpenedStream { live, events, last })
    }

    /// The session that an id in a URL names. `None` for every reason alike, so that a client that
    /// guesses learns nothing.
    pub fn find(
        &self,
        keys: &KeyRing,
        text: &str,
        principal: &Principal,
    ) -> Option<Arc<SseSession>> {
        let id = keys.open_stream(text)?;
        let live = self.locked(|open| open.get(&id.session).cloned())?;
        id.is_of(&live.scope, principal).then_some(live)
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

/// A session whose stream is open.
pub struct SseSession {
    pub id: SessionId,
    minted_at: UnixMillis,
    pub scope: Scope,
    principal: Principal,
    stage: Locked<SessionStage>,
    /// Whether a task listens to its servers.
    is_fed: AtomicBool,
    /// Closed once the client has left.
    queue: mpsc::Sender<Waiting>,
    /// A permit for each byte that may still be added to the queue.
    room: Arc<Semaphore>,
    /// All permits of `room`.
    bytes: u32,
    unread: Arc<Unread>,
    /// Held while a list is made and put onto the stream.
    list_turn: Semaphore,
    requests: SlotCount,
    asides: SlotCount,
    /// Raised when work for the session has to stop.
    over: Signal,
}

/// The client has left, or the session is over for another reason.
#[derive(Debug)]
pub struct StreamGone;

/// Why a message gets no slot.
#[derive(Debug)]
pub enum NoPlace {
    /// All slots, this many, stayed in use for [`PLACE_TIMEOUT`].
    Taken(u32),
    /// The session is over.
    Over,
}

impl SseSession {
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
                is_single_server,
                has_id: false,
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
                    let session = Session { version, named, ..Session::clone(&session) };
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

    /// Claims the task of listening to the servers. True for the first caller only.
    pub fn claim_feeding(&self) -> bool {
        !self.is_fed.swap(true, Ordering::Relaxed)
    }

    /// Puts a message onto the stream. Waits while the queue is full.
    pub async fn send(&self, message: Bytes) -> Result<(), StreamGone> {
        let event = self.unread.counted(sse::event(&splice::on_one_line(message)));
        // A message that is larger than the whole room takes all of it.
        let weight = u32::try_from(event.len()).unwrap_or(u32::MAX).min(self.bytes);
        let room =
            Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_| StreamGone)?;
        self.queue.send(Waiting { event, _room: room }).await.map_err(|_| StreamGone)
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

    /// Waits until the client has left.
    pub async fn left(&self) {
        self.queue.closed().await;
    }

    /// Waits until the session is over, so that work for it is of no use any more.
    pub async fn over(&self) {
        let mut over = self.over.watch();
        tokio::select! {
            () = self.queue.closed() => {}
            () = over.raised() => {}
        }
    }

    /// Waits until all requests have been answered.
    pub async fn answered(&self) {
        let _ = self.requests.all().await;
    }

    /// Stops all work for the session. When it returns, all slots are free and none can be taken.
    pub async fn stop(&self) {
        self.over.raise();
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

    async fn all(&self) -> Result<(), tokio::sync::AcquireError> {
        self.semaphore.acquire_many(self.count).await.map(drop)
    }
}

/// An event, and the room that it takes until the client's connection takes it.
struct Waiting {
    event: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The stream that the client reads: the endpoint's address first, then every message. Dropped
/// with the client's connection.
pub struct ClientStream {
    first: Option<Bytes>,
    queue: mpsc::Receiver<Waiting>,
    /// Resolves when the stream has to end; messages that wait are sent first.
    last: oneshot::Receiver<()>,
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
}

impl Stream for ClientStream {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Poll::Ready(waiting) = this.queue.poll_recv(cx) {
            this.silence.as_mut().reset(Instant::now() + this.keep_alive);
            return Poll::Ready(waiting.map(|waiting| waiting.event));
        }
        if Pin::new(&mut this.last).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if this.silence.as_mut().poll(cx).is_ready() {
            this.silence.as_mut().reset(Instant::now() + this.keep_alive);
            return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
        }
        Poll::Pending
    }
}
