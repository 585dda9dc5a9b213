//! Requests without a session at a server without sessions: they pass as they came, to any node that
//! has the server, as the strategy says. On a URL of several servers, what they name has the server's own
//! name by then.
//!
//! Where one node alone has it there is nothing to decide: then a request costs no decision, and none
//! is noted, as for the calls of a session.
//!
//! A task is at the node that has begun it, which its id does not say: it is the server's own. So a request
//! about one goes on to the next node where the server says that it has no such task. Where there is one node
//! alone, its answer counts, whatever it is.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};

use crate::edge::catalog::era_marks::EraMarks;
use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::delivery::tried::{NotOpened, Tried, not_opened};
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::Refusal;
use crate::edge::relay::relay;
use crate::edge::routing::affinity::Token;
use crate::edge::routing::bind::Chosen;
use crate::edge::scope;
use crate::edge::session::client_session::{Origin, Session};
use crate::edge::worker::Worker;
use crate::model::{Node, NodeId, Principal, Reach, Scope, ServerName};
use crate::net::{Body, Failure, collect, is_event_stream};
use crate::protocol::era::answered::code_of;
use crate::protocol::era::methods::Method;
use crate::protocol::era::read_places::ReadPlaces;
use crate::protocol::glance::MethodLabel;
use crate::protocol::headers::{NAME, is_stateless};
use crate::protocol::initialize::ClientSet;
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::methods;
use crate::protocol::trace_context::TraceContext;
use crate::seam::{Facts, Outcome};

use super::pass::request_id;

/// Attempts to pass one request on, as those of a delivery.
const MAX_ATTEMPTS: usize = 8;

/// Nodes that are asked for a task.
const MAX_NODES: usize = 64;

/// A request, and who has sent it.
pub struct StatelessPass<'a> {
    pub worker: &'a Worker,
    pub context: &'a ClientRequest,
    pub scope: &'a Scope,
    pub principal: &'a Principal,
    pub server: &'a ServerName,
    pub message: &'a Bytes,
    pub method: &'a str,
    /// `Mcp-Name`, where the server has another name for what the client names.
    pub named: Option<HeaderValue>,
    /// The span that the request belongs to, if it is traced.
    pub trace: Option<Box<TraceContext>>,
    /// What was read in the message and its headers, for a runner of this process.
    pub read: Option<ReadPlaces>,
}

/// A server's own response.
pub struct Passed {
    pub response: Response<Body>,
    /// Where it comes from.
    pub node: NodeId,
    /// What brings further requests of the client there, if that changes.
    pub token: Option<Token>,
}

impl Worker {
    /// The server of a scope that shows it whole, if it serves requests without a session itself.
    #[must_use]
    pub(in crate::edge) fn stateless_server<'a>(&self, scope: &'a Scope) -> Option<&'a ServerName> {
        let server = scope::pass_through_server(&self.edge, scope)?;
        self.era_marks(server).takes_requests.then_some(server)
    }

    /// The servers of a scope that have no sessions themselves.
    #[must_use]
    pub(in crate::edge) fn stateless_members(&self, scope: &Scope) -> Vec<ServerName> {
        let members = scope::members(self, scope).into_iter().map(|member| member.server);
        members.filter(|server| self.era_marks(server).has_no_sessions).collect()
    }

    /// Whether those who listen to a session hear of this server's lists from itself.
    #[must_use]
    pub(in crate::edge) fn tells_of_lists_itself(
        &self,
        scope: &Scope,
        session: &Session,
        server: &ServerName,
    ) -> bool {
        session.origin != Origin::Client && self.stateless_members(scope).contains(server)
    }

    fn era_marks(&self, server: &ServerName) -> EraMarks {
        let marks = self.edge.catalogs.marks(&self.edge.topology.load(), server);
        if marks.takes_requests && marks.is_outdated {
            // Requests that are passed on ask for no lists, and the server may have become another one.
            let _ = self.scope_catalog_now(&Scope::Server(server.clone()), ClientSet::default());
        }
        marks
    }
}

impl StatelessPass<'_> {
    /// The server's own response.
    ///
    /// # Errors
    /// If no node can take the request, or the connection to one broke: then it may have run.
    pub async fn run(&self) -> Result<Response<Body>, Refusal> {
        let Self { worker, context, scope, server, message, .. } = *self;
        let session = self.session();
        let origin = CallOrigin { context: Some(context), session: &session, scope };
        let method = MethodLabel::named(self.method);
        let observed = ObservedCall::begin_read(worker, origin, message, method);
        observed.is_for(server, message);
        match self.pass(&session).await {
            Ok(Passed { mut response, node, token }) => {
                observed.was_at(&node);
                worker.edge.write_token(token.as_ref(), response.headers_mut());
                Ok(observed.answered(response))
            }
            Err(refusal) => {
                observed.refused(&refusal, request_id(message).as_deref());
                Err(refusal)
            }
        }
    }

    /// The same, of a call that is noted elsewhere.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn pass(&self, session: &Session) -> Result<Passed, Refusal> {
        let call = Call::of_client(self.worker, self.context, session, self.server);
        let mut pass = Pass { of: self, call, tried: Tried::default(), is_repeated: false };
        let passed = match call.only_node() {
            Some(node) => pass.at_only(&node).await?,
            None => None,
        };
        match passed {
            Some(passed) => Ok(passed),
            None => Box::pin(pass.by_strategy()).await,
        }
    }

    /// The answer to a request about a task, and whether it is that the server has no such task. One that
    /// comes as an event stream is the client's, whatever it says.
    async fn read(&self, response: Response<Body>) -> (Response<Body>, bool) {
        if is_event_stream(&response) {
            return (response, false);
        }
        let (parts, body) = response.into_parts();
        let id =
            Envelope::parse(self.message).ok().and_then(|sent| sent.id_text().map(str::to_owned));
        let answer = collect(body, self.worker.edge.config.line).await.unwrap_or_else(|why| {
            let text = format!("the server's answer cannot be read: {why}");
            jsonrpc::error(id.as_deref(), code::SERVER_LOST, &text)
        });
        let error = Envelope::parse(&answer).ok().and_then(|said| said.error);
        let is_unknown = error.and_then(code_of) == Some(code::INVALID_PARAMS);
        (Response::from_parts(parts, answer.into()), is_unknown)
    }

    /// The response of the server at this node.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn at(&self, node: &Node) -> Result<Response<Body>, NotOpened> {
        let session = self.session();
        let call = Call::of_client(self.worker, self.context, &session, self.server);
        let facts = self.facts(&session, node);
        match call.exchange(node, facts, self.request(&call, node)).await {
            Ok(response) => match Outcome::read(response.headers()) {
                None | Some(Outcome::Sent) => Ok(relay(response)),
                Some(Outcome::NotSent | Outcome::UnknownSession) => {
                    Err(Box::pin(not_opened(node, response)).await)
                }
            },
            Err(Failure::NotSent(why) | Failure::Short(why) | Failure::Broken(why)) => {
                self.worker.suspect(&node.id, &why);
                Err(why.into())
            }
        }
    }

    /// See [`session_of`].
    pub fn session(&self) -> Session {
        session_of(self.principal)
    }

    fn facts(&self, session: &Session, node: &Node) -> Facts {
        let quota = Some(self.context.quota.clone());
        Facts { is_stateless: true, read: self.read_for(node), quota, ..session.facts() }
    }

    /// What the runner of a node is told of the message. That of another process reads it itself.
    fn read_for(&self, node: &Node) -> Option<ReadPlaces> {
        self.read.filter(|_| node.reach == Reach::Local)
    }

    fn request(&self, call: &Call<'_>, node: &Node) -> Request<Body> {
        let outgoing = Outgoing::post(self.message.clone()).within(self.trace.clone());
        let mut request = call.request(node, &outgoing);
        if self.read_for(node).is_some() {
            return request;
        }
        for (name, value) in &self.context.headers {
            if is_stateless(name) && !(*name == NAME && self.named.is_some()) {
                request.headers_mut().append(name.clone(), value.clone());
            }
        }
        if let Some(named) = &self.named {
            request.headers_mut().insert(NAME, named.clone());
        }
        request
    }
}

/// The session of a request that belongs to none: strategies see an id that no other request has.
#[must_use]
pub fn session_of(principal: &Principal) -> Session {
    let session = Session::mint(principal.clone(), Bytes::from_static(b"{}"), false);
    Session { origin: Origin::Request, ..session }
}

/// A request on its way, and where it was in vain.
struct Pass<'a> {
    of: &'a StatelessPass<'a>,
    call: Call<'a>,
    tried: Tried,
    /// Whether it was sent again after it may have run.
    is_repeated: bool,
}

impl Pass<'_> {
    /// Sends it to the only node that has the server. `None` if it has not run there.
    async fn at_only(&mut self, node: &Arc<Node>) -> Result<Option<Passed>, Refusal> {
        match self.send(node).await? {
            Ok(response) => {
                let (response, node) = (relay(response), node.id.clone());
                Ok(Some(Passed { response, node, token: None }))
            }
            Err(why) => {
                self.tried.failed(&node.id, why);
                Ok(None)
            }
        }
    }

    /// Sends it to the nodes that the strategy chooses, until one answers.
    async fn by_strategy(mut self) -> Result<Passed, Refusal> {
        let StatelessPass { worker, context, server, message, method, .. } = *self.of;
        let call = self.call;
        let session = call.session.id;
        let mut deciding = worker.edge.decisions.begin(Some(context.id()), session, server);
        let is_about_task = Method::of(method) == Some(Method::Task);
        let mut unknown = None;
        for _ in 0..if is_about_task { MAX_NODES } else { MAX_ATTEMPTS } {
            let tried = &mut self.tried;
            let chosen = call.choose(message, &tried.nodes, &mut deciding);
            let Some(Chosen { node, token }) = chosen else { break };
            let topology = worker.edge.topology.load_full();
            let known = topology.node(&node).filter(|node| node.health.accepts());
            let Some(node) = known.map(Arc::clone) else {
                deciding.fails("the node has left, or drains");
                tried.nodes.push(node);
                continue;
            };
            match self.send(&node).await? {
                Ok(response) => {
                    let mut response = relay(response);
                    let mut is_unknown = false;
                    if is_about_task {
                        (response, is_unknown) = self.of.read(response).await;
                    }
                    let passed = Passed { response, node: node.id.clone(), token };
                    if is_unknown {
                        deciding.fails("the server has no such task there");
                        self.tried.nodes.push(node.id.clone());
                        unknown = unknown.or(Some(Passed { token: None, ..passed }));
                        continue;
                    }
                    deciding.opened(&node.id);
                    return Ok(passed);
                }
                Err(why) => {
                    deciding.fails(&why.reason);
                    self.tried.failed(&node.id, why);
                }
            }
        }
        if let Some(unknown) = unknown {
            deciding.refused("no server that has answered has the task");
            return Ok(unknown);
        }
        let absent = worker.edge.absent_beside(server, &self.tried);
        let why = "no node that hosts it is up";
        let refusal = absent.unwrap_or_else(|| self.tried.refusal(server, why));
        deciding.refused(&refusal.to_string());
        Err(refusal)
    }

    /// Sends it to this node: its response, or why the next one may be asked.
    async fn send(
        &mut self,
        node: &Arc<Node>,
    ) -> Result<Result<Response<Body>, NotOpened>, Refusal> {
        let StatelessPass { worker, server, method, .. } = *self.of;
        let facts = self.of.facts(self.call.session, node);
        let request = self.of.request(&self.call, node);
        Ok(Err(match self.call.exchange(node, facts, request).await {
            Ok(response) => match Outcome::read(response.headers()) {
                None | Some(Outcome::Sent) => return Ok(Ok(response)),
                Some(Outcome::NotSent | Outcome::UnknownSession) => {
                    Box::pin(not_opened(node, response)).await
                }
            },
            Err(Failure::NotSent(why) | Failure::Short(why)) => {
                worker.suspect(&node.id, &why);
                why.into()
            }
            Err(Failure::Broken(why)) => {
                worker.suspect(&node.id, &why);
                let may_repeat = methods::is_safe_to_repeat(method);
                if !may_repeat || std::mem::replace(&mut self.is_repeated, true) {
                    return Err(Refusal::Lost { server: server.clone(), why });
                }
                why.into()
            }
        }))
    }
}
