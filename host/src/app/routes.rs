//! The routes beside the clients' MCP endpoints: the management API, and on nodes the
//! routes for the coordinator.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::admin::{Api, ApiCaller};
use crate::cluster::NodeRoutes;
use crate::edge::{OtherRoutes, Worker};
use crate::net::Body;

pub struct Routes {
    pub api: Api,
    /// `None` unless the process is a node.
    pub node: Option<NodeRoutes>,
}

impl Routes {
    fn on_node(&self, path: &str) -> Option<&NodeRoutes> {
        self.node.as_ref().filter(|_| path.starts_with("/cluster/"))
    }
}

impl OtherRoutes for Routes {
    fn takes(&self, path: &str) -> bool {
        self.on_node(path).is_some() || Api::serves(path)
    }

    fn serve(
        &self,
        worker: &Worker,
        request: Request<Body>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        if let Some(node) = self.on_node(request.uri().path()) {
            let (node, endpoint) = (node.clone(), worker.link.local());
            return Box::pin(async move { node.serve(endpoint, request, peer).await });
        }
        let (api, link) = (self.api.clone(), worker.link.clone());
        Box::pin(api.answer(request, ApiCaller { peer, local, link }))
    }
}
