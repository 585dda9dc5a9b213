//! The routes beside the clients' MCP endpoints: the management API, and on nodes the
//! routes for the coordinator.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::admin::{self, Api, ApiCaller};
use crate::cluster::NodeRoutes;
use crate::edge::{Ends, Entrance, LOGIN_ROUTES, METADATA_ROUTES, OtherRoutes, Worker};
use crate::net::Body;
use crate::protocol::headers::seam::LINK_PATH;

/// Every route of a gateway: method, path, and who may use it. What nodes serve their coordinator is one,
/// since nothing of it is told apart before the caller has proved itself.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str, &'static str)> {
    let clients = Entrance::ALL.into_iter().flat_map(Entrance::routes);
    let clients = clients.map(|(method, path)| (*method, *path, "client"));
    let metadata = METADATA_ROUTES.into_iter().map(|path| ("GET", path, "metadata"));
    let logins = LOGIN_ROUTES.into_iter().map(|path| ("GET", path, "login"));
    let api = admin::ROUTES.iter().map(|route| (route.method, route.path, route.door.as_str()));
    let link = [("GET", LINK_PATH, "link"), ("POST", "/cluster/{path}", "link")];
    clients.chain(metadata).chain(logins).chain(api).chain(link).collect()
}

pub struct Routes {
    pub api: Api,
    /// `None` unless the process is a node.
    pub node: Option<Arc<NodeRoutes>>,
}

impl Routes {
    fn on_node(&self, path: &str) -> Option<&Arc<NodeRoutes>> {
        self.node.as_ref().filter(|_| path.starts_with("/cluster/"))
    }
}

impl OtherRoutes for Routes {
    fn takes(&self, path: &str) -> bool {
        self.on_node(path).is_some() || Api::serves(path)
    }

    fn is_always_served(&self, path: &str) -> bool {
        let is_link = || path == LINK_PATH && self.node.is_some();
        Api::is_of_health(path) || Api::is_of_nodes(path) || is_link()
    }

    fn serve(
        &self,
        worker: &Worker,
        request: Request<Body>,
        ends: Ends,
    ) -> BoxFuture<'static, Response<Body>> {
        if let Some(node) = self.on_node(request.uri().path()) {
            let (node, endpoint) = (Arc::clone(node), worker.link.local());
            let Ends { peer, local, proved, .. } = ends;
            return Box::pin(
                async move { node.serve(endpoint, request, (peer, local), proved).await },
            );
        }
        let (api, link) = (self.api.clone(), worker.link.clone());
        let intake = request.body().intake().cloned();
        let Ends { peer, local, .. } = ends;
        let (manager, admitted) = (None, Arc::default());
        let caller = ApiCaller { peer, local, link, intake, manager, admitted };
        Box::pin(api.answer(request, caller))
    }
}
