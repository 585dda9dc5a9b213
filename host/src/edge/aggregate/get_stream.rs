//! The GET stream of an aggregate: one numbered stream of the messages that all open servers of
//! the session send outside of requests, and of changes of the lists.
//!
//! It outlives the client's connection for a while and keeps its messages, for a client that comes
//! back with the last event's id. After a restart of the gateway a new stream begins, which first
//! says that lists may have changed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::edge::access::identity::CallerIdentity;
use crate::edge::catalog::merge::ScopeCatalog;
use crate::edge::refusal::Refusal;
use crate::edge::scope;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::session::get_streams::{OwnStream, say_lists_changed};
use crate::edge::session::told::SETTLE;
use crate::edge::worker::Worker;
use crate::model::{NodeId, Scope, ServerName};
use crate::net::Body;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::methods::List;
use crate::protocol::version::Version;
use crate::store::shared::Listening;
use crate::streams::{self, EventId, Part, Stream, Tag, Way, response};
use crate::sync::until;

use super::addressed;
use super::listener::ServerListener;

/// How long the stream is kept without a reader. A client that is away for longer is not expected
/// back.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Time between two checks whether the stream is still needed.
const LOOK: Duration = Duration::from_secs(30);
/// How long changes of lists are collected before they are announced: servers report several in a
/// row.
const QUIET: Duration = Duration::from_millis(100);

/// Most messages of the session's servers that wait to be numbered.
const QUEUE: usize = 64;

impl Worker {
    /// The session's GET stream, from the last event that the client has seen.
    pub(in crate::edge) fn aggregate_stream(
        &self,
        scope: &Scope,
        session: &Session,
        identity: Option<&Arc<CallerIdentity>>,
        last_event_id: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let streams = &self.edge.streams;
        let place = last_event_id.and_then(EventId::parse);
        let mut known = streams.get(session.id).filter(|own| !own.stream.has_ended());
        // The client may use something else by now than when it began.
        if let Some(own) = known.take_if(|own| own.rights.as_ref() != scope.rights()) {
            own.stream.end();
        }
        let (own, reader) = match (known, &place) {
            (Some(own), Some(place)) if place.instance == own.instance => {
                let reader = own.stream.read_after(place.number);
                (own, reader)
            }
            // A new one takes the stream over: the one before may hang in a network.
            (Some(own), _) => {
                let reader = own.stream.read_on();
                (own, reader)
            }
            (None, _) => {
                let own = self.begin_stream(scope, session, identity);
                let reader = own.stream.read_on();
                (own, reader)
            }
        };
        if let Some(sharing) = self.edge.sharing.clone().filter(|_| !session.of_stream) {
            let seen = place.as_ref().map(|place| (place.instance, place.number));
            let listening = Listening { stream: own.instance, seen };
            own.untold.fetch_add(1, Ordering::Relaxed);
            let (own, session) = (own.clone(), session.id);
            tokio::spawn(async move {
                if !sharing.tell_listens(session, listening).await {
                    own.told();
                }
            });
        }
        self.tell_losses(session, &own.stream);
        let is_another = || place.as_ref().is_none_or(|place| place.instance != own.instance);
        if reader.has_gap || (last_event_id.is_some() && is_another()) {
            say_lists_changed(&own.stream, &List::NOTIFIED);
        }
        let way = Way {
            keep_alive: self.edge.config.keep_alive,
            primes: session.version >= Version::V2025_11_25,
        };
        let tag = Tag::new(own.instance, own.stream.number, None);
        Ok(response::event_stream(reader, tag, way))
    }

    /// Puts onto the stream what was lost while the client did not listen.
    fn tell_losses(&self, session: &Session, stream: &Arc<Stream>) {
        // The client of a conversation is told with its next result.
        if session.origin != Origin::Client {
            return;
        }
        if self.edge.sharing.is_none() {
            return self.tell_losses_now(session, stream);
        }
        let record = self.edge.bindings.record(session.id);
        if record.is_none_or(|record| record.unreported_losses.is_empty()) {
            return;
        }
        let (worker, session, stream) = (self.clone(), session.clone(), Arc::clone(stream));
        tokio::spawn(async move {
            tokio::time::sleep(SETTLE).await;
            if stream.is_attached() {
                worker.tell_losses_now(&session, &stream);
            }
        });
    }

    fn tell_losses_now(&self, session: &Session, stream: &Stream) {
        let losses = self.edge.take_losses(session.id);
        for server in &losses {
            stream.put(self.edge.loss_notice(session.id, server), Part::Notice);
        }
        if !losses.is_empty() {
            say_lists_changed(stream, &List::NOTIFIED);
        }
    }

    /// Servers that the session has open on a node whose lists for them are not the usual ones.
    fn differing(&self, scope: &Scope, session: &Session) -> BTreeSet<(ServerName, NodeId)> {
        let Some(record) = self.edge.bindings.record(session.id) else { return BTreeSet::new() };
        let (topology, set) = (self.edge.topology.load(), self.set_of(session));
        let members = scope::members(self, scope);
        let open = record.servers.into_iter().map(|(server, binding)| (server, binding.node));
        open.filter(|(server, _)| members.iter().any(|member| member.server == *server))
            .filter(|(_, node)| topology.node(node).is_some_and(|node| node.health.serves()))
            .filter(|(server, node)| {
                self.edge.catalogs.differing(&topology, node, server, set).is_some()
            })
            .collect()
    }

    fn begin_stream(
        &self,
        scope: &Scope,
        session: &Session,
        identity: Option<&Arc<CallerIdentity>>,
    ) -> OwnStream {
        let own = OwnStream {
            instance: streams::instance(),
            stream: Stream::new(0, None, self.edge.config.kept_events),
            rights: scope.rights().cloned(),
            heard: Arc::default(),
            over: Arc::default(),
            untold: Arc::default(),
        };
        own.stream.publish();
        self.edge.streams.insert(session.id, own.clone());
        self.tell_losses(session, &own.stream);
        let feeding = Feeding {
            seen: self.scope_catalog_now(scope, self.set_of(session)),
            worker: self.clone(),
            scope: scope.clone(),
            session: session.clone(),
            identity: identity.cloned(),
            own: own.clone(),
            changed: BTreeSet::new(),
            differing: self.differing(scope, session),
        };
        tokio::spawn(feeding.run());
        own
    }
}

/// Feeds one session's stream.
struct Feeding {
    worker: Worker,
    scope: Scope,
    session: Session,
    /// What rules and limits decide by; `None` where there are none.
    identity: Option<Arc<CallerIdentity>>,
    own: OwnStream,
    /// The lists as the client was last told of them.
    seen: Arc<ScopeCatalog>,
    /// Changed lists that have yet to be announced.
    changed: BTreeSet<List>,
    /// The last result of [`Worker::differing`].
    differing: BTreeSet<(ServerName, NodeId)>,
}

/// Whether the session's owner may still read the stream.
#[derive(PartialEq, Eq)]
enum Reader {
    LetIn,
    ShutOut,
}

impl Feeding {
    async fn run(mut self) {
        let (sender, mut messages) = mpsc::channel(QUEUE);
        let mut catalogs = self.worker.edge.catalogs.changes();
        let mut opened_servers = self.worker.edge.opened_servers.watch(self.session.id);
        let mut reports = self.worker.edge.cold_start.reports();
        // Covers what was opened, and what has changed, before they were watched.
        self.look_at_replicas();
        self.compare();
        let mut tasks = JoinSet::new();
        let mut heard: HashMap<ServerName, AbortHandle> = HashMap::new();
        let mut needed = Instant::now();
        let mut look = tokio::time::interval(LOOK);
        let mut due = None;
        let mut is_message = false;
        let mut over = self.own.over.watch();
        loop {
            if !is_message {
                self.hear_open_servers(&mut tasks, &mut heard, &sender);
            }
            is_message = false;
            let is_expected = self.worker.edge.cold_start.concerns(self.session.minted_at);
            // The first of several changes decides when they are announced.
            due = (!self.changed.is_empty())
                .then(|| due.unwrap_or_else(|| tokio::time::Instant::now() + QUIET));
            tokio::select! {
                opened = opened_servers.changed() => {
                    if opened.is_err() { break }
                    self.look_at_replicas();
                }
                Some((server, message)) = messages.recv() => {
                    self.take(&server, message);
                    is_message = true;
                }
                changed = catalogs.changed() => {
                    if changed.is_err() { break }
                    if self.keep_up(&mut heard) == Reader::ShutOut { break }
                    self.compare();
                    self.look_at_replicas();
                }
                // Servers that the session has had open since before this process began.
                Ok(()) = reports.changed(), if is_expected => self.look_at_replicas(),
                () = until(due) => {
                    let lists: Vec<List> = std::mem::take(&mut self.changed).into_iter().collect();
                    say_lists_changed(&self.own.stream, &lists);
                }
                _ = look.tick() => {
                    if self.own.stream.is_attached() { needed = Instant::now() }
                    let is_over = self.own.stream.has_ended()
                        || self.worker.edge.records.is_ended(self.session.id);
                    if is_over || needed.elapsed() > KEPT_FOR { break }
                }
                () = over.raised() => {
                    self.put_rest(&mut messages);
                    break;
                }
                Some(_) = tasks.join_next() => {}
            }
        }
        self.own.stream.end();
        self.worker.edge.streams.remove(self.session.id, self.own.instance);
    }

    /// Puts onto the stream what has come and is not there yet: it goes over to the stream that this one
    /// gives way to.
    fn put_rest(&mut self, messages: &mut mpsc::Receiver<(ServerName, Bytes)>) {
        while let Ok((server, message)) = messages.try_recv() {
            self.take(&server, message);
        }
        let lists: Vec<List> = std::mem::take(&mut self.changed).into_iter().collect();
        say_lists_changed(&self.own.stream, &lists);
    }

    /// Takes the newest settings. With them servers may have left the scope, which are not heard
    /// any more, or the session's owner may be shut out.
    fn keep_up(&mut self, heard: &mut HashMap<ServerName, AbortHandle>) -> Reader {
        if self.worker.is_latest() {
            return Reader::LetIn;
        }
        let before = Arc::clone(&self.worker.edge);
        self.worker.keep_up();
        let members = scope::members(&self.worker, &self.scope);
        heard.retain(|server, task| {
            let stays = members.iter().any(|member| member.server == *server);
            if !stays {
                task.abort();
            }
            stays
        });
        if self.session.origin != Origin::Client {
            // Each of those who listen is looked at by itself.
            return Reader::LetIn;
        }
        let client = (&self.session.principal, self.identity.as_ref());
        match scope::is_shut_out(&before, &self.worker.edge, &self.scope, client) {
            true => Reader::ShutOut,
            false => Reader::LetIn,
        }
    }

    /// Listens to every server of the scope that the session has open.
    fn hear_open_servers(
        &self,
        tasks: &mut JoinSet<()>,
        heard: &mut HashMap<ServerName, AbortHandle>,
        sender: &mpsc::Sender<(ServerName, Bytes)>,
    ) {
        heard.retain(|_, task| !task.is_finished());
        let Some(record) = self.worker.edge.bindings.record(self.session.id) else { return };
        let members = scope::members(&self.worker, &self.scope);
        for (server, _) in record.servers {
            if !members.iter().any(|member| member.server == server) {
                continue;
            }
            if let Entry::Vacant(free) = heard.entry(server.clone()) {
                let (worker, session) = (&self.worker, &self.session);
                let listener = ServerListener::of(worker, session, server, &self.own.heard);
                free.insert(tasks.spawn(listener.run(sender.clone())));
            }
        }
    }

    fn take(&mut self, server: &ServerName, message: Bytes) {
        let Ok(envelope) = Envelope::parse(&message) else { return };
        let list = List::NOTIFIED.into_iter().find(|list| list.changed() == envelope.method());
        if let Some(list) = list {
            // On this stream the same would come a second time.
            if !self.worker.tells_of_lists_itself(&self.scope, &self.session, server) {
                self.changed.insert(list);
            }
            return;
        }
        let part = match envelope.kind() {
            Kind::Request => Part::Question,
            Kind::Notification => Part::Notice,
            // Answers are on the streams of their requests.
            Kind::Response => return,
        };
        let rewriter = self.worker.rewriter(&self.scope, &self.session, server);
        let Some(message) = rewriter.message(message) else { return };
        for question in self.own.stream.put(message, part) {
            self.refuse(&question);
        }
    }

    /// Announces changed lists if the session was opened on a node whose lists differ: these are
    /// offered to it from now on.
    fn look_at_replicas(&mut self) {
        let differing = self.worker.differing(&self.scope, &self.session);
        if differing != self.differing {
            self.differing = differing;
            self.changed.extend(List::NOTIFIED);
        }
    }

    /// Answers a server's request that was dropped, since the client reads none.
    fn refuse(&self, question: &Bytes) {
        let Ok(envelope) = Envelope::parse(question) else { return };
        let Some(id) = envelope.id_text() else { return };
        let (worker, session) = (self.worker.clone(), self.session.clone());
        let answer = streams::unread_question(id);
        tokio::spawn(async move {
            let Ok(envelope) = Envelope::parse(&answer) else { return };
            if let Some(addressed) = addressed::answer_of_client(&answer, &envelope) {
                worker.tell_one(None, &session, addressed, None).await;
            }
        });
    }

    /// Notes which lists differ from those that the client was told of.
    fn compare(&mut self) {
        let now = self.worker.scope_catalog_now(&self.scope, self.worker.set_of(&self.session));
        for list in List::ALL {
            if now.result(list) != self.seen.result(list) {
                let told = if list == List::Templates { List::Resources } else { list };
                self.changed.insert(told);
            }
        }
        self.seen = now;
    }
}
