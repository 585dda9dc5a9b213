//! Fetches the replicas' catalogs over the seam.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::OwnedMutexGuard;

use crate::edge::config::Member;
use crate::edge::delivery::node_watch::{NodeWatch, USUAL};
use crate::edge::worker::Worker;
use crate::model::{Node, NodeId, Reach, ServerName, SessionId};
use crate::net::{TooLong, collect};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::ClientSet;
use crate::seam::CatalogQuery;

use super::cache::{CatalogKey, candidates};
use super::node_budget::size_of;

/// Longest wait for a catalog. A runner may have to discover it first, and a server that has to
/// be installed for that has 180 s to start.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest time for the bytes of a catalog, once its runner has it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest catalog on the seam, in bytes.
const MAX_CATALOG: usize = 64 << 20;

/// Largest catalog of what one session's own instance offers, in bytes.
const MAX_OWN: usize = 16 << 20;

/// A catalog that was fetched.
pub(in crate::edge) struct Fetched {
    /// `None` if a session's own lists are those that others get.
    pub catalog: Option<Catalog>,
    /// Held until the catalog counts: meanwhile no other one of the node is read.
    pub turn: Option<OwnedMutexGuard<()>>,
}

impl Worker {
    /// Starts a fetch for each replica whose catalog is unknown or has changed.
    pub(in crate::edge) fn fetch_new(&self, members: &[Member], set: ClientSet) {
        let topology = self.edge.topology.load();
        for member in members {
            for node in candidates(&topology, &member.server) {
                self.fetch_if_new(node, &member.server, set);
                // Known first, since runners discover it unasked: it serves until the other comes.
                self.fetch_if_new(node, &member.server, ClientSet::default());
            }
        }
    }

    fn fetch_if_new(&self, node: &Node, server: &ServerName, set: ClientSet) {
        let digest = node.servers.get(server).and_then(|replica| replica.digest.clone());
        let key = (node.id.clone(), server.clone(), set);
        if !self.edge.catalogs.start_fetching(&key, digest) {
            return;
        }
        let worker = self.clone();
        let reach = node.reach.clone();
        tokio::spawn(async move {
            let fetch = worker.fetch(&reach, &key, None);
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
            let fetched = fetched.unwrap_or_else(|_| Err("no answer".to_owned()));
            if let Err(why) = &fetched {
                tracing::debug!(node = %key.0, server = %key.1, "cannot fetch the catalog: {why}");
            }
            let (catalog, _turn) = fetched.map_or((None, None), |it| (it.catalog, it.turn));
            worker.edge.catalogs.settle(&key, catalog);
        });
    }

    /// A replica's catalog, or with a session what its own instance offers.
    pub(in crate::edge) async fn fetch(
        &self,
        reach: &Reach,
        key: &CatalogKey,
        session: Option<SessionId>,
    ) -> Result<Fetched, String> {
        let (node, server, set) = key;
        let query = self.catalog_query(*set, session);
        let answered = tokio::select! {
            biased;
            answered = self.link.catalog(reach, server, query) => answered,
            () = NodeWatch::over(self, node, USUAL) => {
                return Err(format!("node {node} does not answer"));
            }
        };
        let response = answered.map_err(|e| e.to_string())?;
        let catalogs = &self.edge.catalogs;
        let turn = match reach {
            Reach::Local => None,
            Reach::Remote(_) => Some(catalogs.budgets.turn(node).await),
        };
        let limit = match (&turn, session) {
            (None, _) => MAX_CATALOG,
            (Some(_), None) => catalogs.left(key),
            (Some(_), Some(_)) => MAX_OWN,
        };
        let status = response.status();
        let body = tokio::time::timeout(BODY_TIMEOUT, collect(response.into_body(), limit)).await;
        let body = body.map_err(|_| "it breaks off".to_owned())?.map_err(|error| {
            if matches!(error, TooLong::Limit(_)) {
                self.left_out(node, server);
            }
            error.to_string()
        })?;
        let catalog = match status {
            StatusCode::NO_CONTENT => None,
            status if status.is_success() => {
                Some(Catalog::from_json(&body).map_err(|error| error.to_string())?)
            }
            status => return Err(format!("HTTP {status}")),
        };
        if turn.is_some() && catalog.as_ref().is_some_and(|catalog| size_of(catalog) > limit) {
            self.left_out(node, server);
            return Err(format!("it has more entries than fit into {limit} bytes"));
        }
        Ok(Fetched { catalog, turn })
    }

    fn catalog_query(&self, set: ClientSet, session: Option<SessionId>) -> CatalogQuery {
        CatalogQuery {
            set: set.bits(),
            extensions: self.edge.catalogs.extensions.text(set),
            session,
        }
    }

    fn left_out(&self, node: &NodeId, server: &ServerName) {
        self.edge.metrics.left_catalog_out();
        self.edge.catalogs.budgets.warn(node, server);
    }
}
