//! What two processes say to each other on a new connection before it carries requests.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};

use crate::sync::Locked;

use super::body::Body;
use super::socket::Socket;
use super::target::Target;
use super::unreached::Unreached;

/// What came of an introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introduced {
    /// The connection is ready for requests.
    Ready,
    /// It is of no use, but another one to the same target may be now.
    Again,
}

/// Runs once on each connection that a pool opens, before the pool offers it.
pub trait Introduce: Send + Sync {
    /// Rises when another process than before may be expected at some target. Connections that
    /// were introduced earlier are not used any more.
    fn epoch(&self) -> u64;

    /// Introduces this process to the other one, and finds out whether that is the expected one.
    /// Nothing may be left to read or to write afterwards.
    ///
    /// # Errors
    /// Why the connection is not to be used.
    fn introduce<'a>(
        &'a self,
        target: &'a Target,
        socket: &'a mut Socket,
    ) -> BoxFuture<'a, Result<Introduced, Unreached>>;

    /// Asks on a connection that has rested whether the other process still answers there: a
    /// request without effect. Nothing may be left to read or to write afterwards.
    ///
    /// # Errors
    /// Why the connection is not to be used.
    fn ask<'a>(
        &'a self,
        target: &'a Target,
        socket: &'a mut Socket,
    ) -> BoxFuture<'a, Result<(), Unreached>>;

    /// Id and incarnation of the process that has to be there, for a network without sockets.
    #[cfg(test)]
    fn expects(&self, _target: &Target) -> Option<(String, String)> {
        None
    }
}

type Then = Box<dyn FnOnce(Upgraded) -> BoxFuture<'static, Option<Upgraded>> + Send>;

/// In the extensions of a response with status 101: what is said on the connection before HTTP
/// goes on there. Clones share it; the first one that runs has it.
#[derive(Clone)]
pub struct Introduction(Arc<Locked<Option<(OnUpgrade, Then)>>>);

impl Introduction {
    /// For the connection of this request. `then` gives the connection back if requests may
    /// follow.
    #[must_use]
    pub fn on(
        request: &mut Request<Body>,
        then: impl FnOnce(Upgraded) -> BoxFuture<'static, Option<Upgraded>> + Send + 'static,
    ) -> Self {
        let upgrade = hyper::upgrade::on(request);
        Self(Arc::new(Locked::new(Some((upgrade, Box::new(then))))))
    }

    /// That of a response, if it has one.
    #[must_use]
    pub fn of(response: &mut Response<Body>) -> Option<Self> {
        response.extensions_mut().remove()
    }

    /// Runs it, once the response was sent; `None` if the connection is to be closed.
    pub async fn run(self) -> Option<Upgraded> {
        let (upgrade, then) = self.0.lock().take()?;
        then(upgrade.await.ok()?).await
    }
}
