//! Listens to a server that the session has open.

use std::sync::Arc;

use http::Response;

use crate::model::NodeId;
use crate::net::Body;
use crate::seam::Outcome;

use super::call::Call;
use super::outgoing::Outgoing;

impl Call<'_> {
    /// The server's stream at the node where the session has it open, and that node. `None` if it is
    /// not open: it is not opened for this. Does not count as use of the binding.
    pub async fn listen_where_open(&self, outgoing: &Outgoing) -> Option<(Response<Body>, NodeId)> {
        let edge = &self.worker.edge;
        let node = {
            let topology = edge.topology.load();
            let node = topology.node(&edge.bindings.look_open(self.session.id, self.server)?)?;
            let lives = node.health.serves() && node.servers.contains_key(self.server);
            lives.then(|| Arc::clone(node))?
        };
        let response = self.send(&node, outgoing).await.ok()?;
        Outcome::read(response.headers()).is_none().then(|| (response, node.id.clone()))
    }
}
