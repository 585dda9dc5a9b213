//! The data folder: private files that must survive a restart.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::Locked;

use super::folder_state::{FolderState, Renewals, Trouble};
use super::private::{Found, PrivateFolder, Unusable};

/// Bytes of a file that is read at all: all tombstones, or the list of 10,000 nodes.
const MAX_READ: u64 = 64 << 20;
/// The file with the key of the local command line.
pub const LOCAL_KEY: &str = "local-key";
/// The file with the key that lets clients in where the settings file names none.
pub const GENERATED_KEY: &str = "generated-key";
/// The subfolder with files of sessions.
pub const SUBFOLDER: &str = "sessions";
/// Age from which an incomplete file is taken for one whose writer was killed.
const DRAFT_AGE: Duration = Duration::from_secs(3600);

/// A folder for this process and its next starts, or none. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct DataFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None`: everything stays in memory, for good.
    folder: Option<Locked<Option<Arc<PrivateFolder>>>>,
    trouble: Locked<Trouble>,
    failures: AtomicU64,
    /// Small files that this process goes by: written again where they are missing.
    remembered: Locked<BTreeMap<String, Vec<u8>>>,
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
                Some(Locked::new(Some(Arc::new(folder))))
            }
            Err(Unusable::Foreign(why)) => return Err(foreign(why)),
            Err(Unusable::Io(error)) => {
                tracing::warn!(
                    "data folder {shown} cannot be used ({error}): until it can be, keys stay in \
                     memory and sessions end with this process; set MOORING_DATA to a writable \
                     folder"
                );
                let absent = Some(Locked::default());
                return Ok(Self::of(path, absent, Trouble::absent(&error)));
            }
        };
        let this = Self::of(path, folder, Trouble::default());
        this.check();
        Ok(this)
    }

    /// The folder as it is, to be read alone: nothing is made or logged.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        let folder = PrivateFolder::existing(path).ok();
        let folder = folder.map(|folder| Locked::new(Some(Arc::new(folder))));
        Self::of(path, folder, Trouble::default())
    }

    /// No folder: nothing is read or written.
    #[must_use]
    pub fn memory() -> Self {
        Self::of(Path::new(""), None, Trouble::default())
    }

    fn of(
        path: &Path,
        folder: Option<Locked<Option<Arc<PrivateFolder>>>>,
        trouble: Trouble,
    ) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            folder,
            trouble: Locked::new(trouble),
            failures: AtomicU64::new(0),
            remembered: Locked::default(),
        }))
    }

    /// Whether there is a folder, or is to be one as soon as it can be used.
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

    /// How often it has come back.
    #[must_use]
    pub fn renewals(&self) -> Renewals {
        self.0.trouble.lock().renewals
    }

    /// How many times something could not be written.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Finds out whether the folder can be written, and removes incomplete files. Another folder
    /// that stands at the path by now, such as a disk that came late, is used from now on.
    ///
    /// Only this ends trouble: that one write succeeds does not mean that others do.
    pub fn check(&self) {
        let tried = self.follow_path().and_then(|()| self.try_writing());
        // A failure is in the state and in the log.
        if let Ok(Some(())) = self.noted("cannot write to it", tried)
            && self.0.trouble.lock().end()
        {
            tracing::info!("the data folder can be written again");
        }
    }

    fn try_writing(&self) -> io::Result<Option<()>> {
        if self.has(SUBFOLDER) {
            self.with(&format!("{SUBFOLDER}/"), true, |folder, _| folder.try_writing())?;
        }
        self.with("", true, |folder, _| {
            folder.try_writing()?;
            folder.remove_drafts(DRAFT_AGE)
        })
    }

    fn follow_path(&self) -> io::Result<()> {
        let held = self.0.folder.as_ref().and_then(|held| held.lock().clone());
        match held {
            Some(folder) if folder.is_not_at(&self.0.path) => self.open_again().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The contents of a file; `None` without one or without a folder. One that must not be
    /// used, such as a link, is as good as none; the log says so.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.try_read(name).unwrap_or_else(|error| {
            self.warn(&error, &format!("{name} is not used"));
            None
        })
    }

    pub(in crate::store) fn try_read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
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
        self.noted(&format!("cannot write {name}"), written).map(|_| ())
    }

    /// Appends a line to a file, mode 0600. Without a folder nothing happens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let text = format!("{line}\n");
        let written = self.with(name, true, |folder, file| folder.append(file, &text));
        self.noted(&format!("cannot write {name}"), written).map(|_| ())
    }

    /// Makes sure that what was appended to a file outlives a power failure.
    pub fn sync(&self, name: &str) {
        let synced = self.with(name, false, |folder, file| folder.sync(file));
        let _ = self.noted(&format!("cannot write {name}"), synced);
    }

    /// Writes a small file by which this process goes. It is written again where it is missing,
    /// once the folder can be written again.
    ///
    /// # Errors
    /// If it cannot be written now.
    pub fn write_remembered(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        self.remember(name, contents);
        self.write(name, contents)
    }

    pub(in crate::store) fn remember(&self, name: &str, contents: &[u8]) {
        self.0.remembered.lock().insert(name.to_owned(), contents.to_owned());
    }

    /// Writes the remembered files that are missing.
    pub fn restore(&self) {
        let remembered = self.0.remembered.lock().clone();
        for (name, contents) in remembered {
            let restored = self.alone(|| match self.try_read(&name)? {
                None => self.write(&name, &contents),
                Some(kept) if kept == contents => Ok(()),
                Some(_) => {
                    tracing::warn!(
                        "the data folder has another {name} than this process, which began without \
                         it: the next start goes by the folder's"
                    );
                    Ok(())
                }
            });
            // A failure to write is in the log.
            let _ = restored;
        }
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

    /// Does something in the folder of the file that `name`, with at most one subfolder, is the
    /// path of. `None` without a data folder.
    fn with<T>(
        &self,
        name: &str,
        make: bool,
        work: impl Fn(&PrivateFolder, &str) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(held) = &self.0.folder else { return Ok(None) };
        let folder = held.lock().clone();
        let folder = match folder {
            Some(folder) if !make || !folder.is_gone() => folder,
            None if !make => return Ok(None),
            _ => self.open_again()?,
        };
        match name.split_once('/') {
            Some((below, file)) => work(&folder.below(below, make)?, file).map(Some),
            None => work(&folder, name).map(Some),
        }
    }

    /// Opens what stands at the path now: the folder was removed while this process runs, was not
    /// there when it began, or another one stands there.
    fn open_again(&self) -> io::Result<Arc<PrivateFolder>> {
        let folder = match PrivateFolder::open(&self.0.path) {
            Ok((folder, _)) => Arc::new(folder),
            Err(Unusable::Foreign(why)) => return Err(io::Error::other(why)),
            Err(Unusable::Io(error)) => return Err(error),
        };
        if let Some(held) = &self.0.folder {
            *held.lock() = Some(Arc::clone(&folder));
        }
        self.0.trouble.lock().renewals.replaced += 1;
        Ok(folder)
    }

    fn is_absent(&self) -> bool {
        self.0.folder.as_ref().is_some_and(|held| held.lock().is_none())
    }

    /// Notes that something could not be written; passes the result on.
    fn noted<T>(&self, what: &str, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            let state =
                if self.is_absent() { FolderState::Absent } else { FolderState::Unwritable };
            self.0.trouble.lock().begin(state, error);
            self.complain(what, error);
        }
        done
    }

    /// Counts and logs that something stays in memory.
    pub(in crate::store) fn complain(&self, what: &str, error: &io::Error) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        self.warn(error, &format!("{what}; it stays in memory and is tried again"));
    }

    /// Logs a warning about the folder, once in a while.
    fn warn(&self, error: &io::Error, what: &str) {
        if self.0.trouble.lock().may_say(&error.to_string()) {
            tracing::warn!("data folder {}: {error}: {what}", self.0.path.display());
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

#[cfg(test)]
mod tests;
