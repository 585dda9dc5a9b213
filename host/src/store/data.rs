//! The data folder: private files that must survive a restart.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file with the key of the local command line.
pub const LOCAL_KEY: &str = "local-key";

/// A folder for this process and its next starts, made with mode 0700; or none, if it
/// cannot be written.
#[derive(Debug, Clone)]
pub struct DataFolder {
    path: Option<PathBuf>,
}

impl DataFolder {
    /// Makes the folder unless it exists. If it cannot be written, the reason is logged
    /// and everything stays in memory: sessions then end with the process.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        match make(path) {
            Ok(()) => Self { path: Some(path.to_owned()) },
            Err(error) => {
                tracing::warn!(
                    "data folder {} cannot be written ({error}): keys stay in memory and sessions \
                     end with this process; set MOORING_DATA to a writable folder",
                    path.display()
                );
                Self { path: None }
            }
        }
    }

    /// The folder as it is, to be read alone: nothing is made or logged.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        Self { path: Some(path.to_owned()) }
    }

    /// No folder: nothing is read or written.
    #[must_use]
    pub fn memory() -> Self {
        Self { path: None }
    }

    /// Path of a file in the folder; `None` without a folder.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.join(name))
    }

    /// `None` if the file cannot be read or there is no folder.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)?).ok()
    }

    /// Replaces a whole file atomically, mode 0600. Without a folder nothing happens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let Some(path) = self.path(name) else { return Ok(()) };
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(contents)?;
        file.sync_data()?;
        fs::rename(draft, path)
    }

    /// Appends a line to a file, mode 0600. Without a folder nothing happens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let Some(path) = self.path(name) else { return Ok(()) };
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Removes a file if it exists; a failure is ignored.
    pub fn remove(&self, name: &str) {
        if let Some(path) = self.path(name) {
            // Most files that are removed were never written.
            let _ = fs::remove_file(path);
        }
    }

    /// Removes the files of a subfolder that have not been written for longer than
    /// `age`. Returns how many it removed.
    ///
    /// # Errors
    /// If the subfolder cannot be listed.
    pub fn sweep(&self, name: &str, age: Duration) -> io::Result<usize> {
        let Some(path) = self.path(name).filter(|path| path.exists()) else { return Ok(0) };
        let mut removed = 0;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // Another process may be sweeping too.
            let Ok(written) = entry.metadata().and_then(|file| file.modified()) else { continue };
            let is_old = written.elapsed().is_ok_and(|since| since > age);
            if is_old && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// A secret of 32 random bytes, made once and then the same at every start. If it
    /// cannot be written, it lasts until this process ends.
    #[must_use]
    pub fn secret(&self, name: &str) -> Vec<u8> {
        if let Some(secret) = self.read(name)
            && secret.len() >= 32
        {
            return secret;
        }
        let mut fresh = vec![0; 32];
        if getrandom::fill(&mut fresh).is_err() {
            // Two random uuids are 30 random bytes from the same source.
            let (a, b) = (crate::model::SessionId::mint(), crate::model::SessionId::mint());
            fresh = [a.as_bytes().as_slice(), b.as_bytes().as_slice()].concat();
        }
        match self.keep_first(name, &fresh) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(
                    "cannot write {name} to the data folder ({error}): the next start makes \
                     another"
                );
                fresh
            }
        }
    }

    /// Writes a file unless it exists. Returns what it contains now, so that processes
    /// that share the folder agree.
    fn keep_first(&self, name: &str, contents: &[u8]) -> io::Result<Vec<u8>> {
        let Some(path) = self.path(name) else { return Ok(contents.to_vec()) };
        let draft = path.with_extension(format!("new-{}", crate::model::SessionId::mint()));
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(contents)?;
        file.sync_data()?;
        // Unlike a rename, a hard link never replaces a file: the first one stays.
        let linked = fs::hard_link(&draft, &path);
        let _ = fs::remove_file(&draft);
        match linked {
            Ok(()) => Ok(contents.to_vec()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read(path),
            Err(error) => Err(error),
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let probe = path.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_same_at_the_next_start_and_private() {
        let folder =
            std::env::temp_dir().join(format!("mooring-data-{}", crate::model::SessionId::mint()));
        let first = DataFolder::open(&folder).secret("secret");
        assert_eq!(DataFolder::open(&folder).secret("secret"), first);
        assert_ne!(DataFolder::memory().secret("secret"), first);
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }
}
