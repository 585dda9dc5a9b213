//! A log's file: begun anew when it is full, and opened again when something else has moved it
//! away, as `logrotate` does.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The mode of the files: lines name clients.
const MODE: u32 = 0o640;

/// A file that lines are added to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    most: u64,
    keep: u32,
    file: Option<File>,
    bytes: u64,
}

impl LogFile {
    /// # Errors
    /// If the file can be neither opened nor made.
    pub fn open(path: &Path, most: u64, keep: u32) -> io::Result<Self> {
        let mut this = Self { path: path.to_owned(), most, keep, file: None, bytes: 0 };
        this.reopen()?;
        Ok(this)
    }

    /// Adds whole lines.
    ///
    /// # Errors
    /// If not all of them could be written. The next call tries to open the file again.
    pub fn add(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() || self.was_moved() {
            self.reopen()?;
        }
        if self.bytes > 0 && self.bytes.saturating_add(lines.len() as u64) > self.most {
            self.rotate()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written = file.write_all(lines);
        match written {
            Ok(()) => self.bytes += lines.len() as u64,
            Err(_) => self.file = None,
        }
        written
    }

    fn reopen(&mut self) -> io::Result<()> {
        // A pipe would block where nobody reads it, and cannot be begun anew.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let options =
            File::options().append(true).create(true).mode(MODE).custom_flags(flags).clone();
        let file = options.open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let why = "it is no regular file; use the path of one, or stdout";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.bytes = metadata.len();
        self.file = Some(file);
        Ok(())
    }

    /// Whether the path is no longer that of the open file.
    fn was_moved(&self) -> bool {
        let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        let there = std::fs::metadata(&self.path).ok();
        open.as_ref().map(id) != there.as_ref().map(id)
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        if self.keep == 0 {
            std::fs::remove_file(&self.path)?;
            return self.reopen();
        }
        for number in (1..self.keep).rev() {
            // One that is not there yet leaves a gap, and no more.
            let _ = std::fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let id = crate::model::SessionId::mint();
        let folder = std::env::temp_dir().join(format!("mooring-{name}-{id}"));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_full_file_is_kept_under_a_number() {
        let folder = folder("rotation");
        let path = folder.join("log");
        let mut log = LogFile::open(&path, 10, 2).unwrap();
        for line in ["aaaaaaa\n", "bbbbbbb\n", "ccccccc\n", "ddddddd\n", "e\n"] {
            log.add(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("log"), "ddddddd\ne\n");
        assert_eq!((read("log.1"), read("log.2")), ("ccccccc\n".into(), "bbbbbbb\n".into()));
        assert!(!folder.join("log.3").exists());
        // What was there before the start counts.
        drop(log);
        let mut log = LogFile::open(&path, 10, 0).unwrap();
        log.add(b"f\n").unwrap();
        assert_eq!(read("log"), "f\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = folder("moved");
        let path = folder.join("log");
        let mut log = LogFile::open(&path, 1000, 1).unwrap();
        log.add(b"a\n").unwrap();
        std::fs::rename(&path, folder.join("old")).unwrap();
        log.add(b"b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b\n");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(log.add(b"c\n").is_err());
        std::fs::remove_dir(&path).unwrap();
        log.add(b"d\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "d\n");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
