//! A session at a server that has none: reads what the session sends, as its server would, and
//! answers it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::model::ServerName;
use crate::protocol::era::discovered::{Announced, Marks, initialize_result};
use crate::protocol::era::outgoing::Introduction;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::log_level::LogLevel;
use crate::protocol::methods;
use crate::protocol::splice::{self, RequestTarget};
use crate::runner::channel::message_ids::{cancelled_request, key};
use crate::runner::channel::pipe::Pipe;
use crate::runner::channel::queue::Unwritten;
use crate::runner::channel::sink::MessageSink as _;
use crate::runner::channel::terms::SessionTerms;
use crate::sync::{Locked, Signal, Watcher};

use super::eras::Eras;
use super::questions::Questions;
use super::replaced::REPLACED;
use super::server::ModernServer;
use super::talk::Talk;
use super::tools::ToolHeaders;
use super::{call, listening};

/// Time for requests that a process has not read before it ended.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// A session that the gateway plays.
pub struct Bridged {
    pipe: Arc<Pipe>,
    at: ModernServer,
    /// Raised by `close`; dropping it ends the session too.
    closing: Signal,
}

/// What a session begins with.
pub struct Beginning<'a> {
    pub server: &'a ServerName,
    pub at: ModernServer,
    /// The server's answer to `server/discover`.
    pub found: &'a Bytes,
    /// The client's `initialize` parameters, and the revision that it asks for.
    pub params: &'a [u8],
    pub revision: &'a str,
    pub terms: SessionTerms,
    /// Whether the server takes requests of clients without sessions as they are.
    pub takes_others: bool,
    /// Whether the edge has the session in place of a client without one.
    pub is_inner: bool,
    pub eras: Arc<Eras>,
    pub tools: Arc<ToolHeaders>,
}

impl Bridged {
    /// Serves the session on the calling worker. It is opened by `initialize`, as at any server.
    #[must_use]
    pub fn begin(with: Beginning<'_>) -> Self {
        let Beginning { server, at, found, params, revision, terms, takes_others, .. } = with;
        let Beginning { is_inner, eras, tools, .. } = with;
        let has_client = terms.has_client;
        // For clients the gateway is the server, and of the gateway's own they see nothing.
        let marks =
            Marks { takes_requests: takes_others && !has_client, tells_of_tasks: !has_client };
        let (pipe, outbox) = Pipe::new(server, terms);
        let talk = Talk {
            server: server.clone(),
            pipe: Arc::clone(&pipe),
            at: at.clone(),
            client: Introduction::of(params),
            announced: Announced::of(found),
            result: initialize_result(found, revision, marks),
            eras,
            tools,
            has_client,
            is_inner,
            level: Locked::default(),
            questions: Questions::default(),
            subscribed: watch::Sender::default(),
            acknowledged: watch::Sender::default(),
            replaced: Signal::default(),
        };
        let closing = Signal::default();
        tokio::spawn(serve(Arc::new(talk), outbox, closing.watch()));
        Self { pipe, at, closing }
    }

    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// Keeps the client's headers for what is sent from now on.
    pub fn pass(&self, forwarded: &HeaderMap) {
        if let ModernServer::Http(server) = &self.at {
            server.pass(forwarded);
        }
    }

    /// The process that serves it, and how often such a one has ended by itself before.
    #[must_use]
    pub fn process(&self) -> Option<(u32, u64, *const ())> {
        let ModernServer::Process(place) = &self.at else { return None };
        let restarts = place.mux().restarts.load(std::sync::atomic::Ordering::Relaxed);
        Some((place.pid(), restarts, Arc::as_ptr(place.mux()).cast()))
    }

    /// Ends the session, calls in flight included.
    pub fn close(&self) {
        self.closing.raise();
        self.pipe.end();
    }
}

/// The requests of a session that are under way.
#[derive(Default)]
struct Calls {
    tasks: JoinSet<String>,
    by_id: HashMap<String, AbortHandle>,
}

impl Calls {
    fn begin(&mut self, id: &str, serving: impl Future<Output = String> + Send + 'static) {
        self.by_id.insert(key(id), self.tasks.spawn(serving));
    }

    /// Ends a request; its exchange is cancelled with it.
    fn cancel(&mut self, id: &str) {
        if let Some(task) = self.by_id.remove(&key(id)) {
            task.abort();
        }
    }

    fn ended(&mut self, id: &str) {
        if self.by_id.get(id).is_some_and(AbortHandle::is_finished) {
            self.by_id.remove(id);
        }
    }
}

async fn serve(talk: Arc<Talk>, mut outbox: Unwritten, mut closing: Watcher) {
    let mut calls = Calls::default();
    let mut is_listening = false;
    let mut lost = match &talk.at {
        ModernServer::Process(place) => Some(place.mux().lost.subscribe()),
        ModernServer::Http(_) => None,
    };
    let mut replaced = talk.replaced.watch();
    let how = loop {
        tokio::select! {
            biased;
            () = closing.raised() => break None,
            Some(ended) = calls.tasks.join_next(), if !calls.tasks.is_empty() => {
                if let Ok(id) = ended {
                    calls.ended(&id);
                }
            }
            message = outbox.recv() => {
                let Some((message, _room)) = message else { break None };
                let begins = take(&talk, &message, &mut calls);
                if begins && !std::mem::replace(&mut is_listening, true) {
                    let talk = Arc::clone(&talk);
                    calls.tasks.spawn(async move {
                        listening::listen(&talk).await;
                        String::new()
                    });
                }
            }
            how = ended(&mut lost) => break Some(how),
            () = replaced.raised() => break Some(REPLACED.to_owned()),
        }
    };
    if how.is_some() {
        // Requests that the process has not read say so themselves.
        tokio::time::sleep(LAST_WORDS).await;
    }
    drop(calls);
    talk.pipe.end();
    if let Some(how) = how {
        talk.pipe.mark_lost(&how);
    }
}

/// Why the process is gone, once it is.
async fn ended(lost: &mut Option<watch::Receiver<Option<Arc<str>>>>) -> String {
    let Some(lost) = lost else { return std::future::pending().await };
    match lost.wait_for(Option::is_some).await {
        Ok(why) => why.as_deref().unwrap_or_default().to_owned(),
        Err(_) => "it was given up".to_owned(),
    }
}

/// Takes one message of the session. Returns whether the client is ready to hear something.
fn take(talk: &Arc<Talk>, message: &Bytes, calls: &mut Calls) -> bool {
    let Ok(envelope) = Envelope::parse(message) else { return false };
    match envelope.kind() {
        Kind::Response => talk.questions.answer(&envelope),
        Kind::Notification => match envelope.method() {
            methods::INITIALIZED => return talk.has_client,
            methods::CANCELLED => {
                if let Some(id) = cancelled_request(&envelope) {
                    calls.cancel(id);
                }
            }
            // The revision has no others.
            _ => {}
        },
        Kind::Request => request(talk, message, &envelope, calls),
    }
    false
}

fn request(talk: &Arc<Talk>, message: &Bytes, envelope: &Envelope<'_>, calls: &mut Calls) {
    let Some(id) = envelope.id_text() else { return };
    // What the gateway refuses here counts as its own error, not as the server's.
    let refuse = |code, text: &str| talk.pipe.answer_for_server(id, code, text);
    let result: &[u8] = match envelope.method() {
        methods::INITIALIZE => &talk.result,
        methods::PING => b"{}",
        methods::SET_LEVEL if talk.announced.logging => match level_in(envelope) {
            Some(level) => {
                *talk.level.lock() = Some(level);
                b"{}"
            }
            None => return refuse(code::INVALID_PARAMS, "params.level is no log level"),
        },
        methods::SUBSCRIBE | methods::UNSUBSCRIBE if talk.announced.subscriptions => {
            let Some(uri) = uri_in(envelope) else {
                return refuse(code::INVALID_PARAMS, "params.uri must be a string");
            };
            let is_wanted = envelope.method() == methods::SUBSCRIBE;
            let subscribing = subscribe(Arc::clone(talk), id.to_owned(), uri, is_wanted);
            return calls.begin(id, subscribing);
        }
        method if is_unknown(method) || is_of_sessions_tasks(talk, envelope) => {
            let text = format!("Method not found: {method}");
            return refuse(code::METHOD_NOT_FOUND, &text);
        }
        _ => return calls.begin(id, call::call(Arc::clone(talk), message.clone())),
    };
    talk.hand(jsonrpc::result(id, result));
}

/// Methods of sessions that the server has not announced.
fn is_unknown(method: &str) -> bool {
    matches!(method, methods::SET_LEVEL | methods::SUBSCRIBE | methods::UNSUBSCRIBE)
}

/// Tasks of sessions are others than those of this revision.
fn is_of_sessions_tasks(talk: &Talk, envelope: &Envelope<'_>) -> bool {
    envelope.method().starts_with("tasks/") && !talk.is_for_tasks(envelope)
}

async fn subscribe(talk: Arc<Talk>, id: String, uri: String, is_wanted: bool) -> String {
    match listening::subscribe(&talk, &uri, is_wanted).await {
        Ok(()) => talk.pipe.take(jsonrpc::result(&id, b"{}")).await,
        Err(text) => talk.pipe.answer_for_server(&id, code::RESOURCE, &text),
    }
    key(&id)
}

fn level_in(envelope: &Envelope<'_>) -> Option<LogLevel> {
    let level = RequestTarget::of(envelope.params)?.level?;
    LogLevel::parse(&splice::string(level)?)
}

fn uri_in(envelope: &Envelope<'_>) -> Option<String> {
    splice::string(RequestTarget::of(envelope.params)?.uri?)
}
