//! The mounts that servers see, which only their reapers change.
//!
//! That takes the right to mount: root has it, and others have it within a user namespace, where
//! the system allows these. The supervisor makes one such namespace at its start, by way of a
//! process that knows no secret: the maps of users can only be written for a process that others of
//! its user may attach to. Reapers then join it, and can be attached to at no moment.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{self, DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::system::{Fork, fork, mount};

/// How a process of this system gets mounts of its own.
pub enum OwnMounts {
    /// It has the right to them.
    Allowed,
    /// Within this user namespace.
    Within(OwnedFd),
}

impl OwnMounts {
    /// Tries what this system allows. The process must have one thread and no other children.
    pub fn find() -> io::Result<Self> {
        match tried(|| Self::Allowed.enter()) {
            Ok(()) => Ok(Self::Allowed),
            // In a user namespace root would lose its rights over the files of others.
            Err(error) if process::geteuid().is_root() => Err(error),
            Err(_) => user_namespace().map(Self::Within),
        }
    }

    /// Whether a process of another user can still be started within them.
    pub fn keeps_users(&self) -> bool {
        matches!(self, Self::Allowed)
    }

    /// From now on this process and what it starts have mounts of their own.
    pub fn enter(&self) -> io::Result<()> {
        if let Self::Within(users) = self {
            let kind = Some(LinkNameSpaceType::User);
            rustix::thread::move_into_link_name_space(users.as_fd(), kind)?;
        }
        unshare(UnshareFlags::NEWNS)?;
        // What is mounted later elsewhere still appears here, and nothing from here elsewhere.
        mount(c"none", Path::new("/"), libc::MS_SLAVE | libc::MS_REC, c"")
    }
}

/// Tries something in a process of its own, which leaves no trace in this one.
pub fn tried(what: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match fork()? {
        Fork::Child => {
            let error = what().err().map(|error| error.raw_os_error().unwrap_or(libc::EINVAL));
            std::process::exit(error.map_or(0, |errno| errno.clamp(1, 255)))
        }
        Fork::Parent(child) => match status_of(child)? {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::other("the process that tried it was killed")),
        },
    }
}

/// Waits for the child's end; `None` if a signal ended it.
fn status_of(child: Pid) -> io::Result<Option<i32>> {
    loop {
        match process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status.exit_status()),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A user namespace in which this user and group keep their numbers, and nobody else is.
fn user_namespace() -> io::Result<OwnedFd> {
    let (user, group) = (process::geteuid().as_raw(), process::getegid().as_raw());
    let (mut ours, mut its) = UnixStream::pair()?;
    match fork()? {
        Fork::Child => {
            drop(ours);
            let made = unshare(UnshareFlags::NEWUSER).and_then(|()| keep_ids(user, group));
            let errno = made.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL));
            let _ = its.write_all(&errno.to_ne_bytes());
            // Until the other end has opened the namespace.
            let _ = its.read(&mut [0]);
            std::process::exit(0)
        }
        Fork::Parent(child) => {
            drop(its);
            let mut errno = [0; 4];
            let told = ours.read_exact(&mut errno);
            let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(path, flags, Mode::empty());
            let _ = process::kill_process(child, Signal::KILL);
            status_of(child)?;
            told?;
            match i32::from_ne_bytes(errno) {
                0 => Ok(opened?),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

fn keep_ids(user: u32, group: u32) -> io::Result<()> {
    // Otherwise these files belong to root.
    process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

#[allow(unsafe_code, reason = "unsafe for descriptors only, which stay as they are")]
fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: the table of descriptors is not unshared.
    Ok(unsafe { rustix::thread::unshare_unsafe(what) }?)
}
