//! Several servers behind one URL: the edge answers what is its own, and sends
//! the rest to its owner with one name changed.

use bytes::Bytes;
use http::header;
use http::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, watch};

use crate::model::{Node, Scope, ServerName};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods::{self, Destination, List};
use crate::protocol::splice::{self, Target};
use crate::protocol::version::Version;
use crate::protocol::{headers, sse};
use crate::seam::{Body, Facts};

use super::Worker;
use super::bind::Context;
use super::deliver::Outgoing;
use super::merge::{Merged, Owner};
use super::relay::{accepted, content_type, json, relay};
use super::rescue::Refusal;
use super::session::Session;
use super::streamable::Refused;

/// One server that hangs must not hold up what all are told.
const TELL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Silence on the edge's own stream before a keep-alive comment.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(15);

impl Worker {
    /// One message of a session on an aggregate scope.
    pub(super) async fn aggregate(
        &self,
        context: &Context,
        scope: &Scope,
        session: &Session,
        message: Bytes,
    ) -> Result<Response<Body>, Refused> {
        let envelope = Envelope::parse(&message).map_err(|e| (Refusal::Malformed(e), None))?;
        match envelope.kind() {
            Kind::Request => {
                let id = envelope.id_text().unwrap_or("null");
                let answer = self.request(context, scope, session, &message, &envelope, id).await;
                answer.map_err(|refusal| (refusal, Some(id.to_owned())))
            }
            Kind::Notification => {
                if envelope.method() != methods::INITIALIZED {
                    self.tell_all(session, &message).await;
                }
                Ok(accepted())
            }
            Kind::Response => {
                self.answer_server(session, &message).await;
                Ok(accepted())
            }
        }
    }

    async fn request(
        &self,
        context: &Context,
        scope: &Scope,
        session: &Session,
        message: &Bytes,
        envelope: &Envelope<'_>,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        let local = |result: &[u8]| Ok(json(StatusCode::OK, jsonrpc::result(id, result)));
        match methods::destination(envelope.method()) {
            Destination::Ping => {
                self.edge.bindings.begin(session.id);
                local(b"{}")
            }
            Destination::List(list) => {
                self.edge.bindings.begin(session.id);
                refuse_cursor(envelope)?;
                local(&self.list(scope, session, list).await)
            }
            Destination::LogLevel => {
                self.set_level(session, message, envelope).await?;
                local(b"{}")
            }
            Destination::Tool | Destination::Prompt | Destination::Resource => {
                let (server, rewritten) = self.owner(scope, session, message, envelope).await?;
                self.send_to(context, session, &server, rewritten).await
            }
            Destination::Completion => match self.completion(scope, session, message, envelope).await? {
                Some((server, rewritten)) => {
                    self.send_to(context, session, &server, rewritten).await
                }
                None => local(br#"{"completion":{"values":[]}}"#),
            },
            Destination::Initialize => Err(Refusal::InvalidParams(
                "this session is initialized already; leave out the session header to start another".into(),
            )),
            Destination::Unknown => Err(Refusal::MethodNotFound(envelope.method().to_owned())),
        }
    }

    async fn send_to(
        &self,
        context: &Context,
        session: &Session,
        server: &ServerName,
        message: Bytes,
    ) -> Result<Response<Body>, Refusal> {
        let outgoing = Outgoing::post(message, context.headers.get(header::ACCEPT));
        let delivered = self.deliver(context, session, server, &outgoing).await?;
        let mut response = relay(delivered.response);
        self.edge.write_token(delivered.token.as_ref(), response.headers_mut());
        Ok(response)
    }

    async fn list(&self, scope: &Scope, session: &Session, list: List) -> Bytes {
        self.offers(scope, session.client_set()).await.result(list)
    }

    /// The owner of what the request names, and the message as the owner knows it.
    async fn owner(
        &self,
        scope: &Scope,
        session: &Session,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Result<(ServerName, Bytes), Refusal> {
        let missing = |what| Refusal::InvalidParams(format!("params.{what} is missing"));
        let target = Target::of(envelope.params).unwrap_or_default();
        if methods::destination(envelope.method()) == Destination::Resource {
            let uri = target.uri.and_then(splice::string).ok_or_else(|| missing("uri"))?;
            let find = |merged: &Merged| merged.resource(&uri).cloned();
            let owner = self.find(scope, session, find).await;
            return match owner {
                Some(server) => Ok((server, message.clone())),
                None => Err(Refusal::ResourceNotFound(uri)),
            };
        }
        let raw = target.name.ok_or_else(|| missing("name"))?;
        let name = splice::string(raw).ok_or_else(|| missing("name"))?;
        let is_tool = methods::destination(envelope.method()) == Destination::Tool;
        let find = |merged: &Merged| {
            let owner = if is_tool { merged.tool(&name) } else { merged.prompt(&name) };
            owner.cloned()
        };
        let Some(owner) = self.find(scope, session, find).await else {
            let kind = if is_tool { "tool" } else { "prompt" };
            return Err(Refusal::InvalidParams(format!("Unknown {kind}: {name}")));
        };
        Ok((owner.server.clone(), with_name(message, raw, &owner)))
    }

    async fn completion(
        &self,
        scope: &Scope,
        session: &Session,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Result<Option<(ServerName, Bytes)>, Refusal> {
        let reference = Target::of(envelope.params)
            .and_then(|target| target.reference)
            .and_then(|reference| Target::of(Some(reference)))
            .ok_or_else(|| Refusal::InvalidParams("params.ref is missing".into()))?;
        if let Some(raw) = reference.name {
            let name = splice::string(raw).unwrap_or_default();
            let find = |merged: &Merged| merged.prompt(&name).cloned();
            let owner = self.find(scope, session, find).await;
            return match owner {
                Some(owner) => {
                    let rewritten = with_name(message, raw, &owner);
                    Ok(self.completes(&owner.server, session).then_some((owner.server, rewritten)))
                }
                None => Err(Refusal::InvalidParams(format!("Unknown prompt: {name}"))),
            };
        }
        let uri = reference.uri.and_then(splice::string).unwrap_or_default();
        let fixed = uri.split('{').next().unwrap_or("").to_owned();
        let find =
            |merged: &Merged| merged.resource(&uri).or_else(|| merged.resource(&fixed)).cloned();
        match self.find(scope, session, find).await {
            Some(server) => Ok(self.completes(&server, session).then(|| (server, message.clone()))),
            None => Err(Refusal::ResourceNotFound(uri)),
        }
    }

    /// Whether a server announces completions; one that does not completes
    /// nothing.
    fn completes(&self, server: &ServerName, session: &Session) -> bool {
        self.capability(server, session.client_set(), "completions")
    }

    /// Looks something up; if it is not there, waits for servers that have not
    /// been heard of, since it may be theirs.
    async fn find<T>(
        &self,
        scope: &Scope,
        session: &Session,
        look: impl Fn(&Merged) -> Option<T>,
    ) -> Option<T> {
        let set = session.client_set();
        self.await_silent(scope, set, look).await
    }

    async fn set_level(
        &self,
        session: &Session,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Result<(), Refusal> {
        #[derive(serde::Deserialize)]
        struct Level {
            level: String,
        }
        const LEVELS: [&str; 8] =
            ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
        let level = envelope
            .params
            .and_then(|params| serde_json::from_str::<Level>(params.get()).ok())
            .filter(|level| LEVELS.contains(&level.level.as_str()))
            .ok_or_else(|| {
                Refusal::InvalidParams(format!("params.level must be one of {LEVELS:?}"))
            })?;
        self.edge.bindings.set_log_level(session.id, &splice::quoted(&level.level));
        self.tell_all(session, message).await;
        Ok(())
    }

    /// A client's answer to a server's request. With one server open it is that
    /// one's; with several it cannot be told whose, and none may get another's.
    async fn answer_server(&self, session: &Session, message: &Bytes) {
        let record = self.edge.bindings.record(session.id);
        match record.as_ref().map(|record| record.servers.len()) {
            Some(1) => self.tell_all(session, message).await,
            _ => tracing::warn!(
                session = %session.id.short(),
                "an answer to a server's request is dropped: several servers are open"
            ),
        }
    }

    /// Hands a message to every server that the session has open. A lost one is
    /// not opened for it: nothing of the old conversation is left there.
    async fn tell_all(&self, session: &Session, message: &Bytes) {
        let Some(record) = self.edge.bindings.record(session.id) else { return };
        let topology = self.edge.topology.load_full();
        let outgoing = Outgoing::post(message.clone(), None);
        let telling = record.servers.iter().filter_map(|(server, binding)| {
            let node = topology.node(&binding.node)?;
            Some(self.tell(node, session, server, &outgoing))
        });
        futures_util::future::join_all(telling).await;
    }

    /// One exchange with one node whose outcome does not matter, bounded in time.
    pub(super) async fn tell(
        &self,
        node: &Node,
        session: &Session,
        server: &ServerName,
        outgoing: &Outgoing,
    ) {
        let mut request = Request::new(Body::from(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        if outgoing.method == Method::POST {
            content_type(request.headers_mut(), headers::JSON);
        }
        let facts = Facts { session: session.id, principal: session.principal.clone(), open: None };
        request.extensions_mut().insert(facts);
        let call = self.link.call(&node.reach, server, request);
        match tokio::time::timeout(TELL_TIMEOUT, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::debug!(node = %node.id, server = %server, "{failure}"),
            Err(_) => tracing::debug!(node = %node.id, server = %server, "no answer"),
        }
    }

    /// The gateway's own `InitializeResult`. It waits for nobody; what a server
    /// adds later is announced by list_changed.
    pub(super) fn own_result(&self, scope: &Scope, session: &Session, version: Version) -> Bytes {
        let merged = self.offers_now(scope, session.client_set());
        let mut result = serde_json::json!({
            "protocolVersion": version.as_str(),
            "capabilities": {
                "tools": {"listChanged": true},
                "prompts": {"listChanged": true},
                "resources": {"listChanged": true, "subscribe": true},
                "logging": {},
                "completions": {},
            },
            "serverInfo": {"name": "mooring", "version": env!("CARGO_PKG_VERSION")},
        });
        if let Some(text) = &merged.instructions
            && let Some(members) = result.as_object_mut()
        {
            members.insert("instructions".to_owned(), text.clone().into());
        }
        Bytes::from(result.to_string())
    }

    /// The GET stream of an aggregate: tells when the lists have changed.
    pub(super) fn own_stream(&self, scope: &Scope, session: &Session) -> Response<Body> {
        let (sender, receiver) = mpsc::channel(8);
        let catalogs = self.edge.catalogs.changes();
        let seen = self.offers_now(scope, session.client_set());
        let (worker, scope, set) = (self.clone(), scope.clone(), session.client_set());
        tokio::spawn(async move {
            worker.tell_changes(scope, set, catalogs, seen, sender).await;
        });
        let mut response = Response::new(Body::Channel(receiver));
        content_type(response.headers_mut(), headers::EVENT_STREAM);
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            http::HeaderValue::from_static("no-cache, no-transform"),
        );
        response
    }

    async fn tell_changes(
        &self,
        scope: Scope,
        set: crate::protocol::initialize::ClientSet,
        mut changes: watch::Receiver<u64>,
        mut seen: std::sync::Arc<Merged>,
        sender: mpsc::Sender<Bytes>,
    ) {
        // At once, so that the client sees the stream's head and beginning.
        let mut comment = sender.send(Bytes::from_static(sse::KEEP_ALIVE)).await;
        while comment.is_ok() {
            let changed = tokio::select! {
                changed = tokio::time::timeout(KEEP_ALIVE, changes.changed()) => changed,
                () = sender.closed() => return,
            };
            match changed {
                Err(_) => comment = sender.send(Bytes::from_static(sse::KEEP_ALIVE)).await,
                Ok(Err(_)) => return,
                Ok(Ok(())) => {
                    let now = self.offers_now(&scope, set);
                    for list in [List::Tools, List::Prompts, List::Resources] {
                        if now.result(list) != seen.result(list) {
                            let method = format!("notifications/{}/list_changed", list.member());
                            let event = sse::event(&jsonrpc::notification(&method));
                            if sender.send(event).await.is_err() {
                                return;
                            }
                        }
                    }
                    seen = now;
                }
            }
        }
    }
}

fn with_name(message: &Bytes, raw: &serde_json::value::RawValue, owner: &Owner) -> Bytes {
    match splice::span(message, raw) {
        Some(span) => splice::replace(message, span, splice::quoted(&owner.name).as_bytes()),
        None => message.clone(),
    }
}

/// A merged list is one page: no cursor was ever handed out.
fn refuse_cursor(envelope: &Envelope<'_>) -> Result<(), Refusal> {
    #[derive(serde::Deserialize)]
    struct Page {
        cursor: Option<String>,
    }
    let cursor = envelope
        .params
        .and_then(|params| serde_json::from_str::<Page>(params.get()).ok())
        .and_then(|page| page.cursor);
    match cursor {
        None => Ok(()),
        Some(_) => Err(Refusal::InvalidParams(
            "this cursor is not known; list again from the start".into(),
        )),
    }
}
