//! Serves one connection: hands each request to the part that its path belongs to.

use std::mem::take;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::service::service_fn;

use crate::edge::access::admit::{self, Caller};
use crate::edge::access::rates::{CountedRequests, LimitedRequest, Rates};
use crate::edge::access::resource_metadata::Reached;
use crate::edge::access::{by_token, cors, framing, resource_metadata};
use crate::edge::client_request::NotedId;
use crate::edge::front::request_ids;
use crate::edge::logins::login_routes;
use crate::edge::observed::refused_request::{self, AdmittedRequest};
use crate::edge::refusal::Refusal;
use crate::edge::scope::{self, Entrance};
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::Worker;
use crate::model::Principal;
use crate::net::{Body, ClientBody, Introduction};
use crate::protocol::headers;
use crate::sync::{Locked, Watcher};
use crate::tls::ClusterPeer;

use super::activity::{ActiveRequest, ConnectionOrder};
use super::client_certificates::CertifiedClient;
use super::raw_head::HeadForm;
use super::settle::Settle;
use super::streams::ClientStream;
use super::table::Connected;
use super::wire::ClientWire;
use super::{base_path, not_here};

/// Bytes of hyper's read buffer beyond the largest header block, for body bytes read with it.
const REQUEST_ROOM: usize = 16 * 1024;
/// How long a connection that drains waits for its first request.
pub(super) const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// The answer to a client whose request has no complete head in time.
const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Routes that are not MCP: the management API, and the seam for other processes.
pub trait OtherRoutes: Send + Sync {
    /// Whether the path belongs to these routes.
    fn takes(&self, path: &str) -> bool;

    /// Whether the path is answered even when there is no room for another connection: it tells how
    /// the process is, or holds the cluster together. Both are bounded in another way.
    fn is_always_served(&self, path: &str) -> bool;

    /// Answers a request whose path [`Self::takes`] accepts. A response with status 101 can ask for
    /// an [`Introduction`].
    fn serve(
        &self,
        worker: &Worker,
        request: Request<Body>,
        ends: Ends,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Whether the connection has begun with an [`Introduction`], so that the peer is known.
    pub proved: bool,
    /// Whether it speaks TLS.
    pub is_tls: bool,
}

impl Ends {
    /// Who has come, and by which scheme.
    fn reached(self) -> Reached {
        Reached { peer: self.peer.ip(), is_tls: self.is_tls }
    }
}

/// What all requests of one connection share.
struct ConnectionParts {
    routes: Arc<dyn OtherRoutes>,
    draining: Watcher,
    connected: Connected,
    certified: Certified,
    /// What a request has asked for.
    introduction: Locked<Option<Introduction>>,
}

/// The same under one state of the settings: what is remembered of earlier requests counts under
/// these only.
struct ConnectionState {
    parts: Arc<ConnectionParts>,
    ends: Ends,
    worker: Worker,
    recent: RecentSession,
}

impl ConnectionState {
    fn of(parts: &Arc<ConnectionParts>, ends: Ends, worker: Worker) -> Arc<Self> {
        Arc::new(Self { parts: Arc::clone(parts), ends, worker, recent: RecentSession::default() })
    }

    /// The state for the next request: `self`, unless the settings were replaced since it was made.
    /// `later` has the one that was made last for that reason. This takes no lock.
    fn now(self: &Arc<Self>, later: &ArcSwapOption<Self>) -> Arc<Self> {
        if self.worker.is_latest() {
            return Arc::clone(self);
        }
        match later.load_full() {
            Some(state) if state.worker.is_latest() => state,
            _ => {
                let state = Self::of(&self.parts, self.ends, self.worker.renewed());
                later.store(Some(Arc::clone(&state)));
                state
            }
        }
    }
}

/// What a connection is given when it has come.
pub(super) struct Shared {
    pub worker: Worker,
    pub routes: Arc<dyn OtherRoutes>,
    pub draining: Watcher,
    pub connected: Connected,
    pub certified: Certified,
}

/// Who is at the other end, by its certificate.
#[derive(Clone, Default)]
pub(super) struct Certified {
    /// A process of the cluster.
    pub process: Option<Arc<ClusterPeer>>,
    pub client: Option<Arc<CertifiedClient>>,
}

/// Serves one connection.
pub(super) async fn connection<S: ClientStream>(
    Shared { worker, routes, draining, connected, certified }: Shared,
    stream: S,
    (peer, local): (SocketAddr, SocketAddr),
) {
    let is_tls = stream.is_tls();
    let wire = ClientWire::new(stream, &connected.activity);
    let introduction = Locked::default();
    let parts = ConnectionParts { routes, draining, connected, certified, introduction };
    let (parts, ends) = (Arc::new(parts), Ends { peer, local, proved: false, is_tls });
    let introduction = http(wire, ends, &parts, worker.clone()).await;
    // Only connections of the cluster have one.
    if let Some(introduction) = introduction
        && let Some(connection) = introduction.run().await
        && let Ok(connection) = connection.downcast::<ClientWire<S>>()
        && connection.read_buf.is_empty()
    {
        parts.connected.is_of_cluster();
        parts.connected.activity.raw_head.forget();
        http(connection.io, Ends { proved: true, ..ends }, &parts, worker).await;
    }
}

/// Serves the requests on a connection, until it ends or an introduction is to follow.
async fn http<S: ClientStream>(
    wire: ClientWire<S>,
    ends: Ends,
    parts: &Arc<ConnectionParts>,
    worker: Worker,
) -> Option<Introduction> {
    let limit = worker.edge.config.header_block;
    let activity = &parts.connected.activity;
    let first = ConnectionState::of(parts, ends, worker);
    let later = ArcSwapOption::empty();
    // What this future captures is moved for every call, and with more than this all of it is.
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let state = first.now(&later);
        async move {
            let parts = &*state.parts;
            let activity = &parts.connected.activity;
            let (in_use, intake) = (activity.begin(), &activity.intake);
            let mut request = request.map(|body| Body::Incoming(ClientBody::new(body, intake)));
            // An HTTP+SSE stream carries answers, and ends by itself once they are sent.
            let base = &state.worker.edge.config.base_path;
            let path = base_path::below(base, request.uri().path()).unwrap_or("/");
            let ends_itself = Entrance::of(path) == Some(Entrance::EventStream);
            let is_get = request.method() == Method::GET;
            let mut response = route(&state, &mut request, in_use).await;
            if activity.is_leaving() {
                close_after(&mut response);
            }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *parts.introduction.lock() = Introduction::of(&mut response);
            }
            // A whole answer must not be cut: the client would see a connection without one.
            let is_whole = response.body().size_hint().exact().is_some();
            Ok::<_, std::convert::Infallible>(if is_get && !ends_itself && !is_whole {
                // A GET stream does not end by itself: a drain would wait for it for ever.
                let mut draining = parts.draining.clone();
                response.map(|body| body.until(async move { draining.raised().await }))
            } else {
                response
            })
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(limit + REQUEST_ROOM);
    let mut connection = builder.serve_connection(wire, service).with_upgrades();
    let mut is_draining = false;
    let mut first_request = None;
    let ended = std::future::poll_fn(|cx| {
        let mut own = activity.intake.waker.context(cx);
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(&mut own) {
                return Poll::Ready(ended.map(|()| None));
            }
            match activity.poll_order(cx) {
                Poll::Ready(ConnectionOrder::Drain) if !is_draining => {
                    // hyper would close a connection at once that has had no request yet: one may be
                    // on its way, and its answer closes the connection all the same.
                    if activity.requests() == 0 {
                        let wait = || Box::pin(tokio::time::sleep(FIRST_REQUEST));
                        let wait = first_request.get_or_insert_with(wait);
                        std::task::ready!(wait.as_mut().poll(cx));
                    }
                    is_draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Poll::Ready(ConnectionOrder::Drain) | Poll::Pending => return Poll::Pending,
                Poll::Ready(order) => return Poll::Ready(Ok(Some(order))),
            }
        }
    });
    let ended = ended.await;
    // `None` after an upgrade, whose wire is the introduction's.
    let wire = || connection.into_parts().map(|parts| parts.io);
    match ended {
        Ok(None) if activity.intake.leaves_rest() => {
            if let Some(mut wire) = wire() {
                wire.linger().await;
            }
        }
        Ok(Some(ConnectionOrder::Late)) => {
            if let Some(mut wire) = wire() {
                wire.say(LATE);
            }
        }
        Ok(_) => {}
        Err(error) => tracing::trace!(peer = %ends.peer, "connection: {error}"),
    }
    parts.introduction.lock().take()
}

/// Asks the client to send its next request over another connection.
fn close_after(response: &mut Response<Body>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
}

/// Borrows the request and takes parts out of it: each future below that owned a request would
/// grow by its size, and these futures are moved for every call.
async fn route(
    state: &ConnectionState,
    request: &mut Request<Body>,
    in_use: ActiveRequest,
) -> Response<Body> {
    let ConnectionState { parts, ends, worker, recent } = state;
    let ConnectionParts { routes, draining, connected, certified, .. } = &**parts;
    let Ends { peer, local, .. } = *ends;
    let limit = worker.edge.config.header_block;
    let framing = match framing::check(request) {
        Ok(framing) if framing.size <= limit => framing,
        Ok(_) => return Box::pin(refused(Refusal::HeadersTooLarge(limit), None, request)).await,
        // Where its body ends is one of the things that two readers may understand differently.
        Err(refusal @ Refusal::Coding) => return refusal.response(None),
        Err(refusal) => return Box::pin(refused(refusal, None, request)).await,
    };
    let (activity, raw) = (&connected.activity, &connected.activity.raw_head);
    if framing.has_coding || raw.has_some() {
        match raw.form(framing.has_coding) {
            HeadForm::Plain => {}
            HeadForm::TwoLengths => return Refusal::TwoLengths.response(None),
            HeadForm::BareLineFeed => return Refusal::BareLineFeed.response(None),
            HeadForm::Unknown => activity.leave(),
        }
    }
    let base = &worker.edge.config.base_path;
    if !base.is_empty() {
        // Probes of the machine and the cluster's own calls do not come through the proxy.
        let is_served = |path: &str| {
            ends.proved
                || routes.is_always_served(path)
                || (worker.edge.config.issuers.is_some() && resource_metadata::is_at(path))
        };
        if let Err(refusal) = base_path::take_off(base, request, is_served) {
            return Box::pin(refused(refusal, None, request)).await;
        }
    }
    let is_reserved = connected.activity.is_reserved && !ends.proved;
    if is_reserved && !routes.is_always_served(request.uri().path()) {
        return Box::pin(refused(Refusal::Crowded, None, request)).await;
    }
    if routes.takes(request.uri().path()) {
        return other_route(state, request, in_use).await;
    }
    let origin = || cors::AllowedOrigin::of(worker, request.headers(), local.ip());
    let page = framing.has_origin.then(origin).flatten();
    let is_served = |path: &str| Entrance::of(path).is_some() || resource_metadata::is_at(path);
    if let Some(page) = page.as_ref().filter(|_| is_served(request.uri().path()))
        && let Some(answer) = page.preflight(request)
    {
        return answer;
    }
    if framing.has_internal {
        headers::strip_internal(request.headers_mut());
    }
    let (method, path) = (request.method(), request.uri().path());
    let mut settle = Settle::begin(&worker.edge.metrics, method, path, in_use);
    let client = certified.client.as_ref().map(|client| client.principal());
    let sender = Sender { ends: *ends, client, has_origin: framing.has_origin };
    let mut response = match mcp(worker, recent, request, sender, draining).await {
        Ok(response) if worker.edge.config.rates.is_some() => while_counted(request, response),
        Ok(response) => response,
        Err((refusal, id)) => {
            tracing::debug!(%peer, "{refusal}");
            let line = refused_request::note(&worker.edge, &refusal, request, peer.ip());
            let noted = request.extensions_mut().remove::<NotedId>();
            let mut response = Box::pin(refused(refusal, id, request)).await;
            if let Some(line) = line {
                line.end(&worker.edge, &response);
            }
            if let Some(NotedId(id)) = noted {
                response.headers_mut().insert(headers::REQUEST_ID, id);
            }
            response
        }
    };
    if let Some(page) = page {
        page.write(worker, response.headers_mut());
    }
    settle.answered(response.status());
    if let Body::Full(piece) = response.body_mut() {
        *piece = worker.edge.connections.unread.counted(take(piece));
    }
    response.map(|body| body.with_guard(settle))
}

/// The response to a refused request, under its id where the body has come so far.
async fn refused(
    refusal: Refusal,
    id: Option<String>,
    request: &mut Request<Body>,
) -> Response<Body> {
    let id = match id {
        Some(id) => Some(id),
        None => request_ids::unread(request).await,
    };
    refusal.response(id.as_deref())
}

async fn other_route(
    state: &ConnectionState,
    request: &mut Request<Body>,
    in_use: ActiveRequest,
) -> Response<Body> {
    let ConnectionState { parts, ends, worker, .. } = state;
    let ConnectionParts { routes, connected, certified, .. } = &**parts;
    // Whoever is proved has shown it by then.
    if let Some(process) = certified.process.as_ref().filter(|_| !ends.proved) {
        request.extensions_mut().insert(Arc::clone(process));
    }
    let mut response = routes.serve(worker, take(request), *ends).await;
    // The answer to a handshake keeps its `connection: upgrade`.
    let goes_on = ends.proved || response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if connected.activity.is_reserved && !goes_on {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Body::Full(piece) = response.body_mut() {
        *piece = worker.edge.connections.unread.counted(take(piece));
    }
    response.map(|body| body.with_guard(in_use))
}

/// Answers one request of a client that has no connection.
#[cfg(test)]
pub async fn answer(
    worker: &Worker,
    mut request: Request<Body>,
    ends: (SocketAddr, SocketAddr),
    draining: &Watcher,
) -> Response<Body> {
    let (peer, local) = ends;
    let ends = Ends { peer, local, proved: false, is_tls: false };
    let sender = Sender { ends, client: None, has_origin: true };
    match mcp(worker, &RecentSession::default(), &mut request, sender, draining).await {
        Ok(response) => response,
        Err((refusal, id)) => refused(refusal, id, &mut request).await,
    }
}

/// From where a request comes.
#[derive(Clone, Copy)]
struct Sender<'a> {
    ends: Ends,
    /// Who has come by a certificate.
    client: Option<&'a Principal>,
    /// Whether the request may have an `Origin`.
    has_origin: bool,
}

async fn mcp(
    worker: &Worker,
    recent: &RecentSession,
    request: &mut Request<Body>,
    sender: Sender<'_>,
    draining: &Watcher,
) -> Result<Response<Body>, crate::edge::refusal::Refused> {
    let ends = sender.ends;
    let path = request.uri().path();
    let Some(entrance) = Entrance::of(path) else {
        if let Some(answer) = metadata(worker, request, ends) {
            return answer.map_err(|refusal| (refusal, None));
        }
        let came = (ends.local.ip(), ends.is_tls);
        if let Some(answer) = Box::pin(login_routes::answer(worker, request, came)).await {
            return answer.map_err(|refusal| (refusal, None));
        }
        let text = not_here::text(path, &worker.edge.config.base_path);
        return Err((Refusal::UnknownPath(text), None));
    };
    let caller = match admitted(worker, recent, request.headers(), sender) {
        Ok(caller) => caller,
        Err(refusal) => Box::pin(by_token::caller(&worker.edge, request, ends.reached(), refusal))
            .await
            .map_err(|refusal| (refusal, None))?,
    };
    let admitted = AdmittedRequest::of(&worker.edge, request, (&caller, entrance));
    let served = serve(worker, recent, request, (caller, entrance), draining).await;
    if let Some(admitted) = admitted.filter(|_| served.is_err()) {
        request.extensions_mut().insert(admitted);
    }
    served
}

/// Serves a request whose caller is known.
async fn serve(
    worker: &Worker,
    recent: &RecentSession,
    request: &mut Request<Body>,
    (caller, entrance): (Caller, Entrance),
    draining: &Watcher,
) -> Result<Response<Body>, crate::edge::refusal::Refused> {
    // Of all requests only those with messages are counted: a stream stays open.
    if let Some(rates) =
        worker.edge.config.rates.as_ref().filter(|_| request.method() == Method::POST)
    {
        count(rates, &caller, request).map_err(|refusal| (refusal, None))?;
    }
    let path = request.uri().path();
    match entrance {
        Entrance::Streamable => {}
        Entrance::EventStream => {
            return Box::pin(worker.event_stream(request, caller, draining)).await;
        }
        Entrance::Messages => {
            return Box::pin(worker.messages(request, caller)).await;
        }
    }
    let remembered =
        recent.scope(path, caller.reach()).filter(|scope| scope::is_known(worker, scope));
    let scope = match remembered {
        Some(scope) => scope,
        None => {
            let has_session = request.headers().contains_key(headers::SESSION);
            let scope = scope::scope(worker, path, has_session, caller.reach())
                .await
                .map_err(|refusal| (refusal, None))?;
            recent.keep_scope(path, caller.reach(), &scope);
            scope
        }
    };
    worker.streamable(request, scope, caller, recent).await
}

/// What the gateway says of itself to clients that look for a token, if the path asks for that.
fn metadata(
    worker: &Worker,
    request: &Request<Body>,
    ends: Ends,
) -> Option<Result<Response<Body>, Refusal>> {
    let (config, issuers) = (&worker.edge.config, worker.edge.config.issuers.as_ref()?);
    let resource = resource_metadata::resource_of(request.uri().path(), &config.base_path)?;
    let checked = admit::check_host(config, request.headers(), ends.local.ip());
    Some(checked.and_then(|()| {
        resource_metadata::answer(config, issuers, request, ends.reached(), resource)
    }))
}

/// Counts a request whose caller is known. What it counts as under way stays with the request.
fn count(rates: &Arc<Rates>, caller: &Caller, request: &mut Request<Body>) -> Result<(), Refusal> {
    let Some(identity) = &caller.identity else { return Ok(()) };
    let (quota, key) = (&caller.quota, identity.key.as_deref());
    let asking = LimitedRequest { quota, key, limits: &identity.limits, call: None };
    let under_way = rates.admit(asking).map_err(|met| Refusal::LimitMet(Box::new(met)))?;
    if let Some(under_way) = under_way {
        request.extensions_mut().insert(Arc::new(under_way));
    }
    Ok(())
}

/// The same response, until whose end what the request was counted as is under way.
fn while_counted(request: &mut Request<Body>, response: Response<Body>) -> Response<Body> {
    match request.extensions_mut().remove::<Arc<CountedRequests>>() {
        Some(under_way) => response.map(|body| body.with_guard(under_way)),
        None => response,
    }
}

/// Who sends the request, perhaps by a certificate. A Host that was let in need not be judged again.
fn admitted(
    worker: &Worker,
    recent: &RecentSession,
    headers: &HeaderMap,
    Sender { ends, client, has_origin }: Sender<'_>,
) -> Result<Caller, Refusal> {
    let config = &worker.edge.config;
    if !recent.has_host(headers) {
        admit::check_host(config, headers, ends.local.ip())?;
        recent.keep_host(headers);
    }
    if has_origin {
        admit::check_origin(config, headers)?;
    }
    admit::admit(config, headers, ends.peer.ip(), client)
}
