//! A registration, judged: what a node says of itself becomes its entry in the registry, or a refusal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::cluster::messages::{Registration, ServerReport};
use crate::cluster::trouble::ServerNotes;
use crate::config::Secret;
use crate::model::{NodeId, Reach, Replica, ServerName, is_near};
use crate::tls::ClusterTls;

use super::bounds;
use super::node_entry::NodeEntry;
use super::rejected::Rejected;

/// The node id of a coordinator's own runner.
const COORDINATOR_ID: &str = "coordinator";
/// Least bytes of a secret that a node registers with: 128 random bits as digits.
const MIN_SECRET: usize = 32;
/// The most bytes of a secret or an incarnation.
const MAX_SECRET: usize = 64;

/// The node of a registration, with what it is to be known by. `has_token` says whether coordinator
/// and nodes share a token.
pub fn entry_of(
    registration: Registration,
    peer: IpAddr,
    has_token: bool,
) -> Result<NodeEntry, Rejected> {
    let bad = |text: String| Rejected::BadRequest(text);
    if [&registration.id, &registration.name, &registration.url].iter().any(|f| f.is_empty()) {
        return Err(bad("Missing required fields: id, name, url".into()));
    }
    let size = bounds::check(&registration).map_err(bad)?;
    let id = NodeId::parse(&registration.id).map_err(|error| bad(format!("id {error}")))?;
    if id.as_str() == COORDINATOR_ID {
        return Err(bad(format!("id {id} is the coordinator's own")));
    }
    if registration.name.chars().any(char::is_control) || registration.name.len() > 256 {
        return Err(bad("name must be at most 256 bytes without control characters".into()));
    }
    let uri: http::Uri = registration
        .url
        .parse()
        .map_err(|_| bad(format!("url {:?} is not a URL", registration.url)))?;
    let declared = uri.host().unwrap_or("").to_owned();
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let Some(scheme) = scheme.filter(|_| !declared.is_empty()) else {
        return Err(bad(format!("url {:?} must begin with http:// or https://", registration.url)));
    };
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let peer_host = match peer {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let (url, host) = if registration.advertised {
        // Without a token, a registration must not direct the coordinator's calls to
        // a third party.
        let own = declared == peer_host
            || (is_near(peer) && peer.is_loopback() && declared == "localhost");
        if !has_token && !own {
            return Err(bad(format!(
                "without a cluster token, the host of url must be the peer's address \
                 {peer_host}, not {declared}; set a token on both sides"
            )));
        }
        (registration.url.trim_end_matches('/').to_owned(), declared)
    } else {
        (format!("{scheme}://{peer_host}:{port}"), peer_host)
    };
    let reach = Reach::Remote(url.as_str().into());
    let (incarnation, secret) =
        secrets_of(&registration.incarnation, registration.secret, has_token)?;
    Ok(NodeEntry {
        incarnation,
        secret,
        from: Some(peer),
        version: registration.version,
        protocol: registration.protocol,
        servers: replicas(registration.servers)?,
        zone: registration.zone,
        has_several: registration.several,
        labels: registration.labels.into_iter().collect(),
        load: registration.load,
        drain: registration.drain,
        notes: ServerNotes::bounded(registration.troubles, registration.flaws),
        heartbeat_interval: Duration::from_millis(match registration.heartbeat_interval {
            0 => 5000,
            interval => interval.min(bounds::MAX_INTERVAL),
        }),
        size,
        ..NodeEntry::new(id, registration.name, reach, host, port)
    })
}

/// Refuses a URL without TLS in a cluster that speaks it alone.
pub fn check_scheme(url: &str, tls: Option<&ClusterTls>) -> Result<(), Rejected> {
    if !url.starts_with("http://") || tls.is_none_or(ClusterTls::is_optional) {
        return Ok(());
    }
    Err(Rejected::BadRequest(format!(
        "url {url:?} begins with http://, and this coordinator calls nodes over TLS alone: set \
         cluster.tls on the node, and no advertiseUrl or one with https://"
    )))
}

/// What the node is to be known by from now on.
fn secrets_of(
    incarnation: &str,
    secret: Option<String>,
    has_token: bool,
) -> Result<(Secret, Option<Secret>), Rejected> {
    let is_secret = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        (MIN_SECRET..=MAX_SECRET).contains(&text.len()) && text.bytes().all(allowed)
    };
    if !is_secret(incarnation) {
        return Err(Rejected::BadRequest(
            "incarnation must be 32 to 64 hexadecimal digits and hyphens; nodes register by \
             themselves (mooring join), by hand it is not possible"
                .to_owned(),
        ));
    }
    if has_token {
        return Ok((Secret::new(incarnation), None));
    }
    let secret = secret.filter(|secret| is_secret(secret)).ok_or_else(|| {
        Rejected::BadRequest(
            "the node brings no secret to prove itself by: it has a cluster token and this \
             coordinator has none, or it runs an earlier version of mooring; set \
             MOORING_CLUSTER_TOKEN on both sides or on neither, and run one version on all"
                .to_owned(),
        )
    })?;
    Ok((Secret::new(incarnation), Some(Secret::new(secret))))
}

/// The replicas that a node reports.
pub fn replicas(reports: Vec<ServerReport>) -> Result<BTreeMap<ServerName, Replica>, Rejected> {
    reports
        .into_iter()
        .map(|report| {
            let read = report.replica();
            read.map_err(|error| Rejected::BadRequest(format!("server name {error}")))
        })
        .collect()
}
