//! TLS between coordinator and nodes, in both directions, with certificates of both sides.
//!
//! Such a connection is told from those of clients by its ALPN, so that one port serves both. A
//! certificate names what its holder is (`mooring:coordinator`, `mooring:node:` and the id) and not
//! where: addresses of nodes change. Whom a connection is expected to lead to is checked by those who
//! know it (`cluster/dial.rs`, `cluster/coordinator/proofs.rs`, `cluster/node/door.rs`).
//!
//! When certificates change, connections that are there stay. When the authorities or the lists of
//! revoked certificates change, each one is judged again: those that come in are closed if their
//! peers are not trusted any more, and those that go out are not used again.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::sync::Seldom;

use super::accepted::{NotAccepted, accept};
use super::alerts::refusal_told;
use super::expiry::{CertificateInUse, valid_until};
use super::files::{self, CertificateFiles, FileWatch};
use super::judged::{Judged, Trust, TrustFiles, TrustInUse, provider};
use super::names::{CertificateNames, Role};

/// What the cluster's connections speak within TLS.
pub const CLUSTER_ALPN: &[u8] = b"mooring-cluster/1";
/// Rest of the own certificate's time from which on it is said that it is about to expire.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a process of the cluster speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRules {
    /// What this process is.
    pub role: Role,
    pub own: CertificateFiles,
    pub trusted: TrustFiles,
    /// Whether connections without TLS are taken, too.
    pub is_optional: bool,
}

/// What this process speaks TLS with, with other processes of its cluster.
pub struct ClusterTls {
    rules: ClusterRules,
    ends: Arc<BothEnds>,
    client: Arc<ClientConfig>,
    files: FileWatch,
    expiry: Seldom,
    refusals: Seldom,
}

impl std::fmt::Debug for ClusterTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterTls({})", self.rules.role)
    }
}

impl ClusterTls {
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(rules: ClusterRules) -> Result<Arc<Self>, String> {
        let own = [rules.own.cert.clone(), rules.own.key.clone()];
        let files = FileWatch::begin(own.into_iter().chain(rules.trusted.paths()).collect());
        let own = ArcSwap::from_pointee(own_certificate(&rules)?);
        let trust = TrustInUse::new(Trust::read(&rules.trusted)?);
        let ends = Arc::new(BothEnds { own, trust });
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<BothEnds>::clone(&ends);
        let resolver: Arc<dyn ResolvesClientCert> = Arc::<BothEnds>::clone(&ends);
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        client.alpn_protocols = vec![CLUSTER_ALPN.to_vec()];
        // A connection that is resumed is not judged.
        client.resumption = Resumption::disabled();
        Ok(Arc::new(Self {
            rules,
            ends,
            client: Arc::new(client),
            files,
            expiry: Seldom::every(DAY),
            refusals: Seldom::default(),
        }))
    }

    /// What connections to other processes are begun with.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Whether connections without TLS are taken, too.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.rules.is_optional
    }

    /// Rises when something else is trusted than before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.ends.trust.epoch()
    }

    /// Takes a connection of the cluster, whose first message has come.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn accept<S>(
        self: &Arc<Self>,
        begun: StartHandshake<S>,
    ) -> Result<(TlsStream<S>, Arc<ClusterPeer>), NotAccepted>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let trust = self.ends.trust.now();
        let judged = Judged::begin(trust, true, |names| names.roles().next().is_some());
        let own: Arc<dyn ResolvesServerCert> = Arc::<BothEnds>::clone(&self.ends);
        let config = judged
            .served_with(&[&rustls::version::TLS13], own, CLUSTER_ALPN)
            .map_err(NotAccepted::failed)?;
        let (stream, chain) = accept(begun, &judged, config).await?;
        let none = || NotAccepted { why: "it has shown no certificate".into(), is_denied: true };
        let peer = ClusterPeer::of(chain, self).ok_or_else(none)?;
        Ok((stream, Arc::new(peer)))
    }

    /// Logs that a process of the cluster was refused. Strangers can cause it as often as they like.
    pub fn say_refused(&self, from: &dyn std::fmt::Display, why: &str) {
        self.refusals.warn(|| format!("a process of the cluster at {from} was refused: {why}"));
    }

    /// Looks for changed files, and at how long the own certificate is still valid.
    pub fn look(self: &Arc<Self>) {
        if self.files.has_changed() {
            self.take_up();
        }
        if self.expiry.line().is_some()
            && let Some(why) = self.own_complaint()
        {
            tracing::warn!("{why}");
        }
    }

    fn take_up(&self) {
        let own = own_certificate(&self.rules);
        let new = own.and_then(|own| Ok((own, Trust::read(&self.rules.trusted)?)));
        let (own, trust) = match new {
            Ok(new) => new,
            Err(why) => {
                tracing::warn!("the cluster's certificates of before stay in use: {why}");
                return;
            }
        };
        self.ends.own.store(Arc::new(own));
        self.ends.trust.replace(trust);
        tracing::info!("the cluster's certificates read anew");
        if let Some(why) = self.own_complaint() {
            tracing::warn!("{why}");
        }
    }

    /// The own certificate, and until when it is valid.
    #[must_use]
    pub fn certificate(&self) -> CertificateInUse {
        let not_after = valid_until(&self.ends.own.load());
        CertificateInUse { used_for: "cluster", file: self.rules.own.cert.clone(), not_after }
    }

    /// What is, or soon will be, wrong with the own certificate.
    #[must_use]
    pub fn own_complaint(&self) -> Option<String> {
        let (own, trust) = (self.ends.own.load(), self.ends.trust.now());
        let at = self.rules.own.cert.display();
        if let Err(error) = trust.judge(&own.cert, Duration::ZERO) {
            return Some(format!(
                "cluster.tls: no other process takes the certificate in {at}: it {}",
                refusal_told(&error)
            ));
        }
        let error = trust.judge(&own.cert, SOON).err()?;
        let told = refusal_told(&error).replace("has expired at", "expires at");
        Some(format!("cluster.tls: the certificate in {at} {told}"))
    }
}

/// A process of the cluster that has come in, by its certificate.
#[derive(Debug)]
pub struct ClusterPeer {
    names: CertificateNames,
    chain: Vec<CertificateDer<'static>>,
    tls: Arc<ClusterTls>,
}

impl ClusterPeer {
    fn of(chain: Vec<CertificateDer<'static>>, tls: &Arc<ClusterTls>) -> Option<Self> {
        let names = CertificateNames::of(chain.first()?);
        Some(Self { names, chain, tls: Arc::clone(tls) })
    }

    /// Whether its certificate is that of this process.
    #[must_use]
    pub fn is(&self, role: &Role) -> bool {
        self.names.is_of(role)
    }

    /// Whom its certificate names.
    #[must_use]
    pub fn names(&self) -> &CertificateNames {
        &self.names
    }

    /// Waits until its certificate is not trusted any more. Returns why.
    pub async fn distrusted(&self) -> String {
        self.tls.ends.trust.distrusted(&self.chain, &self.names).await
    }

    /// Logs that it was refused.
    pub fn say_refused(&self, from: &dyn std::fmt::Display, why: &str) {
        self.tls.say_refused(from, why);
    }
}

/// The own certificate, which has to name what this process is.
fn own_certificate(rules: &ClusterRules) -> Result<CertifiedKey, String> {
    let own = files::certified(&rules.own)?;
    let names = own.end_entity_cert().map(CertificateNames::of).unwrap_or_default();
    if names.is_of(&rules.role) {
        return Ok(own);
    }
    Err(format!(
        "{}: is the certificate of {names}, and this process is {}: give each process its own \
         (mooring cluster certificate), and a node the id in it (cluster.node.id)",
        rules.own.cert.display(),
        rules.role
    ))
}

/// Shows the own certificate at both ends of connections, and judges that of servers.
#[derive(Debug)]
struct BothEnds {
    own: ArcSwap<CertifiedKey>,
    trust: TrustInUse,
}

impl ResolvesServerCert for BothEnds {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.own.load_full())
    }
}

impl ResolvesClientCert for BothEnds {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.own.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for BothEnds {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.trust.now().signatures().verify_client_cert(certificate, others, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.now().signatures().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.now().signatures().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.now().signatures().supported_verify_schemes()
    }
}

/// Whether a client asks for the cluster's TLS.
#[must_use]
pub fn asks_for_cluster(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == CLUSTER_ALPN))
}

#[cfg(test)]
mod tests;
