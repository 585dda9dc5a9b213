//! The data folder: private files that must survive a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::protocol::mac;
use crate::sync::Locked;

use super::private::{Found, PrivateFolder, Unusable};

/// Bytes of a file that is read at all: all tombstones, or the list of 10,000 nodes.
const MAX_READ: u64 = 64 << 20;
/// Bytes of a key.
const KEY: usize = 32;
/// The file with the key of the local command line.
pub const LOCAL_KEY: &str = "local-key";
/// The file with the key that lets clients in where the settings file names none.
pub const GENERATED_KEY: &str = "generated-key";
/// Bytes of a text that is taken for a key.
const SHORTEST_TEXT: usize = 16;
/// Time between two lines in the log that say why the folder cannot be used.
const SAID: Duration = Duration::from_secs(60);
/// Age from which an incomplete file is taken for one whose writer was killed.
const DRAFT_AGE: Duration = Duration::from_secs(3600);

/// A folder for this process and its next starts, or none. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct DataFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None`: everything stays in memory.
    folder: Option<Locked<Arc<PrivateFolder>>>,
    trouble: Locked<Trouble>,
    failures: AtomicU64,
}

/// Why the folder does not do what it is for.
#[derive(Debug, Default)]
struct Trouble {
    state: FolderState,
    why: String,
    said: Option<Instant>,
}

/// How far the folder can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FolderState {
    /// It is read and written.
    #[default]
    Fine,
    /// It is read; what had to be written stays in memory.
    Unwritable,
    /// It can neither be read nor written.
    Absent,
}

impl FolderState {
    /// The word for it in `/readyz` and `/health`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Unwritable => "not writable",
            Self::Absent => "not usable",
        }
    }
}

/// Whether a secret is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKept {
    /// Since an earlier start.
    Before,
    /// Since now.
    Now,
    /// No: it ends with this process.
    Not,
}

impl DataFolder {
    /// Opens the folder, and makes it unless it exists. One that cannot be written is read, and
    /// one that cannot be opened is done without: the reason is logged.
    ///
    /// # Errors
    /// If it belongs to somebody else, or others can write to it and that cannot be changed.
    pub fn open(path: &Path) -> Result<Self, ForeignFolder> {
        let shown = path.display();
        let foreign = |why| ForeignFolder { path: path.to_owned(), why };
        let folder = match PrivateFolder::open(path) {
            Ok((folder, mended)) => {
                if mended {
                    tracing::warn!(
                        "other users could write to the data folder {shown}: its mode was changed"
                    );
                }
                Some(folder)
            }
            Err(Unusable::Foreign(why)) => return Err(foreign(why)),
            Err(Unusable::Io(error)) => {
                tracing::warn!(
                    "data folder {shown} cannot be used ({error}): keys stay in memory and \
                     sessions end with this process; set MOORING_DATA to a writable folder"
                );
                let trouble = Trouble {
                    state: FolderState::Absent,
                    why: error.to_string(),
                    ..Trouble::default()
                };
                return Ok(Self::of(path, None, trouble));
            }
        };
        let this = Self::of(path, folder, Trouble::default());
        this.check();
        Ok(this)
    }

    /// The folder as it is, to be read alone: nothing is made or logged.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        Self::of(path, PrivateFolder::existing(path).ok(), Trouble::default())
    }

    /// No folder: nothing is read or written.
    #[must_use]
    pub fn memory() -> Self {
        Self::of(Path::new(""), None, Trouble::default())
    }

    fn of(path: &Path, folder: Option<PrivateFolder>, trouble: Trouble) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            folder: folder.map(|folder| Locked::new(Arc::new(folder))),
            trouble: Locked::new(trouble),
            failures: AtomicU64::new(0),
        }))
    }

    /// Whether there is a folder at all.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.folder.is_some()
    }

    /// How far it can be used, and why no further.
    #[must_use]
    pub fn state(&self) -> (FolderState, String) {
        let trouble = self.0.trouble.lock();
        (trouble.state, trouble.why.clone())
    }

    /// How many times something could not be written.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Finds out whether the folder can be written, and removes incomplete files.
    pub fn check(&self) {
        let tried = self.with("", true, |folder, _| {
            folder.try_writing()?;
            folder.remove_drafts(DRAFT_AGE)
        });
        // The result is in the state and in the log.
        let _ = self.note("cannot write to it", tried);
    }

    /// The contents of a file; `None` without one or without a folder. One that must not be
    /// used, such as a link, is as good as none; the log says so.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.try_read(name).unwrap_or_else(|error| {
            self.warn(&format!("{name} is not used: {error}"));
            None
        })
    }

    fn try_read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let read = self.with(name, false, |folder, file| folder.read(file, MAX_READ));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(read?.flatten()),
        }
    }

    /// Whether there is something of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let found = self.with(name, false, |folder, file| Ok(folder.has(file)));
        found.ok().flatten().unwrap_or(false)
    }

    /// Replaces a whole file at one moment, mode 0600. Without a folder nothing happens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let written = self.with(name, true, |folder, file| folder.replace(file, contents));
        self.note(&format!("cannot write {name}"), written)
    }

    /// Appends a line to a file, mode 0600. Without a folder nothing happens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let text = format!("{line}\n");
        let written = self.with(name, true, |folder, file| folder.append(file, &text));
        self.note(&format!("cannot write {name}"), written)
    }

    /// Removes a file if it exists; a failure is ignored.
    pub fn remove(&self, name: &str) {
        // Most files that are removed were never written.
        let _ = self.with(name, false, |folder, file| folder.remove(file));
    }

    /// The regular files of the folder, or of a subfolder whose name ends with a slash.
    #[must_use]
    pub fn files(&self, folder: &str) -> Vec<Found> {
        let found = self.with(folder, false, |folder, _| folder.files());
        found.ok().flatten().unwrap_or_default()
    }

    /// Does something while no other process that shares the folder does such a thing. Without a
    /// folder it is not done.
    ///
    /// # Errors
    /// If the folder's lock is not free in time.
    pub fn alone<T>(&self, work: impl FnOnce() -> T) -> io::Result<Option<T>> {
        let locked = self.with("", true, |folder, _| folder.lock())?;
        Ok(locked.map(|_lock| work()))
    }

    /// A secret of 32 random bytes, made once and then the same at every start. If it cannot be
    /// read or written, it lasts until this process ends.
    #[must_use]
    pub fn secret(&self, name: &str) -> Vec<u8> {
        self.kept_secret(name, fresh_key(), |kept| kept.len() >= KEY).0
    }

    /// The same as a text in hexadecimal, for people, and whether it is kept. They may put another
    /// one into the file.
    #[must_use]
    pub fn text_secret(&self, name: &str) -> (String, SecretKept) {
        let text_of = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?.trim();
            let is_key = text.len() >= SHORTEST_TEXT && text.bytes().all(|b| b.is_ascii_graphic());
            is_key.then(|| text.to_owned())
        };
        let fresh = format!("{}\n", mac::hex(&fresh_key())).into_bytes();
        let (bytes, kept) = self.kept_secret(name, fresh, |kept| text_of(kept).is_some());
        (text_of(&bytes).unwrap_or_else(|| mac::hex(&fresh_key())), kept)
    }

    /// The secret in a file, which is made with the `fresh` one if it has none.
    fn kept_secret(
        &self,
        name: &str,
        fresh: Vec<u8>,
        is_key: impl Fn(&[u8]) -> bool,
    ) -> (Vec<u8>, SecretKept) {
        let is_key = |kept: &Vec<u8>| is_key(kept);
        let kept = match self.try_read(name) {
            Ok(kept) => kept,
            // A link or somebody else's file in its place: an operator must look at it.
            Err(error) => {
                tracing::error!(
                    "{name} in the data folder is not used ({error}), and a key is that ends with \
                     this process; put the key itself there, or remove it"
                );
                return (fresh, SecretKept::Not);
            }
        };
        if let Some(kept) = kept.filter(is_key) {
            return (kept, SecretKept::Before);
        }
        let made = self.alone(|| match self.try_read(name)?.filter(is_key) {
            // Another process was faster.
            Some(kept) => Ok((kept, SecretKept::Before)),
            None => self.write(name, &fresh).map(|()| (fresh.clone(), SecretKept::Now)),
        });
        match made.and_then(|made| made.unwrap_or_else(|| Ok((fresh.clone(), SecretKept::Not)))) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(
                    "cannot write {name} to the data folder ({error}): the next start makes \
                     another"
                );
                (fresh, SecretKept::Not)
            }
        }
    }

    /// Does something in the folder of the file that `name`, with at most one subfolder, is the
    /// path of. `None` without a data folder.
    fn with<T>(
        &self,
        name: &str,
        make: bool,
        work: impl Fn(&PrivateFolder, &str) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(held) = &self.0.folder else { return Ok(None) };
        let mut folder = Arc::clone(&held.lock());
        if make && folder.is_gone() {
            folder = self.open_again()?;
            *held.lock() = Arc::clone(&folder);
        }
        match name.split_once('/') {
            Some((below, file)) => work(&folder.below(below, make)?, file).map(Some),
            None => work(&folder, name).map(Some),
        }
    }

    /// Somebody has removed the folder while this process runs.
    fn open_again(&self) -> io::Result<Arc<PrivateFolder>> {
        match PrivateFolder::open(&self.0.path) {
            Ok((folder, _)) => Ok(Arc::new(folder)),
            Err(Unusable::Foreign(why)) => Err(io::Error::other(why)),
            Err(Unusable::Io(error)) => Err(error),
        }
    }

    /// Notes whether something could be written; passes that on.
    pub(super) fn note(&self, what: &str, done: io::Result<Option<()>>) -> io::Result<()> {
        match done {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                let was = {
                    let mut trouble = self.0.trouble.lock();
                    trouble.why.clear();
                    std::mem::take(&mut trouble.state)
                };
                if was != FolderState::Fine {
                    tracing::info!("the data folder can be written again");
                }
                Ok(())
            }
            Err(error) => {
                self.0.failures.fetch_add(1, Ordering::Relaxed);
                {
                    let mut trouble = self.0.trouble.lock();
                    trouble.state = FolderState::Unwritable;
                    trouble.why = error.to_string();
                }
                self.warn(&format!("{what} ({error}); it stays in memory and is tried again"));
                Err(error)
            }
        }
    }

    /// Logs a warning about the folder, once in a while.
    fn warn(&self, what: &str) {
        let is_due = {
            let mut trouble = self.0.trouble.lock();
            let is_due = trouble.said.is_none_or(|said| said.elapsed() > SAID);
            if is_due {
                trouble.said = Some(Instant::now());
            }
            is_due
        };
        if is_due {
            tracing::warn!("data folder {}: {what}", self.0.path.display());
        }
    }
}

/// A data folder with which the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[error("data folder {}: {why}", path.display())]
pub struct ForeignFolder {
    path: PathBuf,
    why: String,
}

fn fresh_key() -> Vec<u8> {
    let mut fresh = vec![0; KEY];
    if getrandom::fill(&mut fresh).is_err() {
        // Two random uuids are 30 random bytes from the same source.
        let (a, b) = (crate::model::SessionId::mint(), crate::model::SessionId::mint());
        fresh = [a.as_bytes().as_slice(), b.as_bytes().as_slice()].concat();
    }
    fresh
}

#[cfg(test)]
mod tests;
