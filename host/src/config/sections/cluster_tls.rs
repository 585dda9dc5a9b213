//! TLS between coordinator and nodes, with certificates on both sides: `systemConfig.cluster.tls`.

use std::path::{Path, PathBuf};

use http::Uri;

use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

use super::cluster::NodeMode;

/// Characters of a path.
const MAX_PATH: usize = 4096;
/// What a section looks like.
const EXAMPLE: &str = "write \"tls\": { \"ca\": \"ca.pem\", \"cert\": \"node-1.pem\", \"key\": \
                       \"node-1.key\" }; `mooring cluster init` makes such files";

/// Files in PEM. They are absolute, or start at the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterTlsFiles {
    /// The authorities whose certificates count.
    pub ca: PathBuf,
    /// This process's own certificate, and its key.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Lists of revoked certificates.
    pub revoked: Option<PathBuf>,
    /// Whether processes without TLS are taken, too.
    pub optional: bool,
}

/// Reads the section; variables go before it. Paths of the file start at its folder.
pub(in crate::config) fn read(
    cluster: &Section<'_>,
    sources: &Sources<'_>,
    folder: &Path,
) -> Option<ClusterTlsFiles> {
    let section = cluster.section("tls");
    let file = |key: &str, variable: &str| {
        if let Some(text) = sources.variable(variable) {
            return Some(sources.cwd.join(text));
        }
        let item = section.get(key)?;
        let text = item.text()?;
        if text.is_empty() || text.len() > MAX_PATH {
            item.refuse("is not the path of a file", "name a file in PEM");
            return None;
        }
        Some(folder.join(text))
    };
    let ca = file("ca", "MOORING_CLUSTER_TLS_CA");
    let cert = file("cert", "MOORING_CLUSTER_TLS_CERT");
    let key = file("key", "MOORING_CLUSTER_TLS_KEY");
    let revoked = file("revoked", "MOORING_CLUSTER_TLS_REVOKED");
    let optional = section.flag("optional", false);
    let is_meant = section.object.is_some() || revoked.is_some();
    for (name, found) in [("ca", &ca), ("cert", &cert), ("key", &key)] {
        let is_meant = is_meant || ca.is_some() || cert.is_some() || key.is_some();
        if is_meant && found.is_none() && section.get(name).is_none() {
            section.refuse_key(name, "is missing", EXAMPLE);
        }
    }
    Some(ClusterTlsFiles { ca: ca?, cert: cert?, key: key?, revoked, optional })
}

/// A node's links have TLS in both directions.
pub(in crate::config) fn refuse_for_node(
    cluster: &Section<'_>,
    tls: &ClusterTlsFiles,
    node: &NodeMode,
) {
    let section = cluster.section("node");
    if tls.optional {
        return;
    }
    let is_plain = |url: &Uri| url.scheme_str() == Some("http");
    let advice =
        "begin it with https://, or set cluster.tls.optional while the cluster changes over";
    if node.coordinator_urls.iter().any(is_plain) {
        let message = "has no TLS, which cluster.tls wants";
        section.refuse_key("coordinatorUrl", message, advice);
    }
    if node.advertise_url.as_ref().is_some_and(is_plain) {
        section.refuse_key("advertiseUrl", "has no TLS, which cluster.tls wants", advice);
    }
}
