//! TLS with a remote server, beside the usual: `tls`, with the authorities that its certificate must
//! come from, and the certificate that the gateway shows it.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::reader::item::Item;
use crate::config::reader::secret_files::SecretFiles;
use crate::config::reader::section::Section;
use crate::model::pem;

/// Certificates in one file.
const MAX_CERTIFICATES: usize = 1000;

/// What TLS with a server takes beside the usual. All of it can be used.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The authorities that are trusted for it; `None`: those of the system.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    pub identity: Option<ClientIdentity>,
}

/// A certificate with its chain, and its key. Its `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("authorities", &self.authorities.as_ref().map(Vec::len))
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}

/// Reads the section; `line` replaces the variables in a text. `None` after a finding.
pub(in crate::config) fn read(
    item: &Item<'_>,
    mut line: impl FnMut(&Item<'_>) -> Option<String>,
    files: &SecretFiles,
) -> Option<ServerTls> {
    let section = item.section();
    section.object?;
    let mut file = |key: &str| match section.get(key) {
        // An empty text counts as absent, as an optional variable leaves it.
        Some(item) => Some(Some((line(&item)?, item)).filter(|(path, _)| !path.is_empty())),
        None => Some(None),
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let (ca, cert, key) = (ca?, cert?, key?);
    let authorities = match &ca {
        Some((path, item)) => Some(usable(item, path, authorities(files, path))?),
        None => None,
    };
    let identity = match (&cert, &key) {
        (None, None) => None,
        (Some((cert, cert_item)), Some((key, key_item))) => {
            let chain = usable(cert_item, cert, certificates(files, cert));
            let private = usable(key_item, key, private_key(files, key));
            Some(fitting(chain?, private?, (key, key_item))?)
        }
        (cert, _) => {
            let missing = if cert.is_none() { "cert" } else { "key" };
            section.refuse_key(missing, "is missing", BOTH);
            return None;
        }
    };
    if authorities.is_none() && identity.is_none() {
        warn_of_nothing(&section);
    }
    Some(ServerTls { authorities, identity })
}

const BOTH: &str = "a certificate and its key belong together";

fn warn_of_nothing(section: &Section<'_>) {
    let advice = "name \"ca\", or \"cert\" and \"key\"";
    section.notes.warn(&section.place, "names no file", advice);
}

/// The value, or `None` after a finding that names the file.
fn usable<T>(item: &Item<'_>, path: &str, found: Result<T, String>) -> Option<T> {
    found.map_err(|why| item.refuse(format!("{path}: {why}"), "name a file in PEM")).ok()
}

fn authorities(files: &SecretFiles, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(files, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        let added = roots.add(certificate.clone());
        added.map_err(|error| format!("has a certificate that cannot be used: {error}"))?;
    }
    Ok(found)
}

fn certificates(files: &SecretFiles, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = files.pem(path, false)?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem::without_mark(&text)) {
        found.push(certificate.map_err(|error| pem::broken(&error))?);
    }
    match found.len() {
        0 => Err("has no certificate (a block BEGIN CERTIFICATE)".to_owned()),
        1..=MAX_CERTIFICATES => Ok(found),
        _ => Err(format!("has more than {MAX_CERTIFICATES} certificates")),
    }
}

fn private_key(files: &SecretFiles, path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = files.pem(path, true)?;
    // Why it is none would tell of its content.
    PrivateKeyDer::from_pem_slice(pem::without_mark(&text))
        .map_err(|_| pem::no_private_key(&text).to_owned())
}

/// The two together, if they belong together.
fn fitting(
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
    (path, item): (&str, &Item<'_>),
) -> Option<ClientIdentity> {
    let tried =
        CertifiedKey::from_der(chain.clone(), private.clone_key(), &ring::default_provider());
    let tried = tried.map(drop).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "is not the key of the certificate".to_owned(),
        other => format!("cannot be used with the certificate: {other}"),
    });
    usable(item, path, tried)?;
    Some(ClientIdentity { chain, key: Arc::new(private) })
}
