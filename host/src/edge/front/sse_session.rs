//! Sessions of HTTP+SSE: each lives as long as the client reads its stream.
//!
//! ```text
//! Waiting ── initialize ──▶ Opening ── its result ──▶ Open
//!    ▲                        │
//!    └──────── refused ───────┘
//! ```
//!
//! In any of them the client may leave, or the gateway drain: the session is over
//! then. Whoever works for it holds a place in it; the session is ended at its
//! servers once all places are free, so that nothing opens it again behind that.
//!
//! A POST may come to another worker than the one that has the stream, so the
//! table is shared. What the client does not read waits in a queue that is bounded
//! in messages and in bytes; who wants to add to a full one waits too.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use crate::edge::session::client_session::Session;
use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::seal::KeyRing;
use crate::protocol::version::Version;
use crate::protocol::{splice, sse};
use crate::sync::{Locked, Signal};

/// Messages that wait for one client to read.
const QUEUE: usize = 64;
/// Notifications and answers of one session that are on their way to servers at
/// once, and the stream of what servers say by themselves.
const ASIDES: u32 = 64;
/// A place that does not become free for so long is refused.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of one session the gateway takes.
#[derive(Debug, Clone, Copy)]
pub struct SessionBounds {
    /// Requests under way at once.
    pub requests: u32,
    /// Bytes that wait for the client to read.
    pub bytes: u32,
    /// Silence before a keep-alive comment.
    pub keep_alive: Duration,
}

/// All sessions of this process whose stream is open.
#[derive(Default)]
pub struct SseSessions {
    open: Locked<HashMap<SessionId, Arc<SseSession>>>,
}

/// A stream that has just been opened.
pub struct OpenedStream {
    pub live: Arc<SseSession>,
    /// What the client reads.
    pub events: ClientStream,
    /// Ends the stream when it is dropped.
    pub last: oneshot::Sender<()>,
}

impl SseSessions {
    /// None if no id can be sealed for it.
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
            requests: SlotCount::new(bounds.requests),
            asides: SlotCount::new(ASIDES),
            bytes: bounds.bytes,
            over: Signal::default(),
        });
        self.locked(|open| open.insert(id, Arc::clone(&live)));
        let events = ClientStream {
            // A path: clients refuse another origin, and ours may not be the public one.
            first: Some(sse::endpoint(&format!("/messages?sessionId={sealed}"))),
            queue: receiver,
            last: is_last,
            keep_alive: bounds.keep_alive,
            silence: Box::pin(tokio::time::sleep(bounds.keep_alive)),
        };
        Some(OpenedStream { live, events, last })
    }

    /// The session that an id in a URL names. None for every reason alike.
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

/// How far a session has come.
enum SessionStage {
    /// Nobody has said who the client is.
    Waiting,
    /// Its `initialize` is under way.
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
    is_fed: AtomicBool,
    /// Closed when the client has left.
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    bytes: u32,
    requests: SlotCount,
    asides: SlotCount,
    over: Signal,
}

/// The client has left, or the session is over for another reason.
#[derive(Debug)]
pub struct StreamGone;

/// Why there is no place for a message.
#[derive(Debug)]
pub enum NoPlace {
    /// So many have one, and none has become free in time.
    Taken(u32),
    Over,
}

impl SseSession {
    /// The client says who it is. None if it has said so before.
    pub fn initialize(&self, params: Bytes, is_single_server: bool) -> Option<Arc<Session>> {
        self.locked(|stage| {
            let SessionStage::Waiting = stage else { return None };
            let session = Arc::new(Session {
                id: self.id,
                minted_at: self.minted_at,
                principal: self.principal.clone(),
                // Until the server has said which revision it takes.
                version: Version::LATEST,
                params,
                is_single_server,
            });
            *stage = SessionStage::Opening(Arc::clone(&session));
            Some(session)
        })
    }

    /// What came of it, which is a revision: after a refusal the client may try again.
    pub fn initialized(&self, revision: Option<Version>) {
        self.locked(|stage| {
            *stage = match (std::mem::replace(stage, SessionStage::Waiting), revision) {
                (SessionStage::Opening(session) | SessionStage::Open(session), Some(version)) => {
                    SessionStage::Open(Arc::new(Session { version, ..Session::clone(&session) }))
                }
                _ => SessionStage::Waiting,
            };
        });
    }

    /// The session, as soon as the client has said who it is.
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

    /// True once: for whoever is to bring what servers say by themselves.
    pub fn is_to_be_fed(&self) -> bool {
        !self.is_fed.swap(true, Ordering::Relaxed)
    }

    /// Puts a message onto the stream; waits while the client does not read.
    pub async fn send(&self, message: Bytes) -> Result<(), StreamGone> {
        let event = sse::event(&splice::on_one_line(message));
        // One that is larger than all the room takes all of it.
        let weight = u32::try_from(event.len()).unwrap_or(u32::MAX).min(self.bytes);
        let room =
            Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_| StreamGone)?;
        self.queue.send(Waiting { event, _room: room }).await.map_err(|_| StreamGone)
    }

    /// A place for a request until it is answered.
    pub async fn request(&self) -> Result<RequestSlot, NoPlace> {
        self.place(&self.requests).await
    }

    /// A place for a message that is not answered. They have their own: a server may
    /// wait for one before it answers requests.
    pub async fn aside(&self) -> Result<RequestSlot, NoPlace> {
        self.place(&self.asides).await
    }

    async fn place(&self, places: &SlotCount) -> Result<RequestSlot, NoPlace> {
        tokio::select! {
            place = places.take() => place,
            () = self.over() => Err(NoPlace::Over),
        }
    }

    /// Resolves when the client has left.
    pub async fn left(&self) {
        self.queue.closed().await;
    }

    /// Resolves when work for the session is of no use any more.
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

    /// Ends all work; when it returns, nobody works for the session and nobody will.
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

/// Held by whoever works for a session.
pub struct RequestSlot {
    _permit: OwnedSemaphorePermit,
}

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

/// An event and the room that it takes until the client's connection has it.
struct Waiting {
    event: Bytes,
    _room: OwnedSemaphorePermit,
}

/// What the client reads: the endpoint's address, then whatever comes. Dropped
/// with the client's connection.
pub struct ClientStream {
    first: Option<Bytes>,
    queue: mpsc::Receiver<Waiting>,
    /// Resolves when the stream is to end; what waits is given first.
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
