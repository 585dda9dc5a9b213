//! Hides the gateway's own files from a server: the settings file, files with secrets and the data
//! folder.
//!
//! A server runs as the gateway's user unless it has one of its own, so permissions do not keep it
//! from these files. Its reaper therefore enters a mount namespace in which something empty lies
//! over each of them. That takes the right to mount: root has it, and others have it within a user
//! namespace, where the system allows these.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;

/// Covers the paths for this process and what it starts. False if this system does not let it, or
/// only for some.
pub fn hide(paths: &[PathBuf]) -> bool {
    let there: Vec<_> = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
    there.is_empty() || (enter_own_mounts().is_ok() && there.iter().all(|path| cover(path).is_ok()))
}

/// Whether this system lets a process like this one hide files. Tries it in this process.
pub fn is_possible() -> bool {
    enter_own_mounts().is_ok()
}

fn enter_own_mounts() -> io::Result<()> {
    let own = rustix::process::geteuid();
    match unshare(UnshareFlags::NEWNS) {
        Ok(()) => {}
        // In a user namespace root would lose its rights over the files of others.
        Err(error) if own.is_root() => return Err(error),
        Err(_) => {
            let group = rustix::process::getegid().as_raw();
            unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
            keep_ids(own.as_raw(), group)?;
        }
    }
    // What is mounted later elsewhere still appears here, and nothing from here elsewhere.
    mount(c"none", Path::new("/"), libc::MS_SLAVE | libc::MS_REC, c"")
}

/// Within the new user namespace user and group keep their numbers.
fn keep_ids(user: u32, group: u32) -> io::Result<()> {
    // These files belong to root while the process cannot be dumped. Processes outside of the new
    // namespace may not attach to this one meanwhile.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let written = std::fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")))
        .and_then(|()| std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")));
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    written
}

fn cover(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        return mount(c"/dev/null", path, libc::MS_BIND, c"");
    }
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(c"tmpfs", path, flags, c"mode=000,size=4k,nr_inodes=2")
}

/// Mounts a file onto the path, or a file system of this name.
#[allow(unsafe_code, reason = "mount has no safe wrapper among rustix's features here")]
fn mount(what: &CStr, path: &Path, flags: libc::c_ulong, options: &CStr) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let (what, options) = (what.as_ptr(), options.as_ptr());
    // SAFETY: every pointer leads to a text that ends with null and outlives the call.
    let done = unsafe { libc::mount(what, path.as_ptr(), what, flags, options.cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code, reason = "unsafe for descriptors only, which stay as they are")]
fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: the table of descriptors is not unshared.
    Ok(unsafe { rustix::thread::unshare_unsafe(what) }?)
}
