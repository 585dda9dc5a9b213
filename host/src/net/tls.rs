//! TLS towards upstreams and nodes: which certificate authorities are trusted.

use std::sync::Arc;

use anyhow::Context as _;

/// A client configuration that trusts the certificate authorities of this machine.
///
/// # Errors
/// If the TLS provider is unusable.
pub fn client_config() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    // A machine without usable authorities can still use http.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
