//! Hides the gateway's own files from a server: the settings file, files with secrets and the data
//! folder.
//!
//! A server runs as the gateway's user unless it has one of its own, so permissions do not keep it
//! from these files. Its reaper therefore enters mounts of its own, in which something empty lies
//! over each of them.
//!
//! A server of that user can rename the folders above these files, so a path says nothing about
//! where they are when the next server starts. The gateway holds each of them, and the folder that
//! it is in, from its start, and the kernel knows where these are now.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use super::namespace::{OwnMounts, tried};
use super::system::mount;

/// How often a file is looked up again that is replaced meanwhile, as when settings are saved often.
const REPLACED: usize = 8;
/// What the kernel writes after the path of something that was removed.
const REMOVED: &[u8] = b" (deleted)";

/// A file or folder of the gateway, wherever it is moved.
#[derive(Debug)]
pub struct HeldFile {
    /// As the configuration names it.
    pub path: PathBuf,
    /// Its name in its folder.
    pub name: OsString,
    pub file: OwnedFd,
    pub folder: OwnedFd,
}

impl HeldFile {
    /// Takes hold of what is there.
    pub fn hold(path: &Path) -> io::Result<Self> {
        let real = path.canonicalize()?;
        let folder = open(real.parent().unwrap_or(Path::new("/")))?;
        let name = real.file_name().unwrap_or_default().to_owned();
        Ok(Self { path: path.to_owned(), name, file: open(&real)?, folder })
    }

    /// Everything that may have its content now: the file itself, unless it was removed, and what
    /// has taken its place, as when an editor saves a settings file.
    fn places(&self) -> io::Result<Vec<OwnedFd>> {
        let itself = found(&self.file)?;
        let folder = found(&self.folder)?;
        let follower = match &folder {
            Some((path, _)) => opened(&path.join(&self.name))?,
            None => None,
        };
        let nothing_is_left = folder.is_some() && fstat(&self.file)?.st_nlink == 0;
        let itself = itself.map(|(_, file)| file);
        let mut places: Vec<_> =
            [itself, follower, opened(&self.path)?].into_iter().flatten().collect();
        if places.is_empty() && !nothing_is_left {
            return Err(io::ErrorKind::NotFound.into());
        }
        // By path: another name of the same file is a place of its own.
        places.dedup_by_key(|place| std::fs::read_link(link_of(place)).ok());
        Ok(places)
    }
}

/// What hides files on this system.
pub struct Hiding {
    mounts: OwnMounts,
    held: Vec<HeldFile>,
}

impl Hiding {
    /// An error if this system does not let files be hidden. Tries it in processes of its own.
    pub fn find(held: Vec<HeldFile>) -> io::Result<Self> {
        let hiding = Self { mounts: OwnMounts::find()?, held };
        tried(|| {
            hiding.mounts.enter()?;
            // Both kinds, also where nothing is held.
            cover(&open(Path::new("/dev/null"))?)?;
            hiding.cover(hiding.held.iter())?;
            cover(&open(Path::new("/"))?)
        })?;
        Ok(hiding)
    }

    /// Whether files can be hidden from a process that will have another user.
    pub fn keeps_users(&self) -> bool {
        self.mounts.keeps_users()
    }

    /// Covers these paths for this process and what it starts. After an error it must start
    /// nothing.
    pub fn hide(&self, paths: &[PathBuf]) -> io::Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        self.mounts.enter()?;
        let held = self.held.iter().filter(|held| paths.contains(&held.path));
        let done = self.cover(held);
        let others = paths.iter().filter(|path| self.held.iter().all(|held| held.path != **path));
        let covered = others.map(|path| opened(path)?.as_ref().map_or(Ok(()), cover));
        covered.fold(done, Result::and)
    }

    /// Covers all that it can, whatever fails.
    fn cover<'h>(&self, held: impl Iterator<Item = &'h HeldFile>) -> io::Result<()> {
        // Opened before anything is covered: a covered folder no longer shows what is in it.
        let places: Vec<_> = held.map(|held| (held, held.places())).collect();
        let covered = places.into_iter().map(|(held, places)| {
            let mut covered = places.and_then(cover_all);
            for _ in 0..REPLACED {
                if !covered.as_ref().is_err_and(was_replaced) {
                    break;
                }
                covered = held.places().and_then(cover_all);
            }
            covered
        });
        covered.fold(Ok(()), Result::and)
    }
}

/// Opens what is held among this process's mounts, where it is now, with its path; `None` if it was
/// removed.
fn found(held: &OwnedFd) -> io::Result<Option<(PathBuf, OwnedFd)>> {
    let place = std::fs::read_link(link_of(held))?;
    let is_removed = place.as_os_str().as_bytes().ends_with(REMOVED);
    let now = match open(&place) {
        Err(_) if is_removed => return Ok(None),
        now => now?,
    };
    let (of_held, of_now) = (fstat(held)?, fstat(&now)?);
    if (of_held.st_dev, of_held.st_ino) == (of_now.st_dev, of_now.st_ino) {
        return Ok(Some((place, now)));
    }
    // Moved meanwhile, or to where no path of this process leads.
    if is_removed { Ok(None) } else { Err(io::Error::from_raw_os_error(libc::ESTALE)) }
}

fn cover_all(places: Vec<OwnedFd>) -> io::Result<()> {
    places.iter().map(cover).fold(Ok(()), Result::and)
}

/// Whether something else took the place of a file after it was looked up: nothing can be laid over
/// one that is gone.
fn was_replaced(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE))
        || error.kind() == io::ErrorKind::NotFound
}

/// `None` if nothing is there.
fn opened(path: &Path) -> io::Result<Option<OwnedFd>> {
    match open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Lays something empty over it. Nothing can be renamed between its look-up and this.
fn cover(file: &OwnedFd) -> io::Result<()> {
    let path = link_of(file);
    if FileType::from_raw_mode(fstat(file)?.st_mode) != FileType::Directory {
        return mount(c"/dev/null", &path, libc::MS_BIND, c"");
    }
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(c"tmpfs", &path, flags, c"mode=000,size=4k,nr_inodes=2")
}

/// The path by which the kernel shows a descriptor of this process.
fn link_of(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}
