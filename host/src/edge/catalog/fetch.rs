//! Fetches the replicas' catalogs over the seam.

use std::time::Duration;

use http::StatusCode;

use crate::edge::config::Member;
use crate::edge::worker::Worker;
use crate::model::{Node, ServerName, SessionId};
use crate::net::collect;
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::ClientSet;

use super::cache::candidates;

/// Longest wait for a catalog. A runner may have to discover it first, and a server that has to
/// be installed for that has 180 s to start.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);

/// Largest catalog on the seam, in bytes.
const MAX_CATALOG: usize = 64 << 20;

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
            let (_, server, set) = &key;
            let fetch = worker.fetch(&reach, server, *set, None);
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
            let catalog = fetched.unwrap_or_else(|_| Err("no answer".to_owned()));
            if let Err(why) = &catalog {
                tracing::debug!(node = %key.0, server = %server, "cannot fetch the catalog: {why}");
            }
            worker.edge.catalogs.settle(&key, catalog.ok().flatten());
        });
    }

    /// A replica's catalog, or with a session what its own instance offers. `None` if that is the
    /// same.
    pub(in crate::edge) async fn fetch(
        &self,
        reach: &crate::model::Reach,
        server: &ServerName,
        set: ClientSet,
        session: Option<SessionId>,
    ) -> Result<Option<Catalog>, String> {
        let response = self
            .link
            .catalog(reach, server, set.bits(), session)
            .await
            .map_err(|e| e.to_string())?;
        let status = response.status();
        let body = collect(response.into_body(), MAX_CATALOG).await.map_err(|e| e.to_string())?;
        match status {
            StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => {
                Catalog::from_json(&body).map(Some).map_err(|error| error.to_string())
            }
            status => Err(format!("HTTP {status}")),
        }
    }
}
