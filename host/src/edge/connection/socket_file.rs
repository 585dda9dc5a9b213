//! A Unix socket as the listening address: its place in the file system.
//!
//! Who may open the file may connect. One that a process has left behind, which nobody answers at, is
//! replaced; no other file ever is.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file, which goes with this value if it is still the one that was made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number: a later process may have put its own in the place.
    identity: FileIdentity,
}

/// Device, number, and when it was made or changed.
type FileIdentity = (u64, u64, (i64, i64));

impl SocketFile {
    /// Binds and listens.
    ///
    /// # Errors
    /// If another process listens there, another kind of file is there, or it cannot be made.
    pub fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, Self)> {
        make_way(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before it listens, nobody can connect.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        socket.listen(backlog)?;
        socket.set_nonblocking(true)?;
        let file = Self { path: path.to_owned(), identity: identity(path)? };
        Ok((std::os::fd::OwnedFd::from(socket).into(), file))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Tells a file from a later one, which may get the number of the one before.
fn identity(path: &Path) -> io::Result<FileIdentity> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), (found.ctime(), found.ctime_nsec())))
}

/// Removes a socket that nobody listens at.
fn make_way(path: &Path) -> io::Result<()> {
    let in_use = |what: &str| {
        let path = path.display();
        io::Error::new(io::ErrorKind::AddrInUse, format!("{path} is {what}"))
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(in_use("no socket, so it is kept")),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)
            }
            Err(error) => Err(error),
            Ok(_) => Err(in_use("in use by another process")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_no_other_file() {
        let folder = tempfile_folder();
        let path = folder.join("socket");
        let (listener, file) = SocketFile::bind(&path, 0o600, 8).unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let error = SocketFile::bind(&path, 0o600, 8).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        drop(listener);
        // As a process that was killed leaves it.
        std::mem::forget(file);
        let (listener, file) = SocketFile::bind(&path, 0o660, 8).unwrap();
        drop((listener, file));
        assert!(!path.exists());
        std::fs::write(&path, "somebody's").unwrap();
        assert!(SocketFile::bind(&path, 0o600, 8).unwrap_err().to_string().contains("is kept"));
        assert!(path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_file_of_a_later_process_stays() {
        let folder = tempfile_folder();
        let path = folder.join("socket");
        let (listener, file) = SocketFile::bind(&path, 0o600, 8).unwrap();
        drop(listener);
        let later = SocketFile::bind(&path, 0o600, 8).unwrap();
        drop(file);
        assert!(path.exists());
        drop(later);
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn tempfile_folder() -> PathBuf {
        let name = format!("mooring-socket-{}", crate::model::SessionId::mint());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    }
}
