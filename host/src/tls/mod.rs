//! What TLS is spoken with: certificates and keys of files, taken up anew when a file changes; what a
//! certificate says of its holder; TLS between coordinator and nodes, with certificates on both
//! sides; and the small authority that makes such certificates.

mod accepted;
mod alerts;
mod authority;
mod cluster;
mod common_name;
mod expiry;
mod files;
mod judged;
mod names;

pub use accepted::{NotAccepted, accept};
pub use alerts::{alert_told, handshake_told, refusal_told};
pub use authority::{Authority, AuthorityRecord, IssuedCertificate, MadeCertificate};
pub use cluster::{ClusterPeer, ClusterRules, ClusterTls, asks_for_cluster};
pub use expiry::{CertificateInUse, valid_until};
pub use files::{CertificateFiles, FileWatch, certified, follow};
pub use judged::{Judged, Trust, TrustFiles, TrustInUse};
pub use names::{CertificateNames, Role};
