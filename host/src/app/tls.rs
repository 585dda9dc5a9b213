//! Settings → TLS on the listening port, and TLS between the processes of a cluster.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{ClusterTlsFiles, Config, ListenTls, Mode};
use crate::edge::{ClientRules, ListenerTls, TlsRules};
use crate::model::NodeId;
use crate::tls::{CertificateFiles, ClusterRules, ClusterTls, Role, TrustFiles};

/// The bit of a file's mode that lets everybody read it.
const READ_BY_OTHERS: u32 = 0o004;

/// What the port speaks TLS with; `None` without certificates in the settings.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn listener(
    config: &Config,
    cluster: Option<Arc<ClusterTls>>,
) -> anyhow::Result<Option<Arc<ListenerTls>>> {
    let rules = config.listen.tls.as_ref().map(rules);
    let opened = ListenerTls::open(rules, cluster, config.limits.head_timeout);
    opened.map_err(|why| anyhow::anyhow!("systemConfig.listen.tls: {why}"))
}

/// What this process, by this id, speaks TLS with towards its cluster; `None` without a section for
/// it in the settings.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn cluster(config: &Config, id: &NodeId) -> anyhow::Result<Option<Arc<ClusterTls>>> {
    let role = match &config.mode {
        Mode::Standalone => return Ok(None),
        Mode::Coordinator(_) => Role::Coordinator,
        Mode::Node(_) => Role::Node(id.clone()),
    };
    let Some(tls) = &config.cluster_tls else { return Ok(None) };
    let opened = ClusterTls::open(cluster_rules(tls, role));
    opened.map(Some).map_err(|why| anyhow::anyhow!("systemConfig.cluster.tls: {why}"))
}

/// Why the certificates cannot be used.
#[must_use]
pub fn complaint(config: &Config) -> Option<String> {
    let of_cluster = settled_id(config).map_or(Ok(None), |id| cluster(config, &id));
    let opened = of_cluster.and_then(|cluster| listener(config, cluster));
    opened.err().map(|error| error.to_string())
}

/// What is, or soon will be, wrong with the certificate for the cluster.
#[must_use]
pub fn cluster_complaint(config: &Config) -> Option<String> {
    cluster(config, &settled_id(config)?).ok()??.own_complaint()
}

/// Which certificates of the port end soon, or have ended, one line each.
#[must_use]
pub fn expiring(config: &Config) -> Vec<String> {
    let opened = listener(config, None).ok().flatten();
    opened.map(|opened| opened.expiring()).unwrap_or_default()
}

/// The id that a process of these settings has; `None` for a node that makes its own.
fn settled_id(config: &Config) -> Option<NodeId> {
    match &config.mode {
        Mode::Node(node) => node.id.clone(),
        Mode::Coordinator(_) | Mode::Standalone => Some(NodeId::coordinator()),
    }
}

/// Private keys that every user of the machine can read, one line each.
#[must_use]
pub fn readable_keys(config: &Config) -> Vec<String> {
    let of_listener = config.listen.tls.iter().flat_map(ListenTls::keys);
    let of_cluster = config.cluster_tls.iter().map(|tls| &tls.key);
    let keys = of_listener.map(|key| ("listen.tls", key));
    let keys = keys.chain(of_cluster.map(|key| ("cluster.tls", key)));
    let is_open = |key: &&PathBuf| {
        std::fs::metadata(key).is_ok_and(|found| found.mode() & READ_BY_OTHERS != 0)
    };
    keys.filter(|(_, key)| is_open(key))
        .map(|(section, key)| {
            let key = key.display();
            format!("systemConfig.{section}: every user can read the key {key}; chmod o-r helps")
        })
        .collect()
}

fn rules(tls: &ListenTls) -> TlsRules {
    let files = tls.certificates.iter();
    TlsRules {
        certificates: files
            .map(|(cert, key)| CertificateFiles { cert: cert.clone(), key: key.clone() })
            .collect(),
        only_1_3: tls.only_1_3,
        plain_from: tls.plain_from.clone(),
        clients: tls.clients.as_ref().map(|clients| ClientRules {
            trusted: TrustFiles { ca: clients.ca.clone(), revoked: clients.revoked.clone() },
            is_required: clients.is_required,
        }),
    }
}

fn cluster_rules(tls: &ClusterTlsFiles, role: Role) -> ClusterRules {
    ClusterRules {
        role,
        own: CertificateFiles { cert: tls.cert.clone(), key: tls.key.clone() },
        trusted: TrustFiles { ca: tls.ca.clone(), revoked: tls.revoked.clone() },
        is_optional: tls.optional,
    }
}
