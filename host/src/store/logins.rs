//! What is kept of users who have logged in at servers: in the data folder, or in the store that several
//! coordinators share, sealed in both. A file's name tells neither whose it is nor of which server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::protocol::seal::KeyRing;
use crate::sync::{beside, now};

use super::folder::data::DataFolder;
use super::shared::Leased;
use super::sharing::Sharing;

/// The subfolder with these files.
const FOLDER: &str = "logins";
/// How long the shared store keeps what nobody has used since. Most refresh tokens end before.
const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);
/// Pause of those who wait for a turn.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Bytes of what is kept of one login.
const MOST: usize = 128 << 10;

/// What something is about, and of which kind it is.
#[derive(Debug, Clone, Copy)]
pub struct LoginName<'a> {
    pub kind: &'a str,
    pub parts: &'a [&'a str],
}

impl LoginName<'_> {
    /// A text that is different for all others, and tells nothing.
    fn text(&self) -> String {
        let mut hash = Sha256::new();
        for part in std::iter::once(&self.kind).chain(self.parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A turn among the coordinators, until it is ended.
pub struct SharedTurn {
    sharing: Arc<Sharing>,
    text: String,
    /// When it ends by itself.
    until: Instant,
}

impl SharedTurn {
    pub async fn end(self) {
        let Self { sharing, text, until } = self;
        // Later it is another one's turn.
        if now() < until {
            let _ = sharing.ask(sharing.store().let_go(Leased::Login, &text)).await;
        }
    }
}

/// The shared store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreAway;

/// Where logins are kept.
#[derive(Clone)]
pub struct KeptLogins {
    folder: DataFolder,
    shared: Option<Arc<Sharing>>,
    keys: KeyRing,
}

impl KeptLogins {
    #[must_use]
    pub fn new(folder: DataFolder, shared: Option<Arc<Sharing>>, keys: KeyRing) -> Self {
        Self { folder, shared, keys }
    }

    /// Whether other coordinators may change what is kept.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What is kept under a name; `None` if nothing is that this process can open.
    ///
    /// # Errors
    /// If the shared store does not answer.
    pub async fn read(&self, name: LoginName<'_>) -> Result<Option<Vec<u8>>, StoreAway> {
        let (kind, text) = (name.kind, name.text());
        let sealed = match &self.shared {
            Some(sharing) => {
                let read = sharing.store().leased(Leased::Login, &text);
                sharing.ask(read).await.ok_or(StoreAway)?
            }
            None => {
                let (folder, file) = (self.folder.clone(), format!("{FOLDER}/{text}"));
                beside(move || folder.read(&file)).await.flatten()
            }
        };
        Ok(sealed.and_then(|sealed| self.keys.open_kept(kind, &text, &sealed)))
    }

    /// Keeps it. False if it is in memory alone: what keeps it does not answer, or cannot be written.
    pub async fn write(
        &self,
        name: LoginName<'_>,
        contents: Vec<u8>,
        time: Option<Duration>,
    ) -> bool {
        let (kind, text) = (name.kind, name.text());
        if contents.len() > MOST {
            return false;
        }
        let Some(sealed) = self.keys.seal_kept(kind, &text, contents) else { return false };
        match &self.shared {
            Some(sharing) => {
                let lease =
                    sharing.store().lease(Leased::Login, &text, &sealed, time.unwrap_or(KEPT));
                sharing.ask(lease).await.is_some()
            }
            // What ends soon is of no use after a restart.
            None if time.is_some() => false,
            None => {
                let (folder, file) = (self.folder.clone(), format!("{FOLDER}/{text}"));
                // A folder that cannot be written is in the log.
                beside(move || folder.write(&file, &sealed).is_ok()).await.unwrap_or(false)
            }
        }
    }

    pub async fn remove(&self, name: LoginName<'_>) {
        match &self.shared {
            Some(_) => drop(self.take(name).await),
            None => {
                let (folder, file) = (self.folder.clone(), format!("{FOLDER}/{}", name.text()));
                let _ = beside(move || folder.remove(&file)).await;
            }
        }
    }

    /// Removes what the coordinators share under a name. Of all that take it, one hears that it was
    /// there.
    ///
    /// # Errors
    /// If the shared store does not answer.
    pub async fn take(&self, name: LoginName<'_>) -> Result<bool, StoreAway> {
        let (Some(sharing), text) = (&self.shared, name.text()) else { return Ok(false) };
        sharing.ask(sharing.store().let_go(Leased::Login, &text)).await.ok_or(StoreAway)
    }

    /// Waits until no other coordinator acts under this name. The turn ends by itself after `longest`,
    /// should this process die. `None` where nothing is shared, or the store does not answer.
    pub async fn turn(&self, name: LoginName<'_>, longest: Duration) -> Option<SharedTurn> {
        let (sharing, text) = (self.shared.as_ref()?, name.text());
        let deadline = now() + longest;
        loop {
            let until = now() + longest;
            let first = sharing.store().lease_first(Leased::Login, &text, b"turn", longest);
            match sharing.ask(first).await {
                Some(true) => {
                    return Some(SharedTurn { sharing: Arc::clone(sharing), text, until });
                }
                Some(false) if now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                Some(false) | None => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_login_survives_a_restart_and_opens_under_its_name_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let kept = |secret: &[u8]| KeptLogins::new(folder.clone(), None, KeyRing::new(&[secret]));
        let name = LoginName { kind: "login", parts: &["ann", "crm"] };
        assert!(kept(b"one").write(name, b"canary".to_vec(), None).await);
        let read = |parts| {
            let kept = kept(b"one");
            async move { kept.read(LoginName { kind: "login", parts }).await.unwrap() }
        };
        assert_eq!(read(&["ann", "crm"]).await.as_deref(), Some(&b"canary"[..]));
        assert_eq!(read(&["an", "ncrm"]).await, None);
        assert_eq!(read(&["ben", "crm"]).await, None);
        assert_eq!(kept(b"two").read(name).await, Ok(None));
        let files = std::fs::read_dir(place.path().join(FOLDER)).unwrap();
        for file in files.map(|file| file.unwrap()) {
            assert!(!file.file_name().to_string_lossy().contains("ann"));
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(6).any(|bytes| bytes == b"canary"));
        }
        kept(b"one").remove(name).await;
        assert_eq!(read(&["ann", "crm"]).await, None);
    }
}
