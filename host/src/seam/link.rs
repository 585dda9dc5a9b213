//! A worker's way to every replica.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, header};

use crate::model::{Reach, ServerName, SessionId};

use super::{Body, Facts, Failure, Pool, Target};

/// The host part, as the edge sees it: one MCP endpoint per server.
///
/// The request carries [`Facts`] as an extension; its URI is not looked at.
pub trait Endpoint: Send + Sync {
    fn call(&self, server: ServerName, request: Request<Body>) -> BoxFuture<'_, Response<Body>>;

    /// The catalogue of one server for one set of client capabilities. With a
    /// session: what its own instance offers, or 204 if that is the same.
    fn catalog(
        &self,
        server: ServerName,
        set: u8,
        session: Option<SessionId>,
    ) -> BoxFuture<'_, Response<Body>>;
}

/// Cloning is cheap; each worker has its own, with its own connections.
#[derive(Clone)]
pub struct Link {
    local: Arc<dyn Endpoint>,
    pool: Pool,
    /// `Bearer …` for other nodes of a cluster with a token.
    credential: Option<HeaderValue>,
}

impl Link {
    #[must_use]
    pub fn new(local: Arc<dyn Endpoint>, pool: Pool, credential: Option<HeaderValue>) -> Self {
        Self { local, pool, credential }
    }

    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The same link, for addresses that have not proved who they are.
    #[must_use]
    pub fn without_credential(&self) -> Self {
        Self { credential: None, ..self.clone() }
    }

    #[must_use]
    pub fn local(&self) -> Arc<dyn Endpoint> {
        Arc::clone(&self.local)
    }

    /// One exchange with a server's replica.
    ///
    /// # Errors
    /// [`Failure`] if another node gave no response head; this process always
    /// answers.
    pub async fn call(
        &self,
        reach: &Reach,
        server: &ServerName,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        match reach {
            Reach::Local => Ok(self.local.call(server.clone(), request).await),
            Reach::Remote(base) => {
                if let Some(facts) = request.extensions_mut().remove::<Facts>() {
                    facts.write(request.headers_mut());
                }
                self.remote(base, &super::server_path(server, "mcp"), request).await
            }
        }
    }

    /// A server's catalogue at a replica.
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

    /// Any request to another node, at a path below its base URL.
    ///
    /// # Errors
    /// [`Failure`] if no response head came.
    pub async fn remote(
        &self,
        base: &str,
        path: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let (target, uri) = locate(base, path)
            .ok_or_else(|| Failure::NotSent(format!("{base} is no http or https URL")))?;
        *request.uri_mut() = uri;
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential.clone());
        }
        self.pool.send(&target, request).await
    }
}

/// The pool's key and the request target of a path below a base URL.
fn locate(base: &str, path: &str) -> Option<(Target, Uri)> {
    let uri: Uri = base.parse().ok()?;
    let target = Target::of(&uri)?;
    let prefix = uri.path().trim_end_matches('/');
    let full: PathAndQuery = format!("{prefix}{path}").parse().ok()?;
    Some((target, Uri::from(full)))
}
