//! Files of this process alone, below a folder that is held open.
//!
//! Whoever can write next to our files could plant a link in place of one, so that we read a key
//! that they know or overwrite a file of ours elsewhere. So no link below the folder is followed,
//! what is opened must be a regular file of ours with one name, and a file appears under its name
//! when it is complete. The folder itself may be a link: its path is the operator's word.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::model::SessionId;

/// Bytes of the file by which is tried whether there is room: what a file takes of a disk at least.
const BLOCK: usize = 4096;
/// What the name of a file that is not complete ends with.
const DRAFT: &str = ".draft";
/// File that processes which share the folder lock while they read and replace others.
const LOCK: &str = "lock";
/// Longest wait for that lock. It is held for one replacement.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Pause between two attempts to get it.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why the folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its owner or mode: the gateway must not start with it.
    #[error("{0}")]
    Foreign(String),
    /// It cannot be made or opened.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A regular file that was found in a folder.
#[derive(Debug)]
pub struct Found {
    pub name: String,
    pub bytes: u64,
    pub written: SystemTime,
}

/// A folder that is open. The names of its files have no slash.
#[derive(Debug)]
pub struct PrivateFolder(OwnedFd);

impl PrivateFolder {
    /// Opens the folder, and makes it with mode 0700 unless it exists. True if its mode was
    /// changed since others could write to it.
    ///
    /// # Errors
    /// If it is somebody else's, others can write to it, or it cannot be made or opened.
    pub fn open(path: &Path) -> Result<(Self, bool), Unusable> {
        if let Ok(stat) = fs::stat(path) {
            check_owner(&stat)?;
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::judged(fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?)
    }

    /// Opens a folder of another process, to be read alone.
    ///
    /// # Errors
    /// If there is none, or it is somebody else's.
    pub fn existing(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::open(path, flags, Mode::empty())?;
        match check_owner(&fs::fstat(&opened)?) {
            Ok(()) => Ok(Self(opened)),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Opens a subfolder, which is no link; makes it if `make` says so.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn below(&self, name: &str, make: bool) -> io::Result<Self> {
        if make {
            match fs::mkdirat(&self.0, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(&self.0, name, flags, Mode::empty()).map_err(told)?;
        match Self::judged(opened) {
            Ok((folder, _mended)) => Ok(folder),
            Err(Unusable::Foreign(why)) => Err(io::Error::other(why)),
            Err(Unusable::Io(error)) => Err(error),
        }
    }

    fn judged(opened: OwnedFd) -> Result<(Self, bool), Unusable> {
        let stat = fs::fstat(&opened).map_err(io::Error::from)?;
        check_owner(&stat)?;
        let mode = mode(&stat);
        let others = Mode::WGRP | Mode::WOTH;
        if !mode.intersects(others) {
            return Ok((Self(opened), false));
        }
        if mode.contains(Mode::SVTX) {
            return Err(Unusable::Foreign(format!(
                "it is a folder for everybody (mode {:o}), like /tmp; name a folder of this user \
                 alone, such as a new one inside of it",
                mode.bits() & 0o7777
            )));
        }
        match fs::fchmod(&opened, mode.difference(others)) {
            Ok(()) => Ok((Self(opened), true)),
            Err(error) => Err(Unusable::Foreign(format!(
                "other users can write to it (mode {:o}), and that cannot be changed ({error}); name \
                 a folder of this user alone, such as a new one inside of it",
                mode.bits() & 0o7777
            ))),
        }
    }

    /// The contents of a file; `None` if there is no such file.
    ///
    /// # Errors
    /// If it is a link, not ours, longer than `most` bytes, or cannot be read.
    pub fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_file(name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut contents = Vec::new();
        file.take(most + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > most {
            return Err(io::Error::other(format!("is larger than {most} bytes")));
        }
        Ok(Some(contents))
    }

    /// Replaces a whole file, or what stands in its place, at one moment; mode 0600.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn replace(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        // Nobody can guess the name, and a file that exists is not opened.
        let draft = format!(".{name}.{}{DRAFT}", SessionId::mint());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let opened = fs::openat(&self.0, &draft, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(opened);
        let replaced = file
            .write_all(contents)
            .and_then(|()| file.sync_data())
            .and_then(|()| Ok(fs::renameat(&self.0, &draft, &self.0, name)?));
        match &replaced {
            Err(_) => _ = fs::unlinkat(&self.0, &draft, AtFlags::empty()),
            // So that the name outlives a power failure too, where the file system does that.
            Ok(()) => _ = fs::fsync(&self.0),
        }
        replaced
    }

    /// Appends to a file, and makes it with mode 0600 unless it exists.
    ///
    /// # Errors
    /// If it is a link or not ours, or cannot be written.
    pub fn append(&self, name: &str, text: &str) -> io::Result<()> {
        let mut file = self.open_file(name, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        // A full disk takes half a line; the next one must not become a part of it.
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        let line = if last == [b'\n'] { text.to_owned() } else { format!("\n{text}") };
        file.write_all(line.as_bytes())
    }

    /// Makes sure that a file outlives a power failure, if it exists.
    ///
    /// # Errors
    /// If it cannot be opened or written to disk.
    pub fn sync(&self, name: &str) -> io::Result<()> {
        match self.open_file(name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            file => file?.sync_data(),
        }
    }

    /// Whether there is something of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file, or a link in its place.
    ///
    /// # Errors
    /// If it exists and cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Its regular files, without those that are not complete.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn files(&self) -> io::Result<Vec<Found>> {
        let mut files = self.all_files()?;
        files.retain(|file| !file.name.ends_with(DRAFT));
        Ok(files)
    }

    /// Removes what a process that was killed has left incomplete.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn remove_drafts(&self, older_than: Duration) -> io::Result<()> {
        for file in self.all_files()? {
            let is_old = file.written.elapsed().is_ok_and(|age| age > older_than);
            if is_old && file.name.ends_with(DRAFT) {
                self.remove(&file.name)?;
            }
        }
        Ok(())
    }

    fn all_files(&self) -> io::Result<Vec<Found>> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // Another process may have removed it meanwhile.
            let Ok(stat) = fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                files.push(Found { name: name.to_owned(), bytes, written: written(&stat) });
            }
        }
        Ok(files)
    }

    /// Whether files with contents can be made in it: a full disk takes empty ones.
    ///
    /// # Errors
    /// The reason why not.
    pub fn try_writing(&self) -> io::Result<()> {
        let probe = format!(".probe.{}{DRAFT}", SessionId::mint());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let opened = fs::openat(&self.0, &probe, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        let written = File::from(opened).write_all(&[0; BLOCK]);
        let removed = self.remove(&probe);
        written.and(removed)
    }

    /// Whether another folder stands at the path.
    #[must_use]
    pub fn is_not_at(&self, path: &Path) -> bool {
        let (Ok(own), Ok(there)) = (fs::fstat(&self.0), fs::stat(path)) else { return false };
        (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino)
    }

    /// Whether the folder itself was removed since it was opened.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        fs::fstat(&self.0).map_or(true, |stat| stat.st_nlink == 0)
    }

    /// Waits until no other process or thread holds the folder's lock. It is free again when the
    /// result is dropped.
    ///
    /// # Errors
    /// If it is not free within 2 s, or cannot be used.
    pub fn lock(&self) -> io::Result<impl Sized + use<>> {
        let open = || self.open_file(LOCK, OFlags::RDWR | OFlags::CREATE);
        // What is no lock file has no business there.
        let file = open().or_else(|_| self.remove(LOCK).and_then(|()| open()))?;
        let began = Instant::now();
        loop {
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::AGAIN) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens a regular file that is ours alone. Its mode becomes 0600.
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // A pipe in the file's place must not make us wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR).map_err(told)?;
        let stat = fs::fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("is not a regular file"));
        }
        if !is_ours(&stat) {
            return Err(io::Error::other("belongs to another user"));
        }
        // What is written here must not be written elsewhere too. Reading does no harm: only we, or
        // who may write our files anyway, can give a file of ours another name.
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        if writes && stat.st_nlink > 1 {
            return Err(io::Error::other("has a second name (a hard link)"));
        }
        let others = Mode::RWXG | Mode::RWXO;
        if mode(&stat).intersects(others)
            && let Err(error) = fs::fchmod(&opened, Mode::RUSR | Mode::WUSR)
            && mode(&stat).intersects(Mode::WGRP | Mode::WOTH)
        {
            let why = format!("can be written by others, and that cannot be changed ({error})");
            return Err(io::Error::other(why));
        }
        Ok(File::from(opened))
    }
}

fn check_owner(stat: &Stat) -> Result<(), Unusable> {
    if is_ours(stat) {
        return Ok(());
    }
    Err(Unusable::Foreign(format!(
        "it belongs to user {}, and this process runs as user {}; give the folder to this user \
         (chown), or name another",
        stat.st_uid,
        rustix::process::geteuid().as_raw()
    )))
}

/// What root owns is as trustworthy as the system.
fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw()
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode)
}

fn written(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    // Files are written many a second, and the oldest go first.
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, nanos)
}

/// The error of an open that follows no link, in words.
fn told(error: Errno) -> io::Error {
    match error {
        // What the systems say of a link, the last one where a folder is wanted.
        Errno::LOOP | Errno::MLINK => io::Error::other("is a link, which is not followed"),
        Errno::NOTDIR => io::Error::other("is not a folder, or a link to one"),
        error => error.into(),
    }
}
