//! Certificates of other processes, judged by the authorities that are trusted and the lists of
//! revoked certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use tokio::sync::watch;

use crate::sync::Locked;

use super::alerts::refusal_told;
use super::files;
use super::names::CertificateNames;

/// Time after which the other side of a connection is judged again: its certificate may have expired.
const JUDGED_AGAIN: Duration = Duration::from_secs(60);

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    /// Certificates of authorities.
    pub ca: PathBuf,
    /// Lists of revoked certificates, each signed by its authority.
    pub revoked: Option<PathBuf>,
}

impl TrustFiles {
    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.revoked.iter().chain([&self.ca]).cloned()
    }
}

/// Judges certificates.
#[derive(Debug)]
pub struct Trust {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
}

/// Both trust the same.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.lists == other.lists
    }
}

impl Trust {
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn read(files: &TrustFiles) -> Result<Self, String> {
        let authorities = files::certificates(&files.ca)?;
        let of_authorities = |why: &dyn std::fmt::Display| format!("{}: {why}", files.ca.display());
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| of_authorities(&error))?;
        }
        let lists = match &files.revoked {
            Some(path) => {
                files::all_in(path, "list of revoked certificates (a block BEGIN X509 CRL)")?
            }
            None => Vec::new(),
        };
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = builder.with_crls(lists.clone()).only_check_end_entity_revocation();
        let verifier = builder.build().map_err(|error| match &files.revoked {
            Some(path) => format!("{}: {error}", path.display()),
            None => of_authorities(&error),
        })?;
        Ok(Self { verifier, authorities, lists })
    }

    /// Judges a certificate, which comes first, with its chain, as it is after some time.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn judge(&self, chain: &[CertificateDer<'_>], after: Duration) -> Result<(), Error> {
        let (certificate, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = UnixTime::now().as_secs().saturating_add(after.as_secs());
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.verifier.verify_client_cert(certificate, others, time).map(drop)
    }

    /// What checks a peer's signatures.
    pub fn signatures(&self) -> &dyn ClientCertVerifier {
        &*self.verifier
    }
}

/// What is trusted now. It changes with the files.
#[derive(Debug)]
pub struct TrustInUse {
    now: ArcSwap<Trust>,
    /// How often it has changed.
    changes: watch::Sender<u64>,
}

impl TrustInUse {
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self { now: ArcSwap::from_pointee(trust), changes: watch::Sender::default() }
    }

    #[must_use]
    pub fn now(&self) -> Arc<Trust> {
        self.now.load_full()
    }

    /// Rises when something else is trusted than before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        *self.changes.borrow()
    }

    /// From now on this is trusted.
    pub fn replace(&self, trust: Trust) {
        let is_other = trust != *self.now.load_full();
        self.now.store(Arc::new(trust));
        if is_other {
            self.changes.send_modify(|times| *times += 1);
        }
    }

    /// Waits until a certificate with this chain is not trusted any more. Returns why.
    pub async fn distrusted(
        &self,
        chain: &[CertificateDer<'_>],
        names: &CertificateNames,
    ) -> String {
        let mut changes = self.changes.subscribe();
        loop {
            // First of all: what is trusted may have changed since the handshake.
            if let Err(error) = self.now().judge(chain, Duration::ZERO) {
                return format!("the certificate of {names} {}", refusal_told(&error));
            }
            let _ = tokio::time::timeout(JUDGED_AGAIN, changes.changed()).await;
        }
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Decides by its names whether a certificate that is otherwise right may be used.
pub type SuitableNames = fn(&CertificateNames) -> bool;

/// The judgement of one connection's client: what is trusted when it begins, and why its certificate
/// is refused.
#[derive(Debug)]
pub struct Judged {
    trust: Arc<Trust>,
    /// Whether there must be a certificate.
    is_required: bool,
    suits: SuitableNames,
    refused: Locked<Option<(CertificateNames, Error)>>,
}

impl Judged {
    #[must_use]
    pub fn begin(trust: Arc<Trust>, is_required: bool, suits: SuitableNames) -> Arc<Self> {
        Arc::new(Self { trust, is_required, suits, refused: Locked::default() })
    }

    /// What the connection is served with. Nothing of it is resumed: that would pass the judgement
    /// by.
    ///
    /// # Errors
    /// If the TLS provider is unusable.
    pub fn served_with(
        self: &Arc<Self>,
        versions: &[&'static SupportedProtocolVersion],
        own: Arc<dyn ResolvesServerCert>,
        alpn: &[u8],
    ) -> Result<Arc<ServerConfig>, Error> {
        let judge: Arc<dyn ClientCertVerifier> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(judge)
            .with_cert_resolver(own);
        config.alpn_protocols = vec![alpn.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Whose certificate was refused, and why.
    #[must_use]
    pub fn refused(&self) -> Option<(CertificateNames, Error)> {
        self.refused.lock().clone()
    }

    fn suitable(&self, names: &CertificateNames) -> Result<(), Error> {
        let unsuitable = || CertificateError::ApplicationVerificationFailure.into();
        (self.suits)(names).then_some(()).ok_or_else(unsuitable)
    }
}

impl ClientCertVerifier for Judged {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients of a cluster have one certificate, and others may have forgotten its issuer.
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let names = CertificateNames::of(certificate);
        let judged = self.trust.verifier.verify_client_cert(certificate, others, now);
        judged.and_then(|verified| self.suitable(&names).map(|()| verified)).inspect_err(|error| {
            *self.refused.lock() = Some((names, error.clone()));
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.verifier.supported_verify_schemes()
    }
}
