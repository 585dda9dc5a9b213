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
        if self.was_moved() {
            self.reopen()?;
        }
        if self.bytes > 0 && self.bytes.saturating_add(lines.len() as u64) > self.most {
            self.rotate()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut written = 0;
        if let Err(error) = write(file, lines, &mut written) {
            let end = self.bytes + written as u64;
            // The disk was full, for example. What is there of these lines goes, or the next one would begin
            // behind a part of one; they count as lost, all of them. Unless another process writes there, too.
            if written > 0 && file.metadata().is_ok_and(|metadata| metadata.len() == end) {
                let _ = file.set_len(self.bytes);
            }
            self.file = None;
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        Ok(())
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

    /// Whether there is no open file, or the path is no longer its own.
    fn was_moved(&mut self) -> bool {
        let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        let there = std::fs::metadata(&self.path).ok();
        // Somebody else may have emptied it (`copytruncate` of logrotate).
        self.bytes = open.as_ref().map_or(0, Metadata::len);
        open.is_none() || open.as_ref().map(id) != there.as_ref().map(id)
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

/// Writes it all, and says how much was written of it if that fails.
fn write(file: &mut File, lines: &[u8], written: &mut usize) -> io::Result<()> {
    while let Some(rest) = lines.get(*written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => *written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    fn a_file_that_was_emptied_is_not_full() {
        let folder = folder("emptied");
        let path = folder.join("log");
        let mut log = LogFile::open(&path, 10, 2).unwrap();
        log.add(b"aaaaaaa\n").unwrap();
        File::create(&path).unwrap();
        log.add(b"bbbbbbb\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "bbbbbbb\n");
        assert!(!folder.join("log.1").exists());
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
