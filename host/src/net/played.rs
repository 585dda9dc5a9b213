//! A network that a test plays in the place of sockets: what a pool would write to a connection is
//! handed to it, request by request.

use std::cell::RefCell;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};

use super::body::Body;
use super::failure::Failure;
use super::unreached::Unreached;

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct PlayedTarget {
    pub host: String,
    pub port: u16,
    /// Id and incarnation of the process that has to be there, on connections that begin with an
    /// introduction. The inner one is `None` if no process is known to be there.
    pub expected: Option<Option<(String, String)>>,
}

/// Carries the requests of one process.
pub trait PlayedNetwork: Send + Sync {
    /// Carries one request, and its answer back.
    fn send(
        &self,
        to: PlayedTarget,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Failure>>;

    /// Makes sure that the expected process is there.
    fn reach(&self, to: PlayedTarget) -> BoxFuture<'static, Result<(), Unreached>>;
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn PlayedNetwork>>> = const { RefCell::new(None) };
}

/// Pools that are made on this thread from now on use this network; `None` for sockets.
pub fn play(network: Option<Arc<dyn PlayedNetwork>>) {
    CURRENT.replace(network);
}

pub(super) fn current() -> Option<Arc<dyn PlayedNetwork>> {
    CURRENT.with_borrow(Clone::clone)
}

/// An answer on its way.
pub(super) type PlayedAnswer = BoxFuture<'static, Result<Response<Body>, Failure>>;
