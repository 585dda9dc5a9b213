//! Serves a worker's connections: accepts them, and hands each request to the part that its
//! path belongs to.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};

use crate::edge::access::{admit, cors, framing};
use crate::edge::refusal::Refusal;
use crate::edge::scope::{self, Entrance};
use crate::edge::session::recent_session::RecentSession;
use crate::edge::worker::Worker;
use crate::net::Body;
use crate::protocol::headers;
use crate::sync::Watcher;

use super::activity::{ActiveRequest, Connected, ConnectionOrder, Connections};
use super::settle::Settle;
use super::wire::ClientWire;

/// Bytes of hyper's read buffer beyond the largest header block, for body bytes read with it.
const REQUEST_ROOM: usize = 16 * 1024;
/// Pause after a failed accept; a process that ran out of descriptors must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Routes that are not MCP: the management API, and the seam for other processes.
pub trait OtherRoutes: Send + Sync {
    /// Whether the path belongs to these routes.
    fn takes(&self, path: &str) -> bool;

    /// Answers a request whose path [`Self::takes`] accepts.
    fn serve(
        &self,
        worker: &Worker,
        request: Request<Body>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// Accepts until `draining`, then waits until every connection has ended.
pub async fn serve(
    worker: Worker,
    listener: TcpListener,
    routes: Arc<dyn OtherRoutes>,
    mut draining: Watcher,
) {
    let (alive, mut all_ended) = tokio::sync::mpsc::channel::<()>(1);
    let connections = Connections::default();
    let mut looking = std::pin::pin!(connections.look());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.raised() => break,
            () = &mut looking => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (worker, routes) = (worker.clone(), Arc::clone(&routes));
                let (draining, alive) = (draining.clone(), alive.clone());
                let connected = connections.enter();
                tokio::spawn(async move {
                    connection(worker, stream, peer, routes, draining, &connected).await;
                    drop(alive);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(alive);
    connections.drain();
    // `recv` returns when the last connection has dropped its sender.
    tokio::select! {
        _ = all_ended.recv() => {}
        () = looking => {}
    }
}

async fn connection(
    worker: Worker,
    stream: TcpStream,
    peer: SocketAddr,
    routes: Arc<dyn OtherRoutes>,
    draining: Watcher,
    connected: &Connected,
) {
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let limit = worker.edge.config.header_block;
    let activity = &connected.activity;
    let used = Arc::clone(activity);
    let shared = Arc::new((worker, routes, RecentSession::default(), draining));
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (shared, in_use) = (Arc::clone(&shared), used.begin());
        let mut request = request.map(Body::Incoming);
        async move {
            let (worker, routes, recent, draining) = &*shared;
            // An HTTP+SSE stream carries answers, and ends by itself once they are sent.
            let ends_itself = Entrance::of(request.uri().path()) == Some(Entrance::EventStream);
            let is_get = request.method() == Method::GET;
            let peers = (peer, local);
            let response =
                route(worker, &**routes, recent, &mut request, peers, draining, in_use).await;
            Ok::<_, std::convert::Infallible>(if is_get && !ends_itself {
                // A GET stream does not end by itself: a drain would wait for it for ever.
                let mut draining = draining.clone();
                response.map(|body| body.until(async move { draining.raised().await }))
            } else {
                response
            })
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_buf_size(limit + REQUEST_ROOM);
    let mut connection =
        std::pin::pin!(builder.serve_connection(ClientWire::new(stream, activity), service));
    let mut is_draining = false;
    let ended = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            match activity.poll_order(cx) {
                Poll::Ready(ConnectionOrder::Drain) if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                Poll::Ready(ConnectionOrder::End) => return Poll::Ready(Ok(())),
                Poll::Ready(ConnectionOrder::Drain) | Poll::Pending => return Poll::Pending,
            }
        }
    });
    if let Err(error) = ended.await {
        tracing::trace!(%peer, "connection: {error}");
    }
}

/// Borrows the request and takes parts out of it: each future below that owned a request would
/// grow by its size, and these futures are moved for every call.
async fn route(
    worker: &Worker,
    routes: &dyn OtherRoutes,
    recent: &RecentSession,
    request: &mut Request<Body>,
    (peer, local): (SocketAddr, SocketAddr),
    draining: &Watcher,
    in_use: ActiveRequest,
) -> Response<Body> {
    let limit = worker.edge.config.header_block;
    match framing::check(request) {
        Ok(size) if size > limit => return Refusal::HeadersTooLarge(limit).response(None),
        Ok(_) => {}
        Err(refusal) => return refusal.response(None),
    }
    if routes.takes(request.uri().path()) {
        let response = routes.serve(worker, take(request), peer, local).await;
        return response.map(|body| body.with_guard(in_use));
    }
    let page = cors::AllowedOrigin::of(worker, request.headers(), local.ip());
    if let Some(page) = page.as_ref().filter(|_| Entrance::of(request.uri().path()).is_some())
        && let Some(answer) = page.preflight(request)
    {
        return answer;
    }
    headers::strip_internal(request.headers_mut());
    let (method, path) = (request.method(), request.uri().path());
    let mut settle = Settle::begin(&worker.edge.metrics, method, path, in_use);
    let mut response = match mcp(worker, recent, request, (peer, local), draining).await {
        Ok(response) => response,
        Err((refusal, id)) => {
            tracing::debug!(%peer, "{refusal}");
            refusal.response(id.as_deref())
        }
    };
    if let Some(page) = page {
        page.write(worker, response.headers_mut());
    }
    settle.answered(response.status());
    response.map(|body| body.with_guard(settle))
}

async fn mcp(
    worker: &Worker,
    recent: &RecentSession,
    request: &mut Request<Body>,
    (peer, local): (SocketAddr, SocketAddr),
    draining: &Watcher,
) -> Result<Response<Body>, crate::edge::refusal::Refused> {
    let path = request.uri().path();
    let Some(entrance) = Entrance::of(path) else {
        let text = format!(
            "{path}; MCP is served at /mcp, /mcp/{{group}} and /mcp/{{server}}, HTTP+SSE below /sse in the same way"
        );
        return Err((Refusal::UnknownPath(text), None));
    };
    let caller = admit::admit(&worker.edge.config, request.headers(), local.ip(), peer.ip())
        .map_err(|refusal| (refusal, None))?;
    match entrance {
        Entrance::Streamable => {}
        Entrance::EventStream => {
            return Box::pin(worker.event_stream(take(request), caller, draining)).await;
        }
        Entrance::Messages => {
            return Box::pin(worker.messages(take(request), caller)).await;
        }
    }
    let has_session = request.headers().contains_key(headers::SESSION);
    let remembered = recent.scope(path).filter(|scope| scope::is_known(worker, scope));
    let scope = match remembered {
        Some(scope) => scope,
        None => {
            let scope =
                scope::scope(worker, path, has_session).await.map_err(|refusal| (refusal, None))?;
            recent.keep_scope(path, &scope);
            scope
        }
    };
    worker.streamable(request, scope, caller, recent).await
}
