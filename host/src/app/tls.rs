//! Settings → TLS on the listening port.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use crate::config::{Config, ListenTls};
use crate::edge::{CertificateFiles, ListenerTls, TlsRules};

/// The bit of a file's mode that lets everybody read it.
const READ_BY_OTHERS: u32 = 0o004;

/// What the port speaks TLS with; `None` without certificates in the settings.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn listener(config: &Config) -> anyhow::Result<Option<Arc<ListenerTls>>> {
    let Some(tls) = &config.listen.tls else { return Ok(None) };
    let opened = ListenerTls::open(rules(tls, config));
    opened.map(Some).map_err(|why| anyhow::anyhow!("systemConfig.listen.tls: {why}"))
}

/// Why the certificates cannot be used.
#[must_use]
pub fn complaint(config: &Config) -> Option<String> {
    listener(config).err().map(|error| error.to_string())
}

/// Private keys that every user of the machine can read, one line each.
#[must_use]
pub fn readable_keys(config: &Config) -> Vec<String> {
    let keys = config.listen.tls.iter().flat_map(ListenTls::keys);
    let is_open = |key: &&std::path::PathBuf| {
        std::fs::metadata(key).is_ok_and(|found| found.mode() & READ_BY_OTHERS != 0)
    };
    keys.filter(is_open)
        .map(|key| {
            let key = key.display();
            format!("systemConfig.listen.tls: every user can read the key {key}; chmod o-r helps")
        })
        .collect()
}

fn rules(tls: &ListenTls, config: &Config) -> TlsRules {
    let files = tls.certificates.iter();
    TlsRules {
        certificates: files
            .map(|(cert, key)| CertificateFiles { cert: cert.clone(), key: key.clone() })
            .collect(),
        only_1_3: tls.only_1_3,
        plain_from: tls.plain_from.clone(),
        handshake: config.limits.head_timeout,
    }
}
