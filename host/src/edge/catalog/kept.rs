//! Catalogs of other nodes that outlive this process, so that lists are whole from the first request
//! after a start on. Each catalog is kept once, with the replicas that have it by its digest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{NodeId, Reach, ServerName, Topology};
use crate::protocol::catalog::Catalog;
use crate::protocol::initialize::ClientSet;
use crate::protocol::objects::object_only;

use super::node_budget::size_of;

/// The file in the data folder.
pub const FILE: &str = "catalogs.json";
/// Bytes of all kept catalogs. Those of servers that come later by name are left out.
const MAX_BYTES: usize = 32 << 20;

#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct KeptCatalogs {
    catalogs: Vec<KeptCatalog>,
}
object_only!(both KeptCatalogs);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct KeptCatalog {
    server: String,
    /// The client capabilities, as they pass the seam.
    set: u8,
    digest: String,
    nodes: Vec<String>,
    catalog: Catalog,
}
object_only!(both KeptCatalog);

/// One replica's catalog, as clients with these capabilities see it.
type CatalogKey = (NodeId, ServerName, ClientSet);

/// A catalog of one replica, with the digest under which it was fetched.
pub type Replicated = (CatalogKey, Arc<str>, Arc<Catalog>);

/// A catalog, and the nodes that have it.
struct SharedCatalog {
    nodes: Vec<String>,
    catalog: Arc<Catalog>,
}

/// The file's contents. Sets of clients with extensions are this process's own; without a digest
/// nothing tells whether a catalog is still the right one.
#[must_use]
pub fn to_json(topology: &Topology, known: Vec<Replicated>) -> Vec<u8> {
    let is_remote =
        |id: &NodeId| topology.node(id).is_some_and(|node| matches!(node.reach, Reach::Remote(_)));
    let mut catalogs: BTreeMap<(ServerName, u8, Arc<str>), SharedCatalog> = BTreeMap::new();
    for ((node, server, set), digest, catalog) in known {
        if set.has_extensions() || !is_remote(&node) {
            continue;
        }
        let of_digest = catalogs.entry((server, set.bits(), digest));
        let shared = of_digest.or_insert_with(|| SharedCatalog { nodes: Vec::new(), catalog });
        shared.nodes.push(node.to_string());
    }
    let mut left = MAX_BYTES;
    let kept = catalogs.into_iter().filter_map(|((server, set, digest), shared)| {
        let SharedCatalog { mut nodes, catalog } = shared;
        left = left.checked_sub(size_of(&catalog))?;
        nodes.sort();
        let (server, digest) = (server.to_string(), digest.to_string());
        Some(KeptCatalog { server, set, digest, nodes, catalog: Catalog::clone(&catalog) })
    });
    let kept = KeptCatalogs { catalogs: kept.collect() };
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// What the file has. What cannot be read is left out: it is fetched as without a file.
#[must_use]
pub fn from_json(text: &[u8]) -> HashMap<CatalogKey, (Arc<str>, Arc<Catalog>)> {
    let read = serde_json::from_slice::<KeptCatalogs>(text).unwrap_or_else(|error| {
        tracing::warn!("cannot read {FILE}: {error}; lists are fetched from the nodes");
        KeptCatalogs::default()
    });
    let replicas = read.catalogs.into_iter().flat_map(|kept| {
        let (digest, catalog): (Arc<str>, _) = (kept.digest.into(), Arc::new(kept.catalog));
        let (server, set) = (ServerName::parse(&kept.server).ok(), ClientSet::from_bits(kept.set));
        kept.nodes.into_iter().filter_map(move |node| {
            let key = (NodeId::parse(&node).ok()?, server.clone()?, set);
            Some((key, (Arc::clone(&digest), Arc::clone(&catalog))))
        })
    });
    replicas.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use crate::model::{Health, Node, Room};

    use super::*;

    fn node(id: &str, reach: Reach) -> Arc<Node> {
        Arc::new(Node {
            id: NodeId::parse(id).unwrap(),
            name: id.into(),
            reach,
            health: Health::Healthy,
            away: None,
            room: Room::Free,
            zone: "".into(),
            labels: Vec::new(),
            servers: BTreeMap::new(),
        })
    }

    fn replica(node: &str, digest: &str, set: ClientSet) -> Replicated {
        let catalog =
            Catalog::new(RawValue::from_string(format!("{{\"of\":{digest:?}}}")).unwrap());
        let server = ServerName::parse("s").unwrap();
        ((NodeId::parse(node).unwrap(), server, set), digest.into(), Arc::new(catalog))
    }

    #[test]
    fn a_catalog_is_kept_once_for_all_nodes_that_have_it() {
        let remote = |id: &str| node(id, Reach::Remote("http://n".into()));
        let nodes = vec![remote("a"), remote("b"), node("own", Reach::Local)];
        let topology = Topology::of(1, nodes);
        let plain = ClientSet::default();
        let known = vec![
            replica("a", "one", plain),
            replica("b", "one", plain),
            replica("b", "one", ClientSet::from_bits(3)),
            replica("b", "one", plain.with_extensions(Some("{\"x\":{}}"))),
            replica("own", "two", plain),
            replica("gone", "one", plain),
        ];
        let text = to_json(&topology, known.clone());
        let read = from_json(&text);
        assert_eq!(read.len(), 3);
        for (key, digest, catalog) in &known[..3] {
            let (kept, own) = &read[key];
            assert_eq!((kept, own.digest()), (digest, catalog.digest()));
        }
        assert_eq!(String::from_utf8_lossy(&text).matches("\"catalog\":").count(), 2);
        assert!(from_json(b"[]").is_empty() && from_json(b"{\"catalogs\":[{}]}").is_empty());
    }
}
