//! A worker's way to every replica.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri, header};

use crate::model::{Reach, ServerName, SessionId};
use crate::net::{
    Body, Connection, Failure, Introduce, Message, Pool, Target, Unreached, Written, WrittenHead,
    percent_encoded,
};
use crate::protocol::headers;
use crate::sync::Locked;

use super::Facts;

const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);

/// The runner, as the edge sees it: one MCP endpoint for each server.
///
/// The request's URI is ignored.
pub trait Endpoint: Send + Sync {
    /// One exchange with a server. A failure is a response too, with its [`super::Outcome`].
    fn call(
        &self,
        server: ServerName,
        facts: Facts,
        request: Request<Body>,
    ) -> BoxFuture<'_, Response<Body>>;

    /// The catalog of one server. With a session: what its own instance offers, or 204 if that is
    /// the same.
    fn catalog(&self, server: ServerName, query: CatalogQuery) -> BoxFuture<'_, Response<Body>>;
}

/// Which catalog of a server is meant.
#[derive(Debug, Clone, Default)]
pub struct CatalogQuery {
    /// The client capabilities, as the bits of a `ClientSet`.
    pub set: u8,
    /// The client's extensions, as JSON. Processes of earlier versions do not read them.
    pub extensions: Option<Arc<str>>,
    /// The session whose own lists are asked for.
    pub session: Option<SessionId>,
}

impl CatalogQuery {
    fn text(&self) -> String {
        let mut text = format!("set={}", self.set);
        if let Some(extensions) = &self.extensions {
            text.push_str(&format!("&extensions={}", percent_encoded(extensions)));
        }
        if let Some(id) = self.session {
            text.push_str(&format!("&session={id}"));
        }
        text
    }
}

/// A worker's way to every replica. Each worker has its own, with its own connections, which
/// clones share.
#[derive(Clone)]
pub struct Link {
    local: Arc<dyn Endpoint>,
    /// For everything but nodes. The two are never mixed: a server's URL may be that of a node.
    pool: Pool,
    /// For nodes: each connection has begun with a handshake.
    nodes: Pool,
    /// What processes of the cluster speak TLS with; `None`: as with everything else.
    tls: Option<Arc<rustls::ClientConfig>>,
    places: Arc<ServerUrls>,
}

/// A request to another node, ready to go out.
pub struct Outbound {
    /// Where it goes.
    pub target: Target,
    /// The request.
    pub message: Message,
}

/// The URLs under which nodes serve each server, parsed once and used by every call.
#[derive(Default)]
struct ServerUrls(Locked<HashMap<ServerName, Vec<ServerUrl>>>);

struct ServerUrl {
    base: String,
    target: Target,
    uri: Uri,
    /// The head of a message without its facts.
    posting: WrittenHead,
}

impl ServerUrl {
    fn of(base: &str, server: &ServerName) -> Option<Self> {
        let (target, uri) = locate(base, &super::server_path(server, "mcp"))?;
        let mut posting = Request::new(());
        *posting.method_mut() = Method::POST;
        *posting.uri_mut() = uri.clone();
        posting.headers_mut().insert(header::HOST, target.host_header().clone());
        posting.headers_mut().insert(header::CONTENT_TYPE, JSON);
        let posting = WrittenHead::of(&posting);
        Some(Self { base: base.to_owned(), target, uri, posting })
    }
}

/// The most URLs kept for one server, after which all of them are dropped: nodes that return
/// under new addresses must not make the list grow for ever.
const MAX_PLACES: usize = 64;

impl ServerUrls {
    fn with<T>(
        &self,
        base: &str,
        server: &ServerName,
        with: impl FnOnce(&ServerUrl) -> T,
    ) -> Option<T> {
        let mut places = self.0.lock();
        if let Some(known) = places.get(server)
            && let Some(place) = known.iter().find(|place| place.base == base)
        {
            return Some(with(place));
        }
        let place = ServerUrl::of(base, server)?;
        let known = places.entry(server.clone()).or_default();
        if known.len() >= MAX_PLACES {
            known.clear();
        }
        let given = with(&place);
        known.push(place);
        Some(given)
    }
}

impl Link {
    /// `introduce` begins each connection to another node, within `tls` if there is one.
    #[must_use]
    pub fn new(
        local: Arc<dyn Endpoint>,
        pool: Pool,
        introduce: Arc<dyn Introduce>,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Self {
        let nodes = of_cluster(pool.introduced_by(introduce), tls.as_ref());
        Self { local, pool, nodes, tls, places: Arc::default() }
    }

    /// The worker's connections, for requests to other targets than nodes.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The same link with its own pool for everything but nodes, here for processes of the cluster:
    /// its connections rest for at most `longest`, in whole seconds, and begin with `introduce`, if
    /// anything is to be found out of the other side.
    #[must_use]
    pub fn with_rest(&self, longest: Duration, introduce: Option<Arc<dyn Introduce>>) -> Self {
        let pool = match introduce {
            Some(introduce) => self.pool.introduced_by(introduce),
            None => self.pool.clone(),
        };
        let pool = of_cluster(pool.with_rest(longest).near(), self.tls.as_ref());
        Self { pool, ..self.clone() }
    }

    /// The same link with its own connections to nodes, which begin with this introduction: for a
    /// node that is not registered yet.
    #[must_use]
    pub fn introduced_by(&self, introduce: Arc<dyn Introduce>) -> Self {
        let nodes = of_cluster(self.pool.introduced_by(introduce), self.tls.as_ref());
        Self { nodes, ..self.clone() }
    }

    /// Makes sure of a connection to the node with this base URL, which rests until the next
    /// request.
    ///
    /// # Errors
    /// Why there is none: the node does not answer, or is not the expected one.
    pub async fn reach(&self, base: &str) -> Result<(), Unreached> {
        let target = Target::of_node(base).ok_or_else(|| no_url(base).to_string())?;
        self.nodes.reach(&target).await
    }

    /// Closes the connections to the node with this base URL that rest.
    pub fn forget(&self, base: &str) {
        if let Some(target) = Target::of_node(base) {
            self.nodes.forget(&target);
        }
    }

    /// The runner of this process.
    #[must_use]
    pub fn local(&self) -> Arc<dyn Endpoint> {
        Arc::clone(&self.local)
    }

    /// One exchange with the replica of a server in this process.
    pub fn here(
        &self,
        server: &ServerName,
        facts: Facts,
        request: Request<Body>,
    ) -> BoxFuture<'_, Response<Body>> {
        self.local.call(server.clone(), facts, request)
    }

    /// One exchange with a replica of a server.
    ///
    /// # Errors
    /// [`Failure`] if another node gave no response head; this process always
    /// answers.
    pub async fn call(
        &self,
        reach: &Reach,
        server: &ServerName,
        facts: Facts,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        match reach {
            Reach::Local => Ok(self.here(server, facts, request).await),
            Reach::Remote(base) => {
                let Outbound { target, message } = self.outbound(base, server, facts, request)?;
                self.nodes.send(&target, message).await
            }
        }
    }

    /// A request to a replica at another node, ready to go out.
    ///
    /// # Errors
    /// If the node's base URL is not valid.
    pub fn outbound(
        &self,
        base: &str,
        server: &ServerName,
        facts: Facts,
        mut request: Request<Body>,
    ) -> Result<Outbound, Failure> {
        let is_plain = request.method() == Method::POST && request.headers().is_empty();
        if is_plain
            && let Body::Full(body) = request.body()
            && let Some(more) = facts.lines()
        {
            let place = |place: &ServerUrl| (place.target.clone(), place.posting.clone());
            let place = self.places.with(base, server, place);
            let (target, head) = place.ok_or_else(|| no_url(base))?;
            let message = Written { head, more, body: body.clone() }.into();
            return Ok(Outbound { target, message });
        }
        facts.write(request.headers_mut());
        if request.method() == Method::POST {
            request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        }
        let place = |place: &ServerUrl| (place.target.clone(), place.uri.clone());
        let place = self.places.with(base, server, place);
        let (target, uri) = place.ok_or_else(|| no_url(base))?;
        *request.uri_mut() = uri;
        Ok(Outbound { target, message: request.into() })
    }

    /// A connection to another node, for one request. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if there is none.
    pub async fn connection(&self, target: &Target) -> Result<Connection, Failure> {
        self.nodes.connection(target).await
    }

    /// The catalog of a server at one of its replicas, as [`Endpoint::catalog`] gives it.
    ///
    /// # Errors
    /// [`Failure`] if another node gave no response head.
    pub async fn catalog(
        &self,
        reach: &Reach,
        server: &ServerName,
        query: CatalogQuery,
    ) -> Result<Response<Body>, Failure> {
        match reach {
            Reach::Local => Ok(self.local.catalog(server.clone(), query).await),
            Reach::Remote(base) => {
                let path = super::server_path(server, &format!("catalog?{}", query.text()));
                self.remote(base, &path, Request::new(Body::Empty)).await
            }
        }
    }

    /// One request to another process that proves nothing by its connection, at a path below its
    /// base URL.
    ///
    /// # Errors
    /// [`Failure`] if no response head came.
    pub async fn unproved(
        &self,
        base: &str,
        path: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let place = base.parse().ok().and_then(|uri| Some((Target::of(&uri)?, below(&uri, path)?)));
        let (target, uri) = place.ok_or_else(|| no_url(base))?;
        *request.uri_mut() = uri;
        self.pool.send(&target, request).await
    }

    /// One request to another node, at a path below its base URL.
    ///
    /// # Errors
    /// [`Failure`] if no response head came.
    pub async fn remote(
        &self,
        base: &str,
        path: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        self.send(locate(base, path).ok_or_else(|| no_url(base))?, request).await
    }

    async fn send(
        &self,
        (target, uri): (Target, Uri),
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        *request.uri_mut() = uri;
        self.nodes.send(&target, request).await
    }
}

fn of_cluster(pool: Pool, tls: Option<&Arc<rustls::ClientConfig>>) -> Pool {
    match tls {
        Some(tls) => pool.with_tls(Arc::clone(tls)),
        None => pool,
    }
}

fn no_url(base: &str) -> Failure {
    Failure::NotSent(format!("{base} is not an http or https URL"))
}

/// The pool's key and the request target for a path below a node's base URL. `None` if that is
/// not an http or https URL.
fn locate(base: &str, path: &str) -> Option<(Target, Uri)> {
    Some((Target::of_node(base)?, below(&base.parse().ok()?, path)?))
}

fn below(base: &Uri, path: &str) -> Option<Uri> {
    let prefix = base.path().trim_end_matches('/');
    let full: PathAndQuery = format!("{prefix}{path}").parse().ok()?;
    Some(Uri::from(full))
}
