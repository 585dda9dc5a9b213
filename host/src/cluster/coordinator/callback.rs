//! Calls a node's address back, to find out whether that node is there.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::dial::{Dialer, Peer};
use crate::config::Secret;
use crate::net::Unreached;
use crate::protocol::proof::handshake::Party;
use crate::seam::Link;
use crate::tls::ClusterTls;

use super::node_entry::NodeEntry;

/// Longest wait for one answer of a node.
pub const CALLBACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a question to which bits of an answer come.
const ASKING_TIMEOUT: Duration = Duration::from_secs(3);

/// What the coordinator calls nodes back with.
pub struct Callback {
    /// The coordinator itself, in handshakes.
    pub own: Party,
    pub token: Option<Secret>,
    pub tls: Option<Arc<ClusterTls>>,
}

impl Callback {
    /// Proves that this very start of the node is at its address. The link that is returned
    /// reaches it there, before it is registered.
    ///
    /// # Errors
    /// Why it is not, as far as can be seen from here.
    pub async fn prove(&self, entry: &NodeEntry, link: &Link) -> Result<Link, Unreached> {
        self.reach(entry, link, CALLBACK_TIMEOUT, |dialer| dialer).await
    }

    /// The same, to find out whether a node that is known is there: silence ends it sooner, and
    /// an answer that comes bit by bit may take longer.
    ///
    /// # Errors
    /// Why that does not show.
    pub async fn ask(&self, entry: &NodeEntry, link: &Link) -> Result<(), Unreached> {
        self.reach(entry, link, ASKING_TIMEOUT, Dialer::asking).await.map(drop)
    }

    async fn reach(
        &self,
        entry: &NodeEntry,
        link: &Link,
        patience: Duration,
        with: impl FnOnce(Dialer) -> Dialer,
    ) -> Result<Link, Unreached> {
        let no_secret = || "it has registered without a secret".to_owned();
        let peer = peer_of(entry, self.token.as_ref()).ok_or_else(no_secret)?;
        let dialer = with(Dialer::to(self.own.clone(), peer)).over(self.tls.clone());
        let link = link.introduced_by(Arc::new(dialer));
        match tokio::time::timeout(patience, link.reach(&entry.url)).await {
            Ok(Ok(())) => Ok(link),
            Ok(Err(unreached)) => Err(unreached),
            Err(_) => {
                let why = format!("no answer within {} s", patience.as_secs());
                Err(Unreached::silent(why))
            }
        }
    }
}

/// A registered node as handshakes need it; `None` if nothing is known that could prove it.
#[must_use]
pub fn peer_of(entry: &NodeEntry, token: Option<&Secret>) -> Option<Peer> {
    let incarnation = entry.incarnation.expose();
    let key = token.or(entry.secret.as_ref()).filter(|_| !incarnation.is_empty())?;
    let party = Party { id: entry.id.to_string(), incarnation: incarnation.to_owned() };
    Some(Peer { party, key: key.clone() })
}
