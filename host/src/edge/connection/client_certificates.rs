//! Clients that show a certificate: who they are by it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use crate::model::Principal;
use crate::sync::Seldom;
use crate::tls::{CertificateNames, Judged, NotAccepted, Trust, TrustFiles, TrustInUse, accept};

/// What the names of principals begin with that come by a certificate. A key has another name.
const OF_CERTIFICATE: &str = "certificate:";
/// Bytes of the longest name. It goes into logs, and along with every message to a node.
const MAX_NAME: usize = 200;

/// Whose certificates let clients in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRules {
    pub trusted: TrustFiles,
    /// Whether nobody comes in without one, where TLS is spoken.
    pub is_required: bool,
}

/// Judges the certificates of clients.
pub struct ClientCertificates {
    rules: ClientRules,
    trust: TrustInUse,
    refusals: Seldom,
}

impl ClientCertificates {
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(rules: ClientRules) -> Result<Self, String> {
        let trust = TrustInUse::new(Trust::read(&rules.trusted)?);
        Ok(Self { rules, trust, refusals: Seldom::default() })
    }

    /// The files that are read again when they change.
    pub fn paths(&self) -> impl Iterator<Item = std::path::PathBuf> {
        self.rules.trusted.paths()
    }

    /// # Errors
    /// As those of [`Self::open`]. What was trusted before stays so.
    pub fn read_again(&self) -> Result<(), String> {
        self.trust.replace(Trust::read(&self.rules.trusted)?);
        Ok(())
    }

    /// Finishes a handshake. `None` beside the stream is a client without a certificate.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn accept(
        self: &Arc<Self>,
        begun: StartHandshake<TcpStream>,
        versions: &[&'static rustls::SupportedProtocolVersion],
        own: Arc<dyn ResolvesServerCert>,
        alpn: &[u8],
    ) -> Result<(TlsStream<TcpStream>, Option<Arc<CertifiedClient>>), NotAccepted> {
        let judged =
            Judged::begin(self.trust.now(), self.rules.is_required, |names| name(names).is_some());
        let config = judged.served_with(versions, own, alpn).map_err(NotAccepted::failed)?;
        let (stream, chain) = accept(begun, &judged, config).await?;
        Ok((stream, CertifiedClient::of(chain, self).map(Arc::new)))
    }

    /// Logs that a client was refused. Strangers can cause it as often as they like.
    pub fn say_refused(&self, from: &dyn std::fmt::Display, why: &str) {
        self.refusals.warn(|| format!("a client at {from} was refused: {why}"));
    }
}

/// A client that has come in by a certificate.
pub struct CertifiedClient {
    principal: Principal,
    names: CertificateNames,
    chain: Vec<CertificateDer<'static>>,
    judge: Arc<ClientCertificates>,
}

impl CertifiedClient {
    fn of(chain: Vec<CertificateDer<'static>>, judge: &Arc<ClientCertificates>) -> Option<Self> {
        let names = CertificateNames::of(chain.first()?);
        let principal = Principal::named(&format!("{OF_CERTIFICATE}{}", name(&names)?));
        Some(Self { principal, names, chain, judge: Arc::clone(judge) })
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Waits until its certificate is not trusted any more. Returns why.
    pub async fn distrusted(&self) -> String {
        self.judge.trust.distrusted(&self.chain, &self.names).await
    }

    /// Logs that it was refused.
    pub fn say_refused(&self, from: &dyn std::fmt::Display, why: &str) {
        self.judge.say_refused(from, why);
    }
}

/// Whether a principal comes by a certificate.
#[must_use]
pub fn is_certified(principal: &Principal) -> bool {
    principal.as_str().starts_with(OF_CERTIFICATE)
}

/// What a certificate calls its holder: its first URI, else its first host name, else the common name
/// of its subject.
fn name(names: &CertificateNames) -> Option<&str> {
    let named = names.uris.first().or(names.hosts.first()).or(names.common_name.as_ref())?;
    let is_blank = named.trim().is_empty();
    let is_name = !is_blank && named.len() <= MAX_NAME && !named.contains(char::is_control);
    is_name.then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_precise_name_counts() {
        let (uri, host, common) = ("spiffe://x/a", "a.example", "Ann");
        let names = |uris: &[&str], hosts: &[&str], common_name: Option<&str>| CertificateNames {
            uris: uris.iter().map(|text| (*text).to_owned()).collect(),
            hosts: hosts.iter().map(|text| (*text).to_owned()).collect(),
            common_name: common_name.map(str::to_owned),
        };
        assert_eq!(name(&names(&[uri, "b:c"], &[host], Some(common))), Some(uri));
        assert_eq!(name(&names(&[], &[host], Some(common))), Some(host));
        assert_eq!(name(&names(&[], &[], Some(common))), Some(common));
        assert_eq!(name(&names(&[], &[], None)), None);
        assert_eq!(name(&names(&[], &[], Some(" "))), None);
        assert_eq!(name(&names(&[], &[], Some("a\nb"))), None);
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(name(&names(&[], &[], Some(&long))), None);
        assert_eq!(name(&names(&[], &[], Some(&long[1..]))), Some(&long[1..]));
    }
}
