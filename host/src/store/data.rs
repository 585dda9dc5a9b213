//! The data folder: what must survive a restart and is nobody else's business.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of our own, mode 0700; or none, where it cannot be written.
#[derive(Debug, Clone)]
pub struct DataFolder {
    path: Option<PathBuf>,
}

impl DataFolder {
    /// Makes the folder. Where that fails, everything stays in memory and the
    /// reason is logged: sessions then end with the process.
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

    #[must_use]
    pub fn memory() -> Self {
        Self { path: None }
    }

    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.join(name))
    }

    /// None if there is no such file or no folder.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)?).ok()
    }

    /// Replaces a file as a whole, mode 0600. Without a folder nothing happens.
    ///
    /// # Errors
    /// What the file system says.
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

    /// Adds a line to a file, mode 0600.
    ///
    /// # Errors
    /// What the file system says.
    pub fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let Some(path) = self.path(name) else { return Ok(()) };
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    pub fn remove(&self, name: &str) {
        if let Some(path) = self.path(name) {
            // It may never have been there.
            let _ = fs::remove_file(path);
        }
    }

    /// Removes the files of a folder within that have not been written for so
    /// long, and says how many.
    ///
    /// # Errors
    /// What the file system says.
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

    /// A secret of 32 random bytes, the same at every start.
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
                    "cannot keep {name} in the data folder ({error}): it ends with this process"
                );
                fresh
            }
        }
    }

    /// Writes a file unless it is there; gives what is in it now. Processes that
    /// share the folder agree.
    fn keep_first(&self, name: &str, contents: &[u8]) -> io::Result<Vec<u8>> {
        let Some(path) = self.path(name) else { return Ok(contents.to_vec()) };
        let draft = path.with_extension(format!("new-{}", crate::model::SessionId::mint()));
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(contents)?;
        file.sync_data()?;
        // A hard link never replaces: the first one stands.
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
