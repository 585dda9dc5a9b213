//! One node at which a server without sessions is listened to.
//!
//! A stream that breaks off, as that of a process which is started anew, is opened again. Nobody knows
//! what has changed meanwhile: so all that the server grants then is said to have changed, and what has
//! become of tasks is asked.
//!
//! A server may refuse to tell of a task that it does not have. Where several nodes have the server, what
//! a node does not have is left out there, so that each task is heard of from the node that holds it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::edge::bridge::source::{CallMessages, Told};
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::tried::{NotOpened, error_text};
use crate::edge::front::modern::subscribed::Wanted;
use crate::edge::front::modern::task_watch;
use crate::model::{Node, NodeId};
use crate::net::{Body, collect, is_event_stream};
use crate::protocol::era::answered::code_of;
use crate::protocol::era::field;
use crate::protocol::era::methods::{ACKNOWLEDGED, LISTEN};
use crate::protocol::era::tasks;
use crate::protocol::headers::METHOD;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::lenient::Members;
use crate::protocol::splice;

use super::listened::{ListenedServer, NodeSaid};
use super::stateless::StatelessPass;

/// Pause before a stream that broke is opened again. It doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// A stream that has lasted for so long makes the next pause a short one.
const LASTED: Duration = Duration::from_secs(10);
/// Longest wait for what a server says of one task.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens at one node.
pub struct NodeListener {
    pub of: Arc<ListenedServer>,
    pub node: NodeId,
    pub sender: mpsc::Sender<(NodeId, NodeSaid)>,
}

/// Why nobody listens at a node any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server has answered the request.
    ByServer,
    /// The node takes no requests, or nobody hears of it any more.
    Left,
}

/// How one attempt has ended.
enum Heard {
    End(Ended),
    /// It is to be made again with this message.
    Again(Bytes),
    Broken {
        was_granted: bool,
        why: NotOpened,
    },
}

impl NodeListener {
    /// Listens until the server has answered, or the node takes no more requests. `is_late` says that
    /// the client was told before what it gets.
    pub async fn run(self, mut is_late: bool) -> Ended {
        let mut message = self.of.message.clone();
        let mut pause = PAUSE;
        loop {
            let Some(node) = self.node_now() else { return Ended::Left };
            let began = Instant::now();
            match self.hear(&node, &message, is_late).await {
                Heard::End(ended) => return ended,
                Heard::Again(narrowed) => {
                    message = narrowed;
                    continue;
                }
                Heard::Broken { was_granted, why } => {
                    if !is_late && !was_granted && !self.say(NodeSaid::Failed(why)).await {
                        return Ended::Left;
                    }
                }
            }
            is_late = true;
            if began.elapsed() > LASTED {
                pause = PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// The node, while it takes requests for the server.
    fn node_now(&self) -> Option<Arc<Node>> {
        let topology = self.of.worker.edge.topology.load();
        let node = topology.node(&self.node).filter(|node| node.health.accepts())?;
        node.servers.contains_key(&self.of.server).then(|| Arc::clone(node))
    }

    /// False if nobody hears it.
    async fn say(&self, said: NodeSaid) -> bool {
        self.sender.send((self.node.clone(), said)).await.is_ok()
    }

    async fn hear(&self, node: &Node, message: &Bytes, is_late: bool) -> Heard {
        let mut was_granted = false;
        let response = match self.send(node, message, &self.of.context, (LISTEN, None)).await {
            Ok(response) => response,
            Err(why) => return Heard::Broken { was_granted, why },
        };
        let status = response.status();
        let mut messages = CallMessages::of(response, self.of.worker.edge.config.line).await;
        let mut why = "its stream has broken off".to_owned();
        while let Some(Told { message: said, .. }) = messages.next().await {
            let Ok(envelope) = Envelope::parse(&said) else { continue };
            match envelope.kind() {
                Kind::Request => {}
                Kind::Response => {
                    let code = envelope.error.and_then(code_of);
                    if matches!(code, Some(code::SERVER_LOST | code::TIMED_OUT)) {
                        // The gateway's own word for a server that is gone.
                        why = error_text(&said);
                        break;
                    }
                    let may_lack = !was_granted && code == Some(code::INVALID_PARAMS);
                    if may_lack && let Some(narrowed) = self.narrowed(node, message).await {
                        return Heard::Again(narrowed);
                    }
                    let is_heard = self.say(NodeSaid::End(status, said)).await;
                    return Heard::End(if is_heard { Ended::ByServer } else { Ended::Left });
                }
                Kind::Notification => {
                    let is_grant = envelope.method() == ACKNOWLEDGED;
                    was_granted |= is_grant;
                    let mut notes = vec![NodeSaid::Note(said.clone())];
                    if is_grant && is_late {
                        let missed = self.missed(node, envelope.params).await;
                        notes = vec![NodeSaid::LateGrant(said.clone())];
                        notes.extend(missed.into_iter().map(NodeSaid::Note));
                    }
                    for note in notes {
                        if !self.say(note).await {
                            return Heard::End(Ended::Left);
                        }
                    }
                }
            }
        }
        Heard::Broken { was_granted, why: format!("node {}: {why}", self.node).into() }
    }

    async fn send(
        &self,
        node: &Node,
        message: &Bytes,
        context: &ClientRequest,
        (method, named): (&str, Option<HeaderValue>),
    ) -> Result<Response<Body>, NotOpened> {
        let ListenedServer { worker, scope, principal, server, .. } = &*self.of;
        let worker = &worker.renewed();
        let trace = None;
        let pass = StatelessPass {
            worker,
            context,
            scope,
            principal,
            server,
            message,
            method,
            named,
            trace,
            read: None,
        };
        pass.at(node).await
    }

    /// All that may have changed unseen of what the server grants.
    async fn missed(&self, node: &Node, granted: Option<&RawValue>) -> Vec<Bytes> {
        let id = self.of.id();
        let Ok(granted) = Wanted::of(granted) else { return Vec::new() };
        let mut missed = granted.missed(&id);
        for task in &granted.tasks {
            let Some(answer) = self.task(node, task).await else { continue };
            let Ok(Envelope { result: Some(result), .. }) = Envelope::parse(&answer) else {
                continue;
            };
            missed.extend(task_watch::changed(result, task, &id));
        }
        missed
    }

    /// The request without the tasks that the server does not have at this node. `None` if that changes
    /// nothing, or nothing would be left.
    async fn narrowed(&self, node: &Node, message: &Bytes) -> Option<Bytes> {
        let topology = self.of.worker.edge.topology.load_full();
        // Of the only node that has the server the answer counts, whatever it is.
        topology.replicas(&self.of.server).nth(1)?;
        let envelope = Envelope::parse(message).ok()?;
        let wanted = Wanted::of(envelope.params).ok()?;
        let mut own = Vec::new();
        for task in &wanted.tasks {
            let answer = self.task(node, task).await?;
            if Envelope::parse(&answer).ok()?.result.is_some() {
                own.push(splice::quoted(task));
            }
        }
        let is_nothing = own.is_empty() && wanted.lists.is_empty() && wanted.resources.is_empty();
        if own.len() == wanted.tasks.len() || is_nothing {
            return None;
        }
        let params = Members::of(envelope.params?.get())?;
        let listed = params.object("notifications")?.get("taskIds")?;
        let span = splice::span(message, listed)?;
        Some(splice::replace(message, span, format!("[{}]", own.join(",")).as_bytes()))
    }

    /// What the server says of a task at this node. `None` if it says nothing.
    async fn task(&self, node: &Node, id: &str) -> Option<Bytes> {
        let asked = tokio::time::timeout(PATIENCE, self.ask(node, id));
        asked.await.ok()?
    }

    async fn ask(&self, node: &Node, id: &str) -> Option<Bytes> {
        let ListenedServer { worker, message, context, .. } = &*self.of;
        let envelope = Envelope::parse(message).ok()?;
        let meta = Members::of(envelope.params?.get())?.get("_meta").map_or("{}", RawValue::get);
        let params = format!("{{\"taskId\":{},\"_meta\":{meta}}}", splice::quoted(id));
        let question = jsonrpc::request(&worker.edge.own_ids.id(), tasks::GET, &params);
        // It is a request of its own, which its headers must say.
        let mut context = context.clone();
        context.headers.insert(METHOD, HeaderValue::from_static(tasks::GET));
        let named = field::encoded(id)?;
        let response =
            self.send(node, &question, &context, (tasks::GET, Some(named))).await.ok()?;
        let most = worker.edge.config.line;
        if is_event_stream(&response) {
            let mut messages = CallMessages::of(response, most).await;
            while let Some(Told { message, .. }) = messages.next().await {
                if Envelope::parse(&message).is_ok_and(|said| said.kind() == Kind::Response) {
                    return Some(message);
                }
            }
            return None;
        }
        collect(response.into_body(), most).await.ok()
    }
}
