//! A running MCP server for one session, whatever its transport.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::watch;

use crate::net::{Body, Pool};
use crate::protocol::catalog::Discovered;
use crate::protocol::initialize::ClientSet;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::methods;
use crate::protocol::version::Version;
use crate::runner::channel::pipe::LostSignal;
use crate::runner::channel::responses;
use crate::runner::remote::http::RemoteHttp;
use crate::runner::remote::sse::RemoteSse;
use crate::runner::shared_process::lists::CommonLists;
use crate::runner::shared_process::seat::Seat;
use crate::runner::stderr::tail::Line;
use crate::runner::stdio::own_process::Stdio;
use crate::seam::SettingChange;
use crate::streams;
use crate::sync::Locked;

/// Subscriptions of one session that a coordinator is told of.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// What is behind an instance.
pub enum Backend {
    Stdio(Stdio),
    Seat(Seat),
    Http(Box<RemoteHttp>),
    Sse(RemoteSse),
}

pub struct Instance {
    transport: Backend,
    /// The `InitializeResult`, as the server wrote it.
    pub result: Bytes,
    /// What the client can do, by which the server may choose what it offers.
    pub client_set: ClientSet,
    version: Option<Version>,
    /// Whether the server has been told `notifications/initialized`.
    told_initialized: AtomicBool,
    /// Its own lists where they differ from the catalogue, and after how many
    /// changes they were read.
    lists: watch::Sender<(u32, Option<Arc<Discovered>>)>,
    settings: Locked<ClientSettings>,
    /// Tells ids of the gateway's own requests from another gateway's, which may use
    /// this one as a client.
    tag: u32,
    /// Own requests so far.
    asked: AtomicU64,
}

/// What the client has set: a new instance would have to be told.
#[derive(Default)]
struct ClientSettings {
    level: Option<String>,
    subscriptions: BTreeSet<String>,
}

impl Instance {
    /// An instance that has just been opened.
    #[must_use]
    pub fn new(
        transport: Backend,
        result: Bytes,
        client_set: ClientSet,
        version: Option<Version>,
    ) -> Self {
        Self {
            transport,
            result,
            client_set,
            version,
            told_initialized: false.into(),
            lists: watch::Sender::new((0, None)),
            settings: Locked::default(),
            tag: streams::instance(),
            asked: AtomicU64::new(0),
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
            // A server must hear it once, and a repeated open has said it.
            return responses::accepted();
        }
        match &self.transport {
            Backend::Stdio(stdio) => stdio.post(message, envelope, takes_events).await,
            Backend::Seat(seat) => seat.pipe().post(message, envelope, takes_events).await,
            Backend::Sse(remote) => remote.post(message, envelope, takes_events).await,
            Backend::Http(remote) => {
                if !remote.takes(envelope) {
                    return responses::accepted();
                }
                remote.post(pool, message, &[envelope], forwarded, takes_events).await
            }
        }
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
        match &self.transport {
            Backend::Stdio(stdio) => stdio.pipe().post_all(messages, takes_events).await,
            Backend::Seat(seat) => seat.pipe().post_all(messages, takes_events).await,
            Backend::Sse(remote) => remote.pipe().post_all(messages, takes_events).await,
            Backend::Http(remote) => {
                let taken: Vec<_> = messages.iter().filter(|(_, e)| remote.takes(e)).collect();
                let body = if taken.len() == messages.len() { body } else { batch_of(&taken) };
                let envelopes: Vec<&Envelope<'_>> = taken.iter().map(|(_, e)| *e).collect();
                remote.post(pool, body, &envelopes, forwarded, takes_events).await
            }
        }
    }

    /// An id for a request of the gateway's own, which nobody else has.
    #[must_use]
    pub fn own_id(&self) -> String {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        format!("\"mooring-host-{:08x}-{number}\"", self.tag)
    }

    /// Nobody waits for the answer to this request any more: the server is told, if
    /// it has not answered.
    pub fn take_back(&self, id: &str, pool: &Pool) {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.pipe().take_back(id),
            Backend::Seat(seat) => seat.pipe().take_back(id),
            Backend::Sse(remote) => remote.pipe().take_back(id),
            Backend::Http(remote) => remote.take_back(pool, id),
        }
    }

    pub async fn listen(
        &self,
        last_event_id: Option<&HeaderValue>,
        pool: &Pool,
        forwarded: &HeaderMap,
    ) -> Response<Body> {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.listen(last_event_id),
            Backend::Seat(seat) => seat.pipe().listen(last_event_id),
            Backend::Sse(remote) => remote.listen(last_event_id),
            Backend::Http(remote) => remote.listen(pool, last_event_id, forwarded).await,
        }
    }

    /// Ends the session at the server, calls in flight included.
    pub async fn close(&self, pool: &Pool) {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.close(),
            Backend::Seat(seat) => seat.close(),
            Backend::Sse(remote) => remote.close(),
            Backend::Http(remote) => remote.close(pool).await,
        }
    }

    /// Whether batches may be sent (2025-03-26 alone has them).
    #[must_use]
    pub fn takes_batches(&self) -> bool {
        self.version == Some(Version::V2025_03_26)
    }

    /// Whether a call is under way or somebody listens.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.pipe().is_busy(),
            Backend::Seat(seat) => seat.pipe().is_busy(),
            Backend::Sse(remote) => remote.pipe().is_busy(),
            Backend::Http(remote) => remote.is_busy(),
        }
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn is_working(&self) -> bool {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.pipe().is_working(),
            Backend::Seat(seat) => seat.pipe().is_working(),
            Backend::Sse(remote) => remote.pipe().is_working(),
            Backend::Http(remote) => remote.is_working(),
        }
    }

    /// Whether the client waits for updates of resources.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        let settings = self.settings.lock();
        !settings.subscriptions.is_empty()
    }

    /// The child process behind it, if there is one.
    #[must_use]
    pub fn stdio(&self) -> Option<&Stdio> {
        match &self.transport {
            Backend::Stdio(stdio) => Some(stdio),
            Backend::Seat(_) | Backend::Http(_) | Backend::Sse(_) => None,
        }
    }

    /// The last lines of its process on stderr.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.stdio().map(|stdio| stdio.tail().texts()).unwrap_or_default()
    }

    /// Whether the server has gone by itself.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.pipe().is_lost(),
            Backend::Seat(seat) => seat.pipe().is_lost(),
            Backend::Sse(remote) => remote.pipe().is_lost(),
            Backend::Http(remote) => remote.is_lost(),
        }
    }

    /// Tells when the server has gone by itself.
    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.lost_signal(),
            Backend::Seat(seat) => seat.pipe().lost_signal(),
            Backend::Sse(remote) => remote.lost_signal(),
            Backend::Http(remote) => remote.lost_signal(),
        }
    }

    /// Counts the server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> watch::Receiver<u32> {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.pipe().list_changes(),
            Backend::Seat(seat) => seat.pipe().list_changes(),
            Backend::Sse(remote) => remote.pipe().list_changes(),
            Backend::Http(remote) => remote.list_changes(),
        }
    }

    /// The lists that it has in common with others.
    #[must_use]
    pub fn common_lists(&self) -> Option<&CommonLists> {
        match &self.transport {
            Backend::Seat(seat) => Some(seat.lists()),
            Backend::Stdio(_) | Backend::Http(_) | Backend::Sse(_) => None,
        }
    }

    /// The instance's lists have been read; none if they are the catalogue's.
    pub fn set_lists(&self, changes: u32, own: Option<Arc<Discovered>>) {
        self.lists.send_replace((changes, own));
    }

    /// Its own lists where they differ from the catalogue; waits a moment for
    /// lists that have just changed.
    pub async fn own_lists(&self) -> Option<Arc<Discovered>> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let changes = *self.list_changes().borrow();
        let mut lists = self.lists.subscribe();
        let read = lists.wait_for(|(read, _)| *read >= changes);
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(lists)) => lists.1.clone(),
            // Whatever is known will do; the change is announced again.
            Ok(Err(_)) | Err(_) => self.lists.borrow().1.clone(),
        }
    }

    pub fn remember(&self, note: &SettingChange) {
        let mut settings = self.settings.lock();
        match note {
            SettingChange::Level(level) => settings.level = Some(level.clone()),
            SettingChange::Subscribed(uri) if settings.subscriptions.len() < MAX_SUBSCRIPTIONS => {
                settings.subscriptions.insert(uri.clone());
            }
            SettingChange::Subscribed(_) => {}
            SettingChange::Unsubscribed(uri) => {
                settings.subscriptions.remove(uri);
            }
        }
    }

    /// The log level as JSON, and the resources subscribed to.
    #[must_use]
    pub fn settings(&self) -> (Option<String>, Vec<String>) {
        let settings = self.settings.lock();
        (settings.level.clone(), settings.subscriptions.iter().cloned().collect())
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.transport {
            Backend::Stdio(stdio) => Some(stdio.pid()),
            Backend::Seat(seat) => Some(seat.pid()),
            Backend::Http(_) | Backend::Sse(_) => None,
        }
    }

    /// Equal for those that one process serves, for as long as they are there.
    #[must_use]
    pub fn behind(&self) -> *const () {
        match &self.transport {
            Backend::Seat(seat) => seat.process(),
            Backend::Stdio(_) | Backend::Http(_) | Backend::Sse(_) => {
                std::ptr::from_ref(self).cast()
            }
        }
    }

    #[must_use]
    pub fn transport(&self) -> &'static str {
        match &self.transport {
            Backend::Stdio(_) => "stdio",
            Backend::Seat(_) => "stdio, shared",
            Backend::Http(_) => "http",
            Backend::Sse(_) => "sse",
        }
    }

    /// What a child wrote to stderr last, oldest first.
    #[must_use]
    pub fn stderr(&self) -> Vec<Line> {
        match &self.transport {
            Backend::Stdio(stdio) => stdio.tail().lines(),
            // What several sessions' process writes is in the server's log.
            Backend::Seat(_) | Backend::Http(_) | Backend::Sse(_) => Vec::new(),
        }
    }
}

fn batch_of(messages: &[&(Bytes, &Envelope<'_>)]) -> Bytes {
    let texts: Vec<&[u8]> = messages.iter().map(|(message, _)| &message[..]).collect();
    [&b"["[..], &texts.join(&b","[..]), b"]"].concat().into()
}
