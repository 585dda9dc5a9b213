//! TLS towards upstreams and nodes: which certificate authorities are trusted, and the certificate
//! that a target is shown.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsConnector;

use crate::model::pem;

/// Names a file with authorities beside those of the system, as for Node.
const EXTRA: &str = "NODE_EXTRA_CA_CERTS";
/// Bytes of that file.
const MAX_EXTRA: u64 = 4 << 20;

/// A client configuration that trusts the certificate authorities of this machine.
///
/// # Errors
/// If the TLS provider is unusable.
pub fn client_config() -> anyhow::Result<Arc<ClientConfig>> {
    let builder = builder(usual_roots()).context("TLS")?;
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// TLS with one target, where it is not as with others. Cloning is cheap.
#[derive(Clone)]
pub struct TargetTls(Arc<Distinct>);

struct Distinct {
    connector: TlsConnector,
    /// A code of all that it was made from.
    digest: [u8; 32],
}

impl TargetTls {
    /// TLS that trusts these authorities, or those of the machine, and shows this certificate.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(
        authorities: Option<&[CertificateDer<'static>]>,
        identity: Option<(&[CertificateDer<'static>], &PrivateKeyDer<'static>)>,
    ) -> Result<Self, String> {
        let mut digest = Sha256::new();
        let roots = match authorities {
            Some(trusted) => {
                let mut roots = RootCertStore::empty();
                for certificate in trusted {
                    add_to(&mut digest, b"authority", certificate);
                    roots.add(certificate.clone()).map_err(|error| error.to_string())?;
                }
                Arc::new(roots)
            }
            None => usual_roots(),
        };
        let builder = builder(roots).map_err(|error| error.to_string())?;
        let config = match identity {
            Some((chain, key)) => {
                chain.iter().for_each(|shown| add_to(&mut digest, b"shown", shown));
                add_to(&mut digest, b"key", key.secret_der());
                let config = builder.with_client_auth_cert(chain.to_vec(), key.clone_key());
                config.map_err(|error| error.to_string())?
            }
            None => builder.with_no_client_auth(),
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self(Arc::new(Distinct { connector, digest: digest.finalize().into() })))
    }

    /// What begins TLS with it.
    #[must_use]
    pub fn connector(&self) -> &TlsConnector {
        &self.0.connector
    }
}

impl PartialEq for TargetTls {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for TargetTls {}

impl Hash for TargetTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}

impl fmt::Debug for TargetTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetTls")
    }
}

fn add_to(digest: &mut Sha256, what: &[u8], bytes: &[u8]) {
    digest.update(what);
    digest.update((bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

fn builder(
    roots: Arc<RootCertStore>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots))
}

/// The authorities of this machine, read once. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, and
/// `NODE_EXTRA_CA_CERTS` more.
fn usual_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        // A machine without usable authorities can still use http.
        for certificate in rustls_native_certs::load_native_certs().certs {
            let _ = roots.add(certificate);
        }
        if let Some(path) = std::env::var_os(EXTRA).filter(|path| !path.is_empty())
            && let Err(why) = add_extra(Path::new(&path), &mut roots)
        {
            tracing::warn!("{EXTRA} is not used: {}: {why}", path.display());
        }
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// Adds the authorities of a file.
fn add_extra(path: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() || found.len() > MAX_EXTRA {
        return Err(format!("is not a file of at most {} KiB", MAX_EXTRA >> 10));
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem::without_mark(&text)) {
        let certificate = certificate.map_err(|error| pem::broken(&error))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 { Err("has no certificate".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn what_is_trusted_or_shown_makes_the_difference() {
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            (vec![made.cert.der().clone()], key)
        };
        let ((one, one_key), (two, two_key)) = (made("one"), made("two"));
        let tls = |authorities: Option<&[CertificateDer<'static>]>, identity| {
            TargetTls::new(authorities, identity).unwrap()
        };
        let same = tls(Some(&one), None);
        assert_eq!(same, tls(Some(&one), None));
        assert_eq!(tls(None, Some((&one, &one_key))), tls(None, Some((&one, &one_key))));
        for other in [
            tls(Some(&two), None),
            tls(None, None),
            tls(None, Some((&one, &one_key))),
            tls(Some(&one), Some((&one, &one_key))),
            tls(Some(&one), Some((&two, &two_key))),
        ] {
            assert_ne!(same, other);
        }
        assert!(TargetTls::new(None, Some((&one, &two_key))).is_err());
    }

    #[test]
    fn more_authorities_come_from_a_file_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("extra.pem");
        let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        assert!(add_extra(&path, &mut roots).unwrap_err().contains("No such file"));
        std::fs::write(&path, "nothing").unwrap();
        assert_eq!(add_extra(&path, &mut roots), Err("has no certificate".to_owned()));
        let text = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).unwrap();
        assert_eq!(add_extra(&path, &mut roots), Ok(()));
        assert_eq!(roots.len(), 1);
        assert!(add_extra(folder.path(), &mut roots).is_err());
    }
}
