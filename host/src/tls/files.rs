//! Certificates, keys and lists of revoked certificates in files, and when the files change.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::model::pem;
use crate::sync::Locked;

/// Bytes of a file. A chain of certificates has a few KiB.
const MAX_FILE: u64 = 1 << 20;
/// Time between two looks at the files. What has changed is taken up once it is the same at two.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate with its chain, and its private key; both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A file as it was at some time: device, number, size and time, or that it was not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Notices when one of several files has changed.
#[derive(Debug)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    followed: Locked<Followed>,
}

#[derive(Debug)]
struct Followed {
    /// The files as they were when they were taken up, or were found to be wrong.
    used: Vec<Stamp>,
    /// The same at the last look.
    seen: Vec<Stamp>,
}

impl FileWatch {
    /// Begin before the files are read: a change in between is noticed then.
    #[must_use]
    pub fn begin(paths: Vec<PathBuf>) -> Self {
        let stamps = stamps(&paths);
        let followed = Locked::new(Followed { used: stamps.clone(), seen: stamps });
        Self { paths, followed }
    }

    /// Looks at the files. True once after each change: when they are settled, since a file may be
    /// half written, or a key not yet be its certificate's.
    pub fn has_changed(&self) -> bool {
        let now = stamps(&self.paths);
        let mut followed = self.followed.lock();
        if now == followed.used {
            followed.seen = now;
            return false;
        }
        let is_settled = now == followed.seen;
        followed.seen.clone_from(&now);
        if is_settled {
            followed.used = now;
        }
        is_settled
    }
}

/// Looks again and again, as long as it is polled. Files of a network may take their time.
pub async fn follow<T: Send + Sync + 'static>(what: Arc<T>, look: fn(&Arc<T>)) {
    loop {
        tokio::time::sleep(LOOK).await;
        let what = Arc::clone(&what);
        let _ = tokio::task::spawn_blocking(move || look(&what)).await;
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

/// The whole file, within bounds. What it holds is never told.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("is not a file".to_owned());
    }
    if found.len() > MAX_FILE {
        return Err(format!("has more than {} KiB", MAX_FILE >> 10));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// All of one kind that a file has; at least one, which `block` names where there is none.
pub fn all_in<T: PemObject>(path: &Path, block: &str) -> Result<Vec<T>, String> {
    let at = |why: String| format!("{}: {why}", path.display());
    let text = read(path).map_err(at)?;
    let found: Result<Vec<T>, _> = T::pem_slice_iter(pem::without_mark(&text)).collect();
    let found = found.map_err(|error| at(pem::broken(&error)))?;
    if found.is_empty() {
        return Err(at(format!("has no {block}")));
    }
    Ok(found)
}

/// The certificates of a file, in their order.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    all_in(path, "certificate (a block BEGIN CERTIFICATE)")
}

/// A certificate with its key.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn certified(files: &CertificateFiles) -> Result<CertifiedKey, String> {
    let CertificateFiles { cert, key } = files;
    let of_key = |why: String| format!("{}: {why}", key.display());
    let chain = certificates(cert)?;
    let text = read(key).map_err(of_key)?;
    let private = PrivateKeyDer::from_pem_slice(pem::without_mark(&text))
        .map_err(|_| of_key(pem::no_private_key(&text).to_owned()))?;
    let tried =
        |chain| CertifiedKey::from_der(chain, private.clone_key(), &ring::default_provider());
    tried(chain.clone()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let is_of = |other: &CertificateDer<'static>| tried(vec![other.clone()]).is_ok();
            let place = cert.display();
            match chain.iter().skip(1).any(is_of) {
                true => of_key(format!(
                    "is not the key of the first certificate in {place}, but of a later one; write \
                     that one first, and those that have issued it behind it"
                )),
                false => of_key(format!("is not the key of the certificate in {place}")),
            }
        }
        other => format!("{}: cannot be used with {}: {other}", cert.display(), key.display()),
    })
}
