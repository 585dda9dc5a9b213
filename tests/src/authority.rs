//! An authority of a test's own: certificates of every kind, the wrong ones too.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::pem;

const DAY: i64 = 24 * 3600;

/// Whom a certificate names.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub uris: Vec<String>,
    pub hosts: Vec<String>,
    pub common_name: Option<String>,
}

impl Names {
    /// A process of a cluster.
    #[must_use]
    pub fn uri(uri: &str) -> Self {
        Self { uris: vec![uri.to_owned()], ..Self::default() }
    }
}

/// A certificate with its key, and the files of both.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub der: CertificateDer<'static>,
    pub private: PrivateKeyDer<'static>,
    serial: Vec<u8>,
}

impl Identity {
    /// Puts another certificate with its key into the files of this one.
    pub fn become_like(&mut self, other: &Self) {
        for (from, to) in [(&other.key, &self.key), (&other.cert, &self.cert)] {
            let next = to.with_extension("next");
            std::fs::copy(from, &next).expect("a copy");
            std::fs::rename(&next, to).expect("its place");
        }
        self.der = other.der.clone();
        self.private = other.private.clone_key();
        self.serial.clone_from(&other.serial);
    }
}

/// An authority, and a folder for its files.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub ca: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::default();
        params.distinguished_name = named("an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, pem("CERTIFICATE", own.der())).expect("a file");
        Self { folder, issuer: Issuer::new(params, key), ca }
    }

    /// A certificate of a process of a cluster, good for three months: longer than one that is to be renewed soon.
    #[must_use]
    pub fn certify(&self, uri: &str) -> Identity {
        self.made(&Names::uri(uri), (-1, 90), &[])
    }

    /// One that is valid from one day to another, counted from today, for these uses; for all if there
    /// are none.
    #[must_use]
    pub fn made(
        &self,
        names: &Names,
        (from, to): (i64, i64),
        uses: &[ExtendedKeyUsagePurpose],
    ) -> Identity {
        let mut params = CertificateParams::new(names.hosts.clone()).expect("host names");
        for uri in &names.uris {
            let uri = uri.as_str().try_into().expect("a URI");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.distinguished_name = match &names.common_name {
            Some(name) => named(name),
            None => DistinguishedName::new(),
        };
        params.extended_key_usages = uses.to_vec();
        params.not_before = date_time_ymd(1970, 1, 1) + seconds_until(from);
        params.not_after = date_time_ymd(1970, 1, 1) + seconds_until(to);
        let key = KeyPair::generate().expect("a key");
        // Different for each, and no secret.
        let serial = key.public_key_raw()[1..17].to_vec();
        let serial = [&[0x40], &serial[..]].concat();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        let number = std::fs::read_dir(self.folder.path()).expect("its folder").count();
        let file = |kind: &str| self.folder.path().join(format!("{number}.{kind}"));
        let (cert, key_file) = (file("pem"), file("key"));
        std::fs::write(&cert, pem("CERTIFICATE", made.der())).expect("a file");
        std::fs::write(&key_file, pem("PRIVATE KEY", key.serialized_der())).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key_file, mode).expect("a mode");
        let private = PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()).into();
        Identity { cert, key: key_file, der: made.der().clone(), private, serial }
    }

    /// A file in which these certificates are revoked, and no others any more.
    pub fn revoked(&self, identities: &[&Identity]) -> PathBuf {
        let path = self.folder.path().join("revoked.pem");
        let revoked = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&identity.serial),
            revocation_time: date_time_ymd(1970, 1, 1) + seconds_until(-1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + seconds_until(-1),
            next_update: date_time_ymd(1970, 1, 1) + seconds_until(30),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: identities.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        let next = path.with_extension("next");
        std::fs::write(&next, pem("X509 CRL", list.der())).expect("a file");
        std::fs::rename(&next, &path).expect("its place");
        path
    }

    /// What `cluster.tls` says of a process with this certificate.
    #[must_use]
    pub fn settings(&self, identity: &Identity) -> Value {
        tls_of(&self.ca, &identity.cert, &identity.key)
    }
}

fn tls_of(ca: &Path, cert: &Path, key: &Path) -> Value {
    json!({"ca": ca, "cert": cert, "key": key})
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// From 1970 to so many days after now.
fn seconds_until(days: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    Duration::from_secs(now.as_secs().saturating_add_signed(days * DAY))
}
