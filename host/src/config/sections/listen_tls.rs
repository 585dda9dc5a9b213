//! TLS on the listening port: `systemConfig.listen.tls`.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::config::reader::section::Section;

use super::access::network;

/// Certificates of one port.
const MAX_CERTIFICATES: usize = 100;
/// Characters of a path.
const MAX_PATH: usize = 4096;

/// How the port speaks TLS. Files are absolute, or start at the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// Certificate with chain, and key. At least one; the first is for clients without a name.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    pub only_1_3: bool,
    /// From where plain HTTP is answered on the same port, beside this machine.
    pub plain_from: Vec<IpNet>,
    /// Whose certificates let clients in.
    pub clients: Option<ClientAuthorities>,
}

/// Authorities whose certificates let clients in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthorities {
    pub ca: PathBuf,
    /// Lists of revoked certificates.
    pub revoked: Option<PathBuf>,
    /// Whether nobody comes in without a certificate, where TLS is spoken.
    pub is_required: bool,
}

impl ListenTls {
    /// The private keys, which no server may read.
    pub fn keys(&self) -> impl Iterator<Item = &PathBuf> {
        self.certificates.iter().map(|(_, key)| key)
    }
}

/// Reads the section; paths start at the folder of the settings file.
pub(in crate::config) fn read(listen: &Section<'_>, folder: &Path) -> Option<ListenTls> {
    let item = listen.get("tls")?;
    let section = item.section();
    section.object?;
    let mut certificates: Vec<_> = pair(&section, folder, false).into_iter().collect();
    for item in section.items("certificates") {
        certificates.extend(pair(&item.section(), folder, true));
    }
    if certificates.is_empty() {
        let advice = "name both: \"tls\": { \"cert\": \"server.pem\", \"key\": \"server.key\" }";
        section.refuse("names no certificate with its key", advice);
        return None;
    }
    if certificates.len() > MAX_CERTIFICATES {
        let advice = "put a proxy in front for more";
        section.refuse(format!("has more than {MAX_CERTIFICATES} certificates"), advice);
        return None;
    }
    let versions = [("1.2", false), ("1.3", true)];
    let only_1_3 = section.choice("minVersion", "version of TLS", &versions).unwrap_or(false);
    let clients = clients(&section, folder);
    Some(ListenTls { certificates, only_1_3, plain_from: plain_from(&section), clients })
}

fn clients(section: &Section<'_>, folder: &Path) -> Option<ClientAuthorities> {
    let choices = [("required", true), ("optional", false)];
    let what = "way to ask for client certificates";
    let is_required = section.choice("clientCertificates", what, &choices);
    let (ca, revoked) = (file(section, "clientCa", folder), file(section, "clientRevoked", folder));
    if section.get("clientCa").is_none() {
        for key in ["clientCertificates", "clientRevoked"] {
            if let Some(item) = section.get(key) {
                let advice = "name the authority of the clients' certificates in \"clientCa\"";
                item.refuse("has no effect without clientCa", advice);
            }
        }
    }
    Some(ClientAuthorities { ca: ca?, revoked, is_required: is_required.unwrap_or(true) })
}

/// The path of a file.
fn file(section: &Section<'_>, key: &str, folder: &Path) -> Option<PathBuf> {
    let item = section.get(key)?;
    let text = item.text()?;
    if text.is_empty() || text.len() > MAX_PATH {
        item.refuse("is not the path of a file", "name a file in PEM");
        return None;
    }
    Some(folder.join(text))
}

/// A certificate and its key: both, or neither unless they `are_required`.
fn pair(section: &Section<'_>, folder: &Path, are_required: bool) -> Option<(PathBuf, PathBuf)> {
    let (cert, key) = (file(section, "cert", folder), file(section, "key", folder));
    for (name, found, other) in [("cert", &cert, &key), ("key", &key, &cert)] {
        let is_missing = section.get(name).is_none() && found.is_none();
        if is_missing && (are_required || other.is_some()) {
            section.refuse_key(name, "is missing", "a certificate and its key belong together");
        }
    }
    cert.zip(key)
}

fn plain_from(section: &Section<'_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for item in section.items("plainFrom") {
        let Some(text) = item.text() else { continue };
        match network(text.trim()) {
            Some(network) if network.prefix_len() == 0 => {
                let advice = "leave \"tls\" out if everybody may speak plain HTTP";
                item.refuse("would let everybody do without TLS", advice);
            }
            Some(network) => networks.push(network),
            None => {
                let advice = "write it like 10.0.0.7, 10.0.0.0/8 or fd00::/8";
                item.refuse("is not an address or a network", advice);
            }
        }
    }
    networks
}
