//! Whom a certificate names.

use rustls::pki_types::CertificateDer;

use crate::model::NodeId;
use crate::model::visible::visible;

use super::common_name::common_name;

/// What the names of coordinators and nodes begin with, among a certificate's alternative names.
const OF_CLUSTER: &str = "mooring:";
const COORDINATOR: &str = "mooring:coordinator";
const NODE: &str = "mooring:node:";
/// Bytes shown of names.
const SHOWN: usize = 256;

/// What a process is in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Coordinator,
    Node(NodeId),
    /// Any node whose id begins so: for nodes that are made and named by something else, as pods are.
    Nodes(String),
}

impl Role {
    /// The role that this name gives, if it is one of a cluster.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        if uri == COORDINATOR {
            return Some(Self::Coordinator);
        }
        Self::of_node(uri.strip_prefix(NODE)?)
    }

    /// That of a node by its id, or of those whose ids begin with what stands before `*`.
    #[must_use]
    pub fn of_node(id: &str) -> Option<Self> {
        let Some(start) = id.strip_suffix('*') else {
            return NodeId::parse(id).ok().map(Self::Node);
        };
        let is_start = start.is_empty() || NodeId::parse(start).is_ok();
        is_start.then(|| Self::Nodes(start.to_owned()))
    }

    /// Whether a certificate with this role is one of a process that is `other`.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nodes(start), Self::Node(id)) => id.as_str().starts_with(start),
            _ => self == other,
        }
    }
}

/// The name that certificates have for it.
impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Coordinator => f.write_str(COORDINATOR),
            Self::Node(id) => write!(f, "{NODE}{id}"),
            Self::Nodes(start) => write!(f, "{NODE}{start}*"),
        }
    }
}

/// The names in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    pub uris: Vec<String>,
    pub hosts: Vec<String>,
    /// The common name of its subject.
    pub common_name: Option<String>,
}

impl CertificateNames {
    /// What cannot be read has no names.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(read) = webpki::EndEntityCert::try_from(certificate) else { return Self::default() };
        Self {
            uris: read.valid_uri_names().map(str::to_owned).collect(),
            hosts: read.valid_dns_names().map(str::to_ascii_lowercase).collect(),
            common_name: common_name(read.subject()),
        }
    }

    /// Whether it is the certificate of this process.
    #[must_use]
    pub fn is_of(&self, role: &Role) -> bool {
        self.roles().any(|own| own.covers(role))
    }

    /// What it makes of its holder in a cluster.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.uris.iter().filter_map(|uri| Role::parse(uri))
    }
}

/// For people: the cluster's names first, or else the others.
impl std::fmt::Display for CertificateNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (of_cluster, others): (Vec<&String>, Vec<&String>) =
            self.uris.iter().partition(|uri| uri.starts_with(OF_CLUSTER));
        let others = others.into_iter().chain(&self.hosts).chain(&self.common_name);
        let named = if of_cluster.is_empty() { others.collect() } else { of_cluster };
        if named.is_empty() {
            return f.write_str("nobody");
        }
        let named: Vec<&str> = named.into_iter().map(String::as_str).collect();
        write!(f, "{}", visible(&named.join(", "), SHOWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_the_cluster_give_a_role() {
        let node = |id: &str| Some(Role::Node(NodeId::parse(id).unwrap()));
        for (uri, expect) in [
            ("mooring:coordinator", Some(Role::Coordinator)),
            ("mooring:node:a", node("a")),
            ("mooring:node:A.b_c-1", node("A.b_c-1")),
            ("mooring:node:coordinator", node("coordinator")),
            ("mooring:node:*", Some(Role::Nodes(String::new()))),
            ("mooring:node:pool-*", Some(Role::Nodes("pool-".to_owned()))),
            ("mooring:node:", None),
            ("mooring:node:**", None),
            ("mooring:node:*a", None),
            ("mooring:node:a b*", None),
            ("mooring:node:a b", None),
            ("mooring:node:a:b", None),
            ("mooring:coordinator:a", None),
            ("mooring:coordinators", None),
            ("MOORING:coordinator", None),
            ("spiffe://x/mooring:coordinator", None),
            ("", None),
        ] {
            assert_eq!(Role::parse(uri), expect, "{uri}");
            if let Some(role) = expect {
                assert_eq!(role.to_string(), uri);
            }
        }
    }

    #[test]
    fn a_certificate_of_many_nodes_is_that_of_each_and_of_no_coordinator() {
        let names =
            |uri: &str| CertificateNames { uris: vec![uri.to_owned()], ..Default::default() };
        let is_of = |uri: &str, id: &str| names(uri).is_of(&Role::of_node(id).unwrap());
        assert!(is_of("mooring:node:pool-*", "pool-7") && is_of("mooring:node:*", "x"));
        assert!(!is_of("mooring:node:pool-*", "pool") && !is_of("mooring:node:a", "ab"));
        assert!(!names("mooring:node:*").is_of(&Role::Coordinator));
    }

    #[test]
    fn people_are_shown_the_clusters_names_and_else_what_there_is() {
        let names = |uris: &[&str], hosts: &[&str], common_name: Option<&str>| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let common_name = common_name.map(str::to_owned);
            CertificateNames { uris: owned(uris), hosts: owned(hosts), common_name }.to_string()
        };
        assert_eq!(names(&["a:b", "mooring:node:a"], &["a.example"], Some("A")), "mooring:node:a");
        assert_eq!(names(&["a:b"], &["a.example"], Some("A")), "a:b, a.example, A");
        assert_eq!(names(&[], &[], None), "nobody");
        assert!(!names(&["a\u{1b}[2J"], &[], None).contains('\u{1b}'));
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        for bytes in [&b""[..], b"\x30\x03\x02\x01", &[0x30; 100]] {
            let names = CertificateNames::of(&CertificateDer::from(bytes.to_vec()));
            assert_eq!(names, CertificateNames::default());
        }
    }
}
