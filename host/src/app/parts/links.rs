//! Connections to runners: those of this process, and those of other nodes.

use std::sync::Arc;

use crate::cluster::{Dialer, Registry, peer_of};
use crate::config::Config;
use crate::net::{Introduce, Pool};
use crate::protocol::proof::handshake::Party;
use crate::runner::{self, Runner};
use crate::seam::Link;
use crate::tls::ClusterTls;

/// Makes links to the runners of this process and of other nodes.
pub(super) struct Links {
    pub runner: Arc<runner::SharedRunner>,
    pub tls: Arc<rustls::ClientConfig>,
    /// Introduces this process to the nodes that are registered here.
    pub dialer: Arc<dyn Introduce>,
    /// What the cluster speaks TLS with.
    pub cluster: Option<Arc<rustls::ClientConfig>>,
}

impl Links {
    /// A link with connections of its own.
    pub fn another(&self) -> Link {
        let pool = Pool::new(Arc::clone(&self.tls));
        let local = Runner::new(Arc::clone(&self.runner), pool.clone());
        let dialer = Arc::clone(&self.dialer);
        Link::new(Arc::new(local), pool, dialer, self.cluster.clone())
    }
}

pub(super) fn tls() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    #[cfg(test)]
    if let Some(kept) = crate::app::simulation::costly_parts() {
        return Ok(kept.0);
    }
    crate::net::client_config()
}

pub(super) fn dialer(
    own: &Party,
    registry: &Arc<Registry>,
    config: &Config,
    tls: Option<Arc<ClusterTls>>,
) -> Arc<dyn Introduce> {
    let (registry, token) = (Arc::clone(registry), config.token.clone());
    let starts = Arc::clone(&registry);
    let find = move |url: &str| registry.read_at(url, |node| peer_of(node, token.as_ref()))?;
    Arc::new(Dialer::to_registered(own.clone(), find, move || starts.starts()).over(tls))
}
