//! A small authority for the certificates of one cluster. What it has issued is in a record of its
//! own, so that all certificates of a name can be revoked, and not only the last one.

use std::time::Duration;

use base64::Engine as _;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::model::UnixMillis;
use crate::protocol::objects::object_only;

use super::names::Role;

/// Time for which the authority's own certificate is valid, and its lists say they are.
const OWN_DAYS: u64 = 3650;
/// How much a certificate is valid from before it is made: clocks differ.
const BEFORE: u64 = 3600;
const DAY: u64 = 24 * 3600;

/// What the authority has to know of what it has done. Nothing of it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct AuthorityRecord {
    /// The name in its own certificate.
    pub authority: String,
    /// How many lists of revoked certificates there were.
    pub lists: u64,
    pub issued: Vec<IssuedCertificate>,
}

/// A certificate that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct IssuedCertificate {
    /// What its holder is.
    pub name: String,
    /// Hexadecimal.
    pub serial: String,
    /// Seconds since 1970.
    pub expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

object_only!(both AuthorityRecord, IssuedCertificate);

/// A certificate and its key, in PEM.
pub struct MadeCertificate {
    pub cert: String,
    pub key: String,
    /// Until when it is valid, in seconds since 1970.
    pub expires: u64,
}

/// The authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub record: AuthorityRecord,
}

impl Authority {
    /// Makes a new one. Its own certificate and key come with it.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn make() -> Result<(Self, MadeCertificate), String> {
        let mark: [u8; 4] = random()?;
        let authority = format!("mooring cluster {}", hex(&mark));
        let mut params = own_params(&authority);
        let expires = validity(&mut params, OWN_DAYS);
        let key = KeyPair::generate().map_err(told)?;
        let own = params.self_signed(&key).map_err(told)?;
        let made = made(own.der(), &key, expires);
        let record = AuthorityRecord { authority, ..AuthorityRecord::default() };
        Ok((Self { issuer: Issuer::new(params, key), record }, made))
    }

    /// The one with this record and this key, in PEM.
    ///
    /// # Errors
    /// If it is no key.
    pub fn of(record: AuthorityRecord, key: &[u8]) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key)
            .map_err(|_| "has no private key (a block BEGIN PRIVATE KEY)".to_owned())?;
        let key = KeyPair::try_from(&key).map_err(told)?;
        Ok(Self { issuer: Issuer::new(own_params(&record.authority), key), record })
    }

    /// Makes a certificate for a process, for both ends of connections.
    ///
    /// # Errors
    /// If a host is no name.
    pub fn certify(
        &mut self,
        role: &Role,
        hosts: &[String],
        days: u64,
    ) -> Result<MadeCertificate, String> {
        let mut params = CertificateParams::new(hosts).map_err(told)?;
        let uri = Ia5String::try_from(role.to_string()).map_err(told)?;
        params.subject_alt_names.insert(0, SanType::URI(uri));
        params.distinguished_name = named(&role.to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let expires = validity(&mut params, days);
        let key = KeyPair::generate().map_err(told)?;
        let made_now = params.signed_by(&key, &self.issuer).map_err(told)?;
        let (name, serial) = (role.to_string(), hex(&serial));
        self.record.issued.push(IssuedCertificate { name, serial, expires, revoked: None });
        Ok(made(made_now.der(), &key, expires))
    }

    /// Revokes all certificates of a process. Returns how many of them were good until now.
    pub fn revoke(&mut self, role: &Role) -> usize {
        let (name, now) = (role.to_string(), now());
        let good = |issued: &&mut IssuedCertificate| {
            issued.name == name && issued.revoked.is_none() && issued.expires > now
        };
        let good = self.record.issued.iter_mut().filter(good);
        good.map(|issued| issued.revoked = Some(now)).count()
    }

    /// The list of revoked certificates, in PEM. Those that have expired are left out.
    ///
    /// # Errors
    /// If the record has been changed by hand.
    pub fn list(&mut self) -> Result<String, String> {
        self.record.lists += 1;
        let epoch = date_time_ymd(1970, 1, 1);
        let is_listed = |issued: &&IssuedCertificate| issued.expires > now();
        let listed = self.record.issued.iter().filter(is_listed).filter_map(|issued| {
            let revoked = issued.revoked?;
            Some(bytes(&issued.serial).map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial),
                revocation_time: epoch + Duration::from_secs(revoked),
                reason_code: None,
                invalidity_date: None,
            }))
        });
        let listed: Option<Vec<RevokedCertParams>> = listed.collect();
        let params = CertificateRevocationListParams {
            this_update: epoch + Duration::from_secs(now() - BEFORE),
            next_update: epoch + Duration::from_secs(now() + OWN_DAYS * DAY),
            crl_number: SerialNumber::from(self.record.lists),
            issuing_distribution_point: None,
            revoked_certs: listed.ok_or("a serial number in it is not hexadecimal")?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(told)?;
        Ok(pem("X509 CRL", list.der()))
    }
}

/// The same for each use of an authority: what it signs names it by these.
fn own_params(authority: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(authority);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// Makes it valid for so many days. Returns until when.
fn validity(params: &mut CertificateParams, days: u64) -> u64 {
    let (now, epoch) = (now(), date_time_ymd(1970, 1, 1));
    let expires = now + days * DAY;
    params.not_before = epoch + Duration::from_secs(now - BEFORE);
    params.not_after = epoch + Duration::from_secs(expires);
    expires
}

fn made(der: &[u8], key: &KeyPair, expires: u64) -> MadeCertificate {
    let (cert, key) = (pem("CERTIFICATE", der), pem("PRIVATE KEY", key.serialized_der()));
    MadeCertificate { cert, key, expires }
}

fn now() -> u64 {
    UnixMillis::now().0 / 1000
}

fn serial() -> Result<[u8; 16], String> {
    let mut serial: [u8; 16] = random()?;
    // Positive, and as long as it is.
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let is_even = !hex.is_empty() && hex.len().is_multiple_of(2);
    let is_hex = is_even && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    is_hex.then(|| (0..hex.len()).step_by(2).map(byte).collect())?
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {kind}-----\n");
    let mut rest = text.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        lines.push_str(line);
        lines.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        lines.push_str(rest);
        lines.push('\n');
    }
    format!("{lines}-----END {kind}-----\n")
}

fn told(error: rcgen::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::{CertificateError, Error};

    use super::*;
    use crate::model::NodeId;
    use crate::tls::files::{self, CertificateFiles};
    use crate::tls::judged::{Trust, TrustFiles};
    use crate::tls::names::CertificateNames;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("mooring-authority-{}", crate::model::SessionId::mint());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn chain(&self, made: &MadeCertificate) -> Vec<rustls::pki_types::CertificateDer<'static>> {
            let files = CertificateFiles {
                cert: self.file("cert", &made.cert),
                key: self.file("key", &made.key),
            };
            files::certified(&files).unwrap().cert
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn node(id: &str) -> Role {
        Role::Node(NodeId::parse(id).unwrap())
    }

    fn trust(ca: &Path, revoked: Option<&Path>) -> Trust {
        let files = TrustFiles { ca: ca.to_owned(), revoked: revoked.map(Path::to_owned) };
        Trust::read(&files).unwrap()
    }

    #[test]
    fn a_certificate_is_of_its_process_and_good_until_it_expires() {
        let (folder, (mut authority, own)) = (Folder::new(), Authority::make().unwrap());
        let ca = folder.file("ca", &own.cert);
        let hosts = ["node-a".to_owned(), "10.0.0.7".to_owned()];
        let made = authority.certify(&node("a"), &hosts, 30).unwrap();
        let chain = folder.chain(&made);
        let names = CertificateNames::of(&chain[0]);
        assert!(names.is_of(&node("a")) && !names.is_of(&node("b")));
        assert!(!names.is_of(&Role::Coordinator));
        assert_eq!(names.hosts, ["node-a"]);
        assert_eq!(names.common_name.as_deref(), Some("mooring:node:a"));
        let trusted = trust(&ca, None);
        let after = |days: u64| trusted.judge(&chain, Duration::from_secs(days * DAY));
        assert_eq!(after(0), Ok(()));
        assert_eq!(after(29), Ok(()));
        let expired = after(31).unwrap_err();
        let Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = expired
        else {
            panic!("{expired}")
        };
        assert_eq!(not_after.as_secs(), made.expires);
        let (_, other) = Authority::make().unwrap();
        let other = trust(&folder.file("other", &other.cert), None);
        let foreign = other.judge(&chain, Duration::ZERO);
        assert_eq!(foreign, Err(CertificateError::UnknownIssuer.into()));
    }

    #[test]
    fn all_certificates_of_a_name_are_revoked_and_later_ones_are_good() {
        let (folder, (mut authority, own)) = (Folder::new(), Authority::make().unwrap());
        let ca = folder.file("ca", &own.cert);
        let made: Vec<MadeCertificate> = ["a", "a", "b"]
            .map(|id| authority.certify(&node(id), &[], 30).unwrap())
            .into_iter()
            .collect();
        let empty = folder.file("empty", &authority.list().unwrap());
        // Another process of the command line goes on with what it finds.
        let record = serde_json::to_string(&authority.record).unwrap();
        let record = serde_json::from_str(&record).unwrap();
        let mut authority = Authority::of(record, own.key.as_bytes()).unwrap();
        assert_eq!(authority.revoke(&node("a")), 2);
        assert_eq!(authority.revoke(&node("a")), 0);
        assert_eq!(authority.revoke(&node("c")), 0);
        let again = authority.certify(&node("a"), &[], 30).unwrap();
        let list = folder.file("list", &authority.list().unwrap());
        let judged = |trust: &Trust, made: &MadeCertificate| {
            trust.judge(&folder.chain(made), Duration::ZERO)
        };
        let before = trust(&ca, Some(&empty));
        assert!(made.iter().all(|made| judged(&before, made).is_ok()));
        let now = trust(&ca, Some(&list));
        assert!(now != before);
        let revoked = Err(CertificateError::Revoked.into());
        assert_eq!([judged(&now, &made[0]), judged(&now, &made[1])], [revoked.clone(), revoked]);
        assert_eq!([judged(&now, &made[2]), judged(&now, &again)], [Ok(()), Ok(())]);
        // A list of another authority says nothing of these.
        let (mut other, _) = Authority::make().unwrap();
        let foreign = folder.file("foreign", &other.list().unwrap());
        let unknown = judged(&trust(&ca, Some(&foreign)), &again);
        assert_eq!(unknown, Err(CertificateError::UnknownRevocationStatus.into()));
    }

    #[test]
    fn a_key_or_record_that_was_spoilt_is_an_error() {
        let (mut authority, own) = Authority::make().unwrap();
        assert!(Authority::of(authority.record.clone(), b"no key").is_err());
        let cut = &own.key.as_bytes()[..own.key.len() / 2];
        assert!(Authority::of(authority.record.clone(), cut).is_err());
        authority.certify(&node("a"), &[], 1).unwrap();
        authority.record.issued[0].revoked = Some(1);
        for serial in ["", "x", "0", "0g", "é1"] {
            authority.record.issued[0].serial = serial.to_owned();
            assert!(authority.list().is_err(), "{serial}");
        }
        assert!(authority.certify(&node("a"), &["ä".to_owned()], 1).is_err());
    }

    #[test]
    fn pem_has_lines_of_64_letters() {
        assert_eq!(pem("X", b""), "-----BEGIN X-----\n-----END X-----\n");
        for length in [1, 47, 48, 49, 96, 100] {
            let text = pem("X", &vec![7; length]);
            let lines: Vec<&str> = text.lines().collect();
            let inside = &lines[1..lines.len() - 1];
            let (last, others) = inside.split_last().unwrap();
            assert!(!last.is_empty() && last.len() <= 64, "{text}");
            assert!(others.iter().all(|line| line.len() == 64), "{text}");
        }
    }
}
