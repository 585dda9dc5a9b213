//! Paths that are not MCP: the management API, and the seam's remote side.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::admin::{Api, Caller};
use crate::cluster::NodeRoutes;
use crate::edge::{OtherRoutes, Worker};
use crate::seam::Body;

pub struct Routes {
    pub api: Api,
    /// Only on nodes.
    pub node: Option<NodeRoutes>,
}

impl OtherRoutes for Routes {
    fn serve(
        &self,
        worker: &Worker,
        request: Request<Body>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<BoxFuture<'static, Response<Body>>, Request<Body>> {
        let path = request.uri().path();
        if let Some(node) = &self.node
            && path.starts_with("/cluster/")
        {
            let (node, endpoint) = (node.clone(), worker.link.local());
            return Ok(Box::pin(async move { node.serve(endpoint, request, peer).await }));
        }
        if Api::serves(path) {
            let (api, link) = (self.api.clone(), worker.link.clone());
            return Ok(Box::pin(api.answer(request, Caller { peer, local, link })));
        }
        Err(request)
    }
}
