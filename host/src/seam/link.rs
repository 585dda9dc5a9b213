//! A worker's way to every replica.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri, header};

use crate::model::{Reach, ServerName, SessionId};
use crate::net::{Body, Failure, Pool, Target};
use crate::protocol::headers;
use crate::sync::Locked;

use super::Facts;

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

    /// The catalog of one server for one set of client capabilities, given as the bits of a
    /// `ClientSet`. With a session: what its own instance offers, or 204 if that is the same.
    fn catalog(
        &self,
        server: ServerName,
        set: u8,
        session: Option<SessionId>,
    ) -> BoxFuture<'_, Response<Body>>;
}

/// A worker's way to every replica. Each worker has its own, with its own connections, which
/// clones share.
#[derive(Clone)]
pub struct Link {
    local: Arc<dyn Endpoint>,
    pool: Pool,
    /// `Bearer …` for other nodes, in a cluster with a token.
    credential: Option<HeaderValue>,
    places: Arc<ServerUrls>,
}

/// The URLs under which nodes serve each server, parsed once and used by every call.
#[derive(Default)]
struct ServerUrls(Locked<HashMap<ServerName, Vec<ServerUrl>>>);

#[derive(Clone)]
struct ServerUrl {
    base: String,
    target: Target,
    uri: Uri,
}

/// The most URLs kept for one server, after which all of them are dropped: nodes that return
/// under new addresses must not make the list grow for ever.
const MAX_PLACES: usize = 64;

impl ServerUrls {
    fn of(&self, base: &str, server: &ServerName) -> Option<(Target, Uri)> {
        let mut places = self.0.lock();
        if let Some(known) = places.get(server)
            && let Some(place) = known.iter().find(|place| place.base == base)
        {
            return Some((place.target.clone(), place.uri.clone()));
        }
        let (target, uri) = locate(base, &super::server_path(server, "mcp"))?;
        let known = places.entry(server.clone()).or_default();
        if known.len() >= MAX_PLACES {
            known.clear();
        }
        known.push(ServerUrl { base: base.to_owned(), target: target.clone(), uri: uri.clone() });
        Some((target, uri))
    }
}

impl Link {
    /// `credential` is the `Authorization` header for other nodes.
    #[must_use]
    pub fn new(local: Arc<dyn Endpoint>, pool: Pool, credential: Option<HeaderValue>) -> Self {
        Self { local, pool, credential, places: Arc::default() }
    }

    /// The worker's connections, for requests to other targets than nodes.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The same link with its own pool, whose connections rest for at most `longest`, in whole
    /// seconds.
    #[must_use]
    pub fn with_rest(&self, longest: Duration) -> Self {
        Self { pool: self.pool.with_rest(longest), ..self.clone() }
    }

    /// The same link for addresses that have not proved their identity: the token must not go
    /// there.
    #[must_use]
    pub fn without_credential(&self) -> Self {
        Self { credential: None, ..self.clone() }
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
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        match reach {
            Reach::Local => Ok(self.here(server, facts, request).await),
            Reach::Remote(base) => {
                facts.write(request.headers_mut());
                if request.method() == Method::POST {
                    let json = HeaderValue::from_static(headers::JSON);
                    request.headers_mut().insert(header::CONTENT_TYPE, json);
                }
                let place = self.places.of(base, server);
                self.send(place.ok_or_else(|| no_url(base))?, request).await
            }
        }
    }

    /// The catalog of a server at one of its replicas, as [`Endpoint::catalog`] gives it.
    ///
    /// # Errors
    /// [`Failure`] if another node gave no response head.
    pub async fn catalog(
        &self,
        reach: &Reach,
        server: &ServerName,
        set: u8,
        session: Option<SessionId>,
    ) -> Result<Response<Body>, Failure> {
        match reach {
            Reach::Local => Ok(self.local.catalog(server.clone(), set, session).await),
            Reach::Remote(base) => {
                let session = session.map_or_else(String::new, |id| format!("&session={id}"));
                let path = super::server_path(server, &format!("catalog?set={set}{session}"));
                self.remote(base, &path, Request::new(Body::Empty)).await
            }
        }
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
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential.clone());
        }
        self.pool.send(&target, request).await
    }
}

fn no_url(base: &str) -> Failure {
    Failure::NotSent(format!("{base} is not an http or https URL"))
}

/// The pool's key and the request target for a path below a base URL. `None` if that is not an
/// http or https URL.
fn locate(base: &str, path: &str) -> Option<(Target, Uri)> {
    let uri: Uri = base.parse().ok()?;
    let target = Target::of(&uri)?;
    let prefix = uri.path().trim_end_matches('/');
    let full: PathAndQuery = format!("{prefix}{path}").parse().ok()?;
    Some((target, Uri::from(full)))
}
