//! Step 3 for messages that name no session, or a revision without sessions.

use bytes::Bytes;
use http::Response;

use crate::edge::client_request::ClientRequest;
use crate::edge::front::begin::{MAX_FIRST, MAX_PARAMS};
use crate::edge::metrics::StreamTransport;
use crate::edge::pass_through::listened::ListenedServer;
use crate::edge::pass_through::stateless::StatelessPass;
use crate::edge::refusal::{Refusal, Refused, malformed};
use crate::edge::relay::accepted;
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::Worker;
use crate::model::{Principal, Scope, ServerName};
use crate::net::{Body, is_open_stream};
use crate::protocol::era::claim::EraClaim;
use crate::protocol::era::fault::EraFault;
use crate::protocol::era::ladder::{self, Era};
use crate::protocol::era::methods::{LISTEN, Method};
use crate::protocol::era::read_places::ReadPlaces;
use crate::protocol::era::tasks;
use crate::protocol::era::usual_request::UsualRequest;
use crate::protocol::jsonrpc::{Envelope, Malformed};

use super::request::{ModernRequest, for_modern};

/// Who has sent a message, and to what.
#[derive(Clone, Copy)]
pub struct Sessionless<'a> {
    pub context: &'a ClientRequest,
    pub scope: &'a Scope,
    pub principal: &'a Principal,
    pub recent: &'a RecentSession,
}

impl<'a> Sessionless<'a> {
    /// The message on its way to a server, as it came.
    fn pass(
        self,
        worker: &'a Worker,
        server: &'a ServerName,
        message: &'a Bytes,
        method: &'a str,
    ) -> StatelessPass<'a> {
        let Self { context, scope, principal, .. } = self;
        let (named, trace, read) = (None, None, None);
        StatelessPass {
            worker,
            context,
            scope,
            principal,
            server,
            message,
            method,
            named,
            trace,
            read,
        }
    }
}

impl Worker {
    /// Takes a message without a session. One that is not of this era gets what it got before:
    /// `initialize` begins a session, any other is refused with `otherwise`.
    pub(in crate::edge) async fn without_session(
        &self,
        sent: Sessionless<'_>,
        body: Body,
        otherwise: Refusal,
    ) -> Result<Response<Body>, Refused> {
        let message = self.whole(body, sent.context).await?;
        // Nearly all requests to a server without sessions. Their way is not boxed.
        if let Some((server, read)) = self.usual_pass(sent, &message) {
            let passed = self.pass_usual(sent, server, &message, &read).await;
            return match passed {
                Ok(response) => Ok(self.counted_stream(response)),
                Err(refusal) => Err((for_modern(refusal), Some(read.id.to_owned()))),
            };
        }
        Box::pin(self.by_ladder(sent, message, otherwise)).await
    }

    /// The same response. An event stream counts as open until its end.
    fn counted_stream(&self, response: Response<Body>) -> Response<Body> {
        if !is_open_stream(&response) {
            return response;
        }
        let counted = self.edge.metrics.stream(StreamTransport::StreamableHttp);
        response.map(|body| body.with_guard(counted))
    }

    /// The server that takes a message as it came, and what the message says, if both is plain to see.
    fn usual_pass<'a>(
        &self,
        sent: Sessionless<'a>,
        message: &'a [u8],
    ) -> Option<(&'a ServerName, UsualRequest<'a>)> {
        let server = self.stateless_server(sent.scope)?;
        let is_counted = self.pass_counts(Some(sent.context), server).is_some();
        let read = UsualRequest::of(message, &sent.context.headers).filter(|_| !is_counted)?;
        Some((server, read))
    }

    async fn pass_usual(
        &self,
        sent: Sessionless<'_>,
        server: &ServerName,
        message: &Bytes,
        read: &UsualRequest<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let pass = sent.pass(self, server, message, read.method);
        StatelessPass { read: ReadPlaces::of(read, message), ..pass }.run().await
    }

    async fn by_ladder(
        &self,
        sent: Sessionless<'_>,
        message: Bytes,
        otherwise: Refusal,
    ) -> Result<Response<Body>, Refused> {
        let Sessionless { context, scope, principal, .. } = sent;
        let envelope = Envelope::parse(&message).map_err(|why| malformed(why, &message))?;
        let id = || envelope.id_text().map(str::to_owned);
        match ladder::era(&envelope, &context.headers) {
            Ok(Era::Legacy) if message.len() > MAX_FIRST => {
                let refusal = match otherwise {
                    Refusal::MissingSession => Refusal::FirstTooLarge(MAX_FIRST, MAX_PARAMS),
                    other => other,
                };
                Err((refusal, id()))
            }
            Ok(Era::Legacy) => {
                let read = (&message, &envelope);
                self.first_message(context, scope, principal.clone(), read, otherwise).await
            }
            // Over HTTP, closing the response is what cancels; nothing else can be told.
            Ok(Era::ModernNotice) => Ok(accepted()),
            Ok(Era::Modern(claim)) => {
                let served = self.modern(sent, &message, &envelope, &claim).await;
                let served = served.map_err(|refusal| (for_modern(refusal), id()))?;
                Ok(self.counted_stream(served))
            }
            Err(fault) => Err((fault.into(), id())),
        }
    }

    async fn modern(
        &self,
        sent: Sessionless<'_>,
        message: &Bytes,
        envelope: &Envelope<'_>,
        claim: &EraClaim<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let Sessionless { context, scope, principal, recent } = sent;
        if !envelope.has_plain_id() {
            let text = "\"id\" must be a string or a whole number";
            return Err(Refusal::Malformed(Malformed::Message(text)));
        }
        if let Some(server) = self.stateless_server(scope) {
            let counts = self.pass_counts(Some(context), server);
            let under_way = counts.map(|counts| counts.count_one(envelope)).transpose()?.flatten();
            let passing = self.pass_whole(sent, server, message, envelope.method());
            let response = Box::pin(passing).await?;
            return Ok(match under_way {
                Some(under_way) => response.map(|body| body.with_guard(under_way)),
                None => response,
            });
        }
        let unknown = || EraFault::Method(envelope.method().to_owned());
        let method = Method::of(envelope.method()).ok_or_else(unknown)?;
        let id = envelope.id_text().unwrap_or("null");
        if tasks::are_among(claim.capabilities) {
            context.note_tasks();
        }
        let request = ModernRequest {
            worker: self,
            context,
            scope,
            principal,
            recent,
            message,
            envelope,
            claim,
            method,
            id,
        };
        match method {
            Method::Discover => request.discover().await,
            Method::Listen => request.listen().await,
            Method::List(list) => request.list(list).await,
            Method::Tool
            | Method::Prompt
            | Method::Resource
            | Method::Completion
            | Method::Skills
            | Method::Skill => request.call().await,
            Method::Task => request.task_call().await,
        }
    }

    /// Passes a request on to the one server of the URL, as it came.
    async fn pass_whole(
        &self,
        sent: Sessionless<'_>,
        server: &ServerName,
        message: &Bytes,
        method: &str,
    ) -> Result<Response<Body>, Refusal> {
        let Sessionless { context, scope, principal, .. } = sent;
        if method == LISTEN && !ListenedServer::nodes(self, server).is_empty() {
            let listened = ListenedServer {
                worker: self.clone(),
                context: context.clone(),
                scope: scope.clone(),
                principal: principal.clone(),
                server: server.clone(),
                message: message.clone(),
            };
            return listened.respond().await;
        }
        sent.pass(self, server, message, method).run().await
    }
}
