//! Landlock: what the kernel lets a server and everything that it starts reach.
//!
//! A *wall* is for every server: it forbids nothing among files, and being behind one forbids to
//! read the memory, the environment and the open files of any process outside, such as the
//! gateway, its reapers and other servers of the same user. A *sandbox* also bounds files and TCP.
//!
//! The kernel's versions of the interface: 1 (Linux 5.13) files, 2 (5.19) moving files between
//! folders, 3 (6.2) truncation, 4 (6.7) TCP, 5 (6.10) devices, 6 (6.12) signals and abstract
//! sockets.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::runner::process::program::Sandbox;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// All rights of version 1.
const FIRST: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// The rights that a rule about a file, not a folder, may have.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
/// To accept and to open TCP connections.
const TCP: u64 = 0b11;
/// Abstract Unix sockets and signals stay within the sandbox.
const SCOPES: u64 = 0b11;

const VERSION_FLAG: u32 = 1;
const PATH_BENEATH: i32 = 1;

/// The first version in which rules can leave moving files between folders alone.
pub const WALL: u32 = 2;
/// The first version that keeps files from being emptied.
const WITH_TRUNCATE: u32 = 3;
/// The first version that knows TCP.
const WITH_TCP: u32 = 4;
const WITH_DEVICES: u32 = 5;
const WITH_SCOPES: u32 = 6;

/// Readable in every sandbox: programs, libraries and the settings of the system, which hold
/// certificates, names of hosts and time zones; and numbers of processors and the like, which
/// runtimes of languages read at their start.
const SYSTEM: [&str; 13] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr",
    "/nix/store",
    "/etc",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];
/// Readable and writable in every sandbox.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// The kernel's `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttr {
    files: u64,
    network: u64,
    scopes: u64,
}

/// The kernel's `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version of the running kernel; `None` if it has no Landlock, or does not use it.
#[allow(unsafe_code, reason = "Landlock has no safe wrapper here")]
pub fn version() -> Option<u32> {
    let nothing = std::ptr::null::<RulesetAttr>();
    // SAFETY: with this flag the kernel reads no memory.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION_FLAG) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Why this kernel cannot enforce a sandbox, for the operator.
pub fn missing(sandbox: &Sandbox) -> Option<String> {
    match version() {
        None => Some(
            "this system has no Landlock, which \"sandbox\" needs (Linux 6.2, and \"landlock\" in \
             /sys/kernel/security/lsm)"
                .to_owned(),
        ),
        Some(version) if version < WITH_TRUNCATE => Some(format!(
            "\"sandbox\" needs Landlock version {WITH_TRUNCATE} (Linux 6.2), this system has version \
             {version}, with which it could empty any file of its user"
        )),
        Some(version) if version < WITH_TCP && !sandbox.network => Some(format!(
            "\"network\": false needs Landlock version {WITH_TCP} (Linux 6.7), this system has \
             version {version}; set it to true"
        )),
        Some(_) => None,
    }
}

/// Whether the sandbox may write to one of these, or to a folder around it. No rule of Landlock can
/// take that back.
pub fn may_write(sandbox: &Sandbox, hidden: &[PathBuf]) -> bool {
    let hidden: Vec<_> = hidden.iter().map(|path| real(path)).collect();
    let mut written = sandbox.write.iter().map(|path| real(path));
    written.any(|path| hidden.iter().any(|one| one.starts_with(&path) || path.starts_with(one)))
}

/// The path without links, if it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Rules for one server, made before its process exists.
pub struct Rules(OwnedFd);

impl Rules {
    /// The wall; `None` where the kernel has none, or only with side effects.
    pub fn wall() -> io::Result<Option<Self>> {
        if version().is_none_or(|version| version < WALL) {
            return Ok(None);
        }
        // One right has to be in the rules, and it is granted everywhere.
        let rules = Self::new(&RulesetAttr { files: REFER, network: 0, scopes: 0 })?;
        rules.allow(Path::new("/"), REFER)?;
        Ok(Some(rules))
    }

    /// The rules of a sandbox. `needed` are the files that the server's start needs; `hidden`
    /// is left out wherever it lies.
    pub fn of(sandbox: &Sandbox, needed: &[PathBuf], hidden: &[PathBuf]) -> io::Result<Self> {
        let version = version().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSYS))?;
        if version < WITH_TRUNCATE || (version < WITH_TCP && !sandbox.network) {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let newest = if version >= WITH_DEVICES { IOCTL_DEV } else { 0 };
        let files = FIRST | REFER | TRUNCATE | newest;
        let rules = Self::new(&RulesetAttr {
            files,
            network: if sandbox.network { 0 } else { TCP },
            scopes: if version >= WITH_SCOPES { SCOPES } else { 0 },
        })?;
        // Links lead from one to the other, such as /bin to /usr/bin.
        let hidden: Vec<_> = hidden.iter().map(|path| real(path)).collect();
        for path in SYSTEM.iter().map(Path::new).filter(|path| path.exists()) {
            rules.allow_around(&real(path), READ, &hidden)?;
        }
        for path in DEVICES {
            rules.allow_if_there(Path::new(path), files)?;
        }
        for path in needed {
            rules.allow_around(&real(path), READ, &hidden)?;
        }
        for path in &sandbox.read {
            rules.allow_around(&path.canonicalize()?, READ, &hidden)?;
        }
        for path in &sandbox.write {
            rules.allow(path, files)?;
        }
        Ok(rules)
    }

    #[allow(unsafe_code, reason = "Landlock has no safe wrapper here")]
    fn new(attr: &RulesetAttr) -> io::Result<Self> {
        // A kernel of an older version refuses a longer structure unless the rest is zero.
        let size = size_of::<RulesetAttr>();
        // SAFETY: pointer and size describe one structure that outlives the call; the descriptor
        // that it returns is new and has no other owner.
        unsafe {
            let fd = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *attr, size, 0);
            let fd = i32::try_from(fd).unwrap_or(-1);
            if fd < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(Self(OwnedFd::from_raw_fd(fd)))
            }
        }
    }

    /// Allows what is below the path, except what is hidden.
    fn allow_around(&self, path: &Path, rights: u64, hidden: &[PathBuf]) -> io::Result<()> {
        if hidden.iter().any(|hidden| path.starts_with(hidden)) {
            return Ok(());
        }
        if !hidden.iter().any(|hidden| hidden.starts_with(path)) {
            return self.allow_if_there(path, rights);
        }
        for entry in std::fs::read_dir(path)? {
            self.allow_around(&entry?.path(), rights, hidden)?;
        }
        Ok(())
    }

    fn allow_if_there(&self, path: &Path, rights: u64) -> io::Result<()> {
        match self.allow(path, rights) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    #[allow(unsafe_code, reason = "Landlock has no safe wrapper here")]
    fn allow(&self, path: &Path, rights: u64) -> io::Result<()> {
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
        let rights = if kind.is_dir() { rights } else { rights & OF_FILES };
        let rule = PathBeneath { allowed: rights, parent: opened.as_fd().as_raw_fd() };
        // SAFETY: the rule outlives the call, and both descriptors are open.
        let done = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// From now on the rules hold for this process and what it starts. It must not be able to gain
    /// privileges any more.
    #[allow(unsafe_code, reason = "Landlock has no safe wrapper here")]
    pub fn enforce(&self) -> io::Result<()> {
        // SAFETY: the call reads no memory.
        let done =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sandbox_may_write_is_compared_without_links() {
        let folder = std::env::temp_dir().join(format!("mooring-write-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("app/data")).unwrap();
        std::os::unix::fs::symlink("app", folder.join("link")).unwrap();
        let at = |name: &str| folder.join(name);
        for (write, hidden, expect) in [
            ("app", "app/data", true),
            ("app", "link/data", true),
            ("link", "app/data", true),
            ("app/data", "app/data", true),
            ("app/data/x", "app/data", true),
            ("app/work", "app/data", false),
            ("app/dat", "app/data", false),
        ] {
            let sandbox = Sandbox { write: vec![at(write)], ..Sandbox::default() };
            assert_eq!(may_write(&sandbox, &[at(hidden)]), expect, "{write} {hidden}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
