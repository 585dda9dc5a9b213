//! One session's instance of a server, whatever the transport.

mod lists;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use tokio::sync::watch;

use crate::model::SUBJECT_TOKEN;
use crate::net::{Body, Pool};
use crate::protocol::catalog::Discovered;
use crate::protocol::initialize::ClientSet;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::log_level::LogLevel;
use crate::protocol::methods;
use crate::protocol::own_id::{Sender, own_id};
use crate::protocol::version::Version;
use crate::runner::bridge::session::Bridged;
use crate::runner::channel::pipe::{LostSignal, Pipe};
use crate::runner::channel::responses;
use crate::runner::remote::http::RemoteHttp;
use crate::runner::remote::sse::RemoteSse;
use crate::runner::shared_process::seat::Seat;
use crate::runner::stderr::tail::Line;
use crate::runner::stdio::own_process::Stdio;
use crate::seam::SettingChange;
use crate::streams;
use crate::sync::Locked;

use self::settings::ClientSettings;
use super::hold::Hold;
use super::served::Served;
use super::unsaved::Unsaved;

/// The transport to the server, and what serves it.
pub enum Backend {
    Stdio(Stdio),
    Seat(Seat),
    Http(Box<RemoteHttp>),
    Sse(RemoteSse),
    /// At a server without sessions.
    Bridged(Bridged),
}

/// A session at a server, open until it is closed or lost.
pub struct Instance {
    backend: Backend,
    /// The `InitializeResult`, as the server wrote it.
    pub result: Bytes,
    /// The client's capabilities, on which the server's offer may depend.
    pub client_set: ClientSet,
    version: Option<Version>,
    /// The settings that it was opened with.
    pub made_with: Arc<Served>,
    /// Since when its server has other settings, or is gone.
    outdated: Locked<Option<Instant>>,
    /// Whether the server has got `notifications/initialized`.
    told_initialized: AtomicBool,
    /// Whether it renews a session that its server had ended while nothing was lost.
    renews: AtomicBool,
    hold: Hold,
    /// What the edge has yet to save of it.
    pub unsaved: Unsaved,
    /// After how many changes the lists were last read, and the lists if they differ
    /// from the catalog.
    lists: watch::Sender<(u32, Option<Arc<Discovered>>)>,
    settings: Locked<ClientSettings>,
    /// The number of the gateway's next own request. It begins at random: the client may be another
    /// gateway, whose ids must differ.
    asked: AtomicU64,
}

/// How messages reach the server: over one pipe each way, or with a request each.
enum Channel<'a> {
    Pipe(&'a Arc<Pipe>),
    Http(&'a RemoteHttp),
}

impl Instance {
    /// An instance that has just been opened.
    #[must_use]
    pub fn new(
        backend: Backend,
        result: Bytes,
        client_set: ClientSet,
        version: Option<Version>,
        made_with: Arc<Served>,
    ) -> Self {
        Self {
            backend,
            result,
            client_set,
            version,
            made_with,
            outdated: Locked::default(),
            told_initialized: false.into(),
            renews: false.into(),
            hold: Hold::default(),
            unsaved: Unsaved::default(),
            lists: watch::Sender::new((0, None)),
            settings: Locked::default(),
            asked: AtomicU64::new(streams::instance().into()),
        }
    }

    /// Its server has other settings by now, or is gone: notes it, and returns since when.
    pub fn outdate(&self) -> Instant {
        *self.outdated.lock().get_or_insert_with(Instant::now)
    }

    /// Its server has the settings again that it was opened with.
    pub fn note_up_to_date(&self) {
        *self.outdated.lock() = None;
    }

    /// Whether it can go on where its server has these settings now.
    #[must_use]
    pub fn goes_on_with(&self, now: &Arc<Served>) -> bool {
        Arc::ptr_eq(&self.made_with, now) || self.made_with.goes_on_with(now)
    }

    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.outdated.lock().is_some()
    }

    fn channel(&self) -> Channel<'_> {
        match &self.backend {
            Backend::Stdio(stdio) => Channel::Pipe(stdio.pipe()),
            Backend::Seat(seat) => Channel::Pipe(seat.pipe()),
            Backend::Sse(remote) => Channel::Pipe(remote.pipe()),
            Backend::Bridged(bridged) => Channel::Pipe(bridged.pipe()),
            Backend::Http(remote) => Channel::Http(remote),
        }
    }

    /// Sends one message of the session.
    pub async fn post(
        &self,
        message: Bytes,
        envelope: &Envelope<'_>,
        takes_events: bool,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        if envelope.kind() == Kind::Notification
            && envelope.method() == methods::INITIALIZED
            && self.told_initialized.swap(true, Ordering::AcqRel)
        {
            // A server must get it once only, and an open may have sent it already.
            return responses::accepted();
        }
        match self.channel() {
            Channel::Pipe(pipe) => {
                self.pass(forwarded);
                let subject = self.subject(forwarded);
                pipe.post_all(&[(message, envelope)], takes_events, subject).await
            }
            Channel::Http(remote) => {
                if !remote.takes(envelope) {
                    return responses::accepted();
                }
                remote.post(pool, message, &[envelope], forwarded, takes_events).await
            }
        }
    }

    /// Keeps the client's headers for a server that gets each message as a request of its own.
    fn pass(&self, forwarded: &HeaderMap) {
        if let Backend::Bridged(bridged) = &self.backend {
            bridged.pass(forwarded);
        }
    }

    /// The token of a message's client, which counts for this message, where messages wait in one queue.
    fn subject<'h>(&self, forwarded: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let name =
            if self.made_with.logs_in { header::AUTHORIZATION.as_str() } else { SUBJECT_TOKEN };
        forwarded.get(name).filter(|_| matches!(self.backend, Backend::Sse(_)))
    }

    /// Sends messages that came together; `body` is all of them.
    pub async fn post_all(
        &self,
        body: Bytes,
        messages: &[(Bytes, &Envelope<'_>)],
        takes_events: bool,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        match self.channel() {
            Channel::Pipe(pipe) => {
                self.pass(forwarded);
                pipe.post_all(messages, takes_events, self.subject(forwarded)).await
            }
            Channel::Http(remote) => {
                let taken: Vec<_> = messages.iter().filter(|(_, e)| remote.takes(e)).collect();
                let body = if taken.len() == messages.len() { body } else { batch_of(&taken) };
                let envelopes: Vec<&Envelope<'_>> = taken.iter().map(|(_, e)| *e).collect();
                remote.post(pool, body, &envelopes, forwarded, takes_events).await
            }
        }
    }

    /// A new id for a request of the gateway's own, which no request in flight has.
    #[must_use]
    pub fn own_id(&self) -> String {
        loop {
            let id = own_id(Sender::Runner, self.asked.fetch_add(1, Ordering::Relaxed));
            let is_taken = match self.channel() {
                Channel::Pipe(pipe) => pipe.has_in_flight(&id),
                Channel::Http(remote) => remote.has_in_flight(&id),
            };
            if !is_taken {
                return id;
            }
        }
    }

    /// Cancels a request of the gateway's own, if the server has not answered it.
    pub fn take_back(&self, id: &str, pool: &Pool) {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.take_back(id),
            Channel::Http(remote) => remote.take_back(pool, id),
        }
    }

    /// The GET stream, or the rest of the stream that the client resumes.
    pub async fn listen(
        &self,
        last_event_id: Option<&HeaderValue>,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.listen(last_event_id),
            Channel::Http(remote) => remote.listen(pool, last_event_id, forwarded).await,
        }
    }

    /// Hears what the server sends outside of requests, from now on.
    pub fn hear(&self, pool: &Pool) {
        if let Channel::Http(remote) = self.channel() {
            remote.hear(pool, &HeaderMap::new());
        }
    }

    /// Hears from now on what the server asks outside of the responses to requests, for a client that
    /// opens no GET stream.
    pub async fn hear_questions(&self, pool: &Pool, forwarded: &HeaderMap) {
        if let Channel::Http(remote) = self.channel() {
            remote.hear_questions(pool, forwarded).await;
        }
    }

    /// Ends the session at the server, calls in flight included.
    pub async fn close(&self, pool: &Pool) {
        match &self.backend {
            Backend::Stdio(stdio) => stdio.close(),
            Backend::Seat(seat) => seat.close(),
            Backend::Sse(remote) => remote.close(),
            Backend::Bridged(bridged) => bridged.close(),
            Backend::Http(remote) => remote.close(pool).await,
        }
    }

    /// Forgets streams that nobody came back to.
    pub fn sweep(&self) {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.sweep(),
            Channel::Http(remote) => remote.sweep(),
        }
    }

    /// Whether batches may be sent (2025-03-26 alone has them).
    #[must_use]
    pub fn takes_batches(&self) -> bool {
        self.version == Some(Version::V2025_03_26)
    }

    /// Whether a call is under way, or a client listens to the GET stream.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.is_busy(),
            Channel::Http(remote) => remote.is_busy(),
        }
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn is_working(&self) -> bool {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.is_working(),
            Channel::Http(remote) => remote.is_working(),
        }
    }

    /// Whether the server waits for an answer of the client.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.is_asked(),
            Channel::Http(remote) => remote.is_asked(),
        }
    }

    /// Whether something is lost with the instance that the session's next one does not have. A
    /// shared process has nothing of one session, and a remote server without a session neither.
    #[must_use]
    pub fn holds_state(&self) -> bool {
        match &self.backend {
            Backend::Stdio(_) | Backend::Sse(_) => true,
            Backend::Seat(_) | Backend::Bridged(_) => false,
            Backend::Http(remote) => remote.has_session(),
        }
    }

    /// Whether a new instance has everything that this one has: its server knows no sessions.
    #[must_use]
    pub fn loses_nothing(&self) -> bool {
        matches!(self.backend, Backend::Bridged(_))
    }

    /// Whether the client has subscribed to resources.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        self.settings.lock().is_subscribed()
    }

    /// The child process, if the instance has one for itself.
    #[must_use]
    pub fn stdio(&self) -> Option<&Stdio> {
        match &self.backend {
            Backend::Stdio(stdio) => Some(stdio),
            Backend::Seat(_) | Backend::Http(_) | Backend::Sse(_) | Backend::Bridged(_) => None,
        }
    }

    /// The last stderr lines of its own process.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.stdio().map(|stdio| stdio.tail().texts()).unwrap_or_default()
    }

    /// Whether the server is gone, or has forgotten the session.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.is_lost(),
            Channel::Http(remote) => remote.is_lost(),
        }
    }

    /// Notes that it renews a session which its server had ended while nothing was lost.
    pub fn mark_renewal(&self) {
        self.renews.store(true, Ordering::Release);
    }

    /// Keeps the client's messages from it until its state is back, or no more.
    pub fn hold(&self, is_held: bool) {
        self.hold.set(is_held);
        match self.channel() {
            Channel::Pipe(pipe) => pipe.restore(is_held),
            Channel::Http(remote) => remote.restore(is_held),
        }
    }

    /// Whether only messages of a restoration reach it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.is_set()
    }

    /// Notes that a restoration has begun. Returns whether it is the first one.
    pub fn begin_restoration(&self) -> bool {
        self.hold.begin()
    }

    /// Whether the server has asked something since this was last asked, while it was held.
    pub fn take_asked(&self) -> bool {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.take_asked(),
            Channel::Http(remote) => remote.take_asked(),
        }
    }

    /// Whether a stream is resumed after this event: one of its own, or of a request.
    #[must_use]
    pub fn resumes_after(&self, event: &HeaderValue) -> bool {
        match self.channel() {
            Channel::Pipe(_) => true,
            Channel::Http(remote) => remote.resumes_after(event),
        }
    }

    #[must_use]
    pub fn is_renewal(&self) -> bool {
        self.renews.load(Ordering::Acquire)
    }

    /// Whether a remote server has ended the session while nothing of it was under way.
    #[must_use]
    pub fn was_left_idle(&self) -> bool {
        match self.channel() {
            Channel::Pipe(_) => false,
            Channel::Http(remote) => remote.was_left_idle(),
        }
    }

    /// Whether nothing more comes from the server: it is gone, or has closed its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let has_closed = match self.channel() {
            Channel::Pipe(pipe) => pipe.has_ended(),
            Channel::Http(_) => false,
        };
        has_closed || self.is_lost()
    }

    /// Changes when the instance is lost.
    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.lost_signal(),
            Channel::Http(remote) => remote.lost_signal(),
        }
    }

    /// Remembers a setting of the client.
    pub fn remember(&self, note: &SettingChange) {
        self.settings.lock().remember(note);
    }

    /// The log level, and the URIs of the resources subscribed to.
    #[must_use]
    pub fn settings(&self) -> (Option<LogLevel>, Vec<String>) {
        self.settings.lock().all()
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.backend {
            Backend::Stdio(stdio) => Some(stdio.pid()),
            Backend::Seat(seat) => Some(seat.pid()),
            Backend::Bridged(bridged) => bridged.process().map(|(pid, ..)| pid),
            Backend::Http(_) | Backend::Sse(_) => None,
        }
    }

    /// How often the process that its session shares with others has ended by itself before; `None`
    /// for a process of its own.
    #[must_use]
    pub fn restarts(&self) -> Option<u64> {
        match &self.backend {
            Backend::Seat(seat) => Some(seat.restarts()),
            Backend::Bridged(bridged) => bridged.process().map(|(_, restarts, _)| restarts),
            Backend::Stdio(_) | Backend::Http(_) | Backend::Sse(_) => None,
        }
    }

    /// Equal for instances at the same shared process, while they are held.
    #[must_use]
    pub fn behind(&self) -> *const () {
        match &self.backend {
            Backend::Seat(seat) => seat.process(),
            Backend::Bridged(bridged) => {
                let own = || std::ptr::from_ref(self).cast();
                bridged.process().map_or_else(own, |(_, _, process)| process)
            }
            Backend::Stdio(_) | Backend::Http(_) | Backend::Sse(_) => {
                std::ptr::from_ref(self).cast()
            }
        }
    }

    #[must_use]
    pub fn transport(&self) -> &'static str {
        match &self.backend {
            Backend::Stdio(_) => "stdio",
            Backend::Seat(_) => "stdio, shared",
            Backend::Http(_) => "http",
            Backend::Sse(_) => "sse",
            Backend::Bridged(bridged) if bridged.process().is_some() => "stdio, shared",
            Backend::Bridged(_) => "http",
        }
    }

    /// The last stderr lines of its own process, oldest first.
    #[must_use]
    pub fn stderr(&self) -> Vec<Line> {
        // What a shared process writes is in the server's log.
        self.stdio().map(|stdio| stdio.tail().lines()).unwrap_or_default()
    }
}

fn batch_of(messages: &[&(Bytes, &Envelope<'_>)]) -> Bytes {
    let texts: Vec<&[u8]> = messages.iter().map(|(message, _)| &message[..]).collect();
    [&b"["[..], &texts.join(&b","[..]), b"]"].concat().into()
}
