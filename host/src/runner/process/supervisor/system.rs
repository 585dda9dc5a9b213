//! System calls of the supervisor and the reapers that have no safe wrapper here. Both are
//! single-threaded processes.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// The signal by which the kernel notifies a reaper of the supervisor's death. An operator's
/// `kill` would hardly send this one.
pub const PARENT_GONE: Signal = Signal::USR1;

/// The name of a reaper's process.
pub const REAPER: &CStr = c"mooring-reaper";

/// The highest signal number on Linux.
const SIGNALS: i32 = 64;
/// The kernel's `struct sigaction`, all zero: `SIG_DFL`, no flags, no mask.
const DEFAULT: &[u64; 4] = &[0; 4];
const NOTHING: *const u8 = std::ptr::null();
/// Size of a `signalfd_siginfo` in bytes; the signal's number comes first.
const RECORD: usize = 128;

/// The signals received since the last [`Signals::take`].
#[derive(Debug, Default, Clone, Copy)]
pub struct Signalled {
    pub child: bool,
    pub parent_gone: bool,
}

/// All signals of this process, read from a descriptor instead of interrupting it.
pub struct Signals(OwnedFd);

impl Signals {
    /// From now on only SIGKILL and SIGSTOP act on this process. All dispositions are reset to the
    /// default, since a child would inherit ignored signals.
    #[allow(unsafe_code, reason = "signal masks and signalfd have no safe wrapper here")]
    pub fn take_over() -> io::Result<Self> {
        // SAFETY: SIG_DFL installs no code, and DEFAULT is at least as long as what the kernel
        // reads on any architecture; the sets are initialised by sigfillset and sigemptyset before
        // they are read; the descriptor that signalfd returns is new and has no other owner.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()))?;
            for signal in 1..=SIGNALS {
                // Bypasses the C library, which reserves two signals and leaves them ignored in
                // processes that posix_spawn starts.
                libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), NOTHING, 8_usize);
            }
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            libc::sigaddset(&raw mut set, PARENT_GONE.as_raw());
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let fd = check(libc::signalfd(-1, &raw const set, flags))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    /// Takes the pending signals.
    pub fn take(&self) -> Signalled {
        let mut seen = Signalled::default();
        let mut records = [0; 4 * RECORD];
        while let Ok(length @ 1..) = rustix::io::read(&self.0, &mut records) {
            for record in records.get(..length).unwrap_or_default().chunks(RECORD) {
                let Some(number) = record.first_chunk() else { continue };
                let number = i32::from_ne_bytes(*number);
                seen.child |= number == libc::SIGCHLD;
                seen.parent_gone |= number == PARENT_GONE.as_raw();
            }
        }
        seen
    }
}

/// No signal is blocked any more.
#[allow(unsafe_code, reason = "signal masks have no safe wrapper here")]
pub fn unblock_signals() -> io::Result<()> {
    // SAFETY: sigemptyset initialises the set before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())).map(drop)
    }
}

/// Waits at most `timeout` until one of the descriptors is readable or closed; returns which are.
#[allow(unsafe_code, reason = "poll has no safe wrapper among rustix's features here")]
pub fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> [bool; N] {
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // Rounded up: a wait that ends too early would make the caller spin.
    let timeout = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    // SAFETY: pointer and length describe one array that outlives the call.
    unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout) };
    polled.map(|fd| fd.revents != 0)
}

/// The two sides of a fork; the parent's has the child's process id.
pub enum Fork {
    Child,
    Parent(Pid),
}

#[allow(unsafe_code, reason = "fork has no safe wrapper")]
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the supervisor has one thread, so no lock can be held by a thread that is missing in
    // the child.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or(io::ErrorKind::InvalidData.into()),
    }
}

/// Closes every inherited descriptor except the standard streams.
#[allow(unsafe_code, reason = "close_range has no safe wrapper here")]
pub fn close_all_but_standard_streams() {
    // SAFETY: called before anything in this process owns a descriptor.
    // Before Linux 5.9 the call does nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Replaces standard input by `/dev/null`: the socket that came in there has been duplicated, and
/// no later descriptor may get the number 0.
#[allow(unsafe_code, reason = "dup2 onto a standard stream has no safe wrapper here")]
pub fn empty_standard_input() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both are open descriptors, and no value owns the number 0.
    check(unsafe { libc::dup2(null.as_raw_fd(), libc::STDIN_FILENO) }).map(drop)
}

/// Mounts a file onto the path, or a file system of this name.
#[allow(unsafe_code, reason = "mount has no safe wrapper among rustix's features here")]
pub fn mount(what: &CStr, path: &Path, flags: libc::c_ulong, options: &CStr) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let (what, options) = (what.as_ptr(), options.as_ptr());
    // SAFETY: every pointer leads to a text that ends with null and outlives the call.
    let done = unsafe { libc::mount(what, path.as_ptr(), what, flags, options.cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
