//! The system calls of supervisor and reapers that have no safe wrapper here.
//! Both are processes of one thread.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// The signal by which the kernel tells a reaper that the supervisor is gone.
/// Any other could come from an operator's `kill`.
pub const PARENT_GONE: Signal = Signal::USR1;

/// The highest signal's number on Linux.
const SIGNALS: i32 = 64;
/// The kernel's `struct sigaction`, all zero: `SIG_DFL`, no flags, no mask.
const DEFAULT: &[u64; 4] = &[0; 4];
const NOTHING: *const u8 = std::ptr::null();
/// Bytes of a `signalfd_siginfo`; its number comes first.
const RECORD: usize = 128;

/// What was signalled since the last look.
#[derive(Debug, Default, Clone, Copy)]
pub struct Signalled {
    pub child: bool,
    pub parent_gone: bool,
}

/// All signals of this process, which come here instead of interrupting it.
pub struct Signals(OwnedFd);

impl Signals {
    /// From here on nothing but SIGKILL and SIGSTOP has an effect. Dispositions
    /// are the default, since children keep what is ignored.
    #[allow(unsafe_code, reason = "signal masks and signalfd have no safe wrapper here")]
    pub fn take_over() -> io::Result<Self> {
        // SAFETY: SIG_DFL installs no code, and DEFAULT is as long as the kernel
        // reads on any of its architectures; the sets are initialised by
        // sigfillset and sigemptyset before they are read; the descriptor that
        // signalfd gives is new and owned by nobody else.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()))?;
            for signal in 1..=SIGNALS {
                // Past the C library, which keeps two for itself and leaves
                // them ignored in what posix_spawn starts.
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

    /// Takes what has come.
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

/// Waits until one of them can be read or has ended, at most for `timeout`;
/// says which.
#[allow(unsafe_code, reason = "poll has no safe wrapper among rustix's features here")]
pub fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> [bool; N] {
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // Rounded up: a wait that ends too early would spin.
    let timeout = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
    });
    // SAFETY: the pointer and the length are those of one array that outlives
    // the call.
    unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout) };
    polled.map(|fd| fd.revents != 0)
}

/// The child's side of a fork, or the parent's with the child's id.
pub enum Fork {
    Child,
    Parent(Pid),
}

#[allow(unsafe_code, reason = "fork has no safe wrapper")]
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the supervisor has one thread, so no lock can be held by a
    // thread that does not exist in the child.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or(io::ErrorKind::InvalidData.into()),
    }
}

/// Whatever was inherited beside the standard streams is nobody's here.
#[allow(unsafe_code, reason = "close_range has no safe wrapper here")]
pub fn close_all_but_standard_streams() {
    // SAFETY: called first in the process: nothing here owns a descriptor yet.
    // Before Linux 5.9 the call does nothing.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// What came in as standard input is held elsewhere by now. Its number stays
/// taken, so that nothing else gets it by chance.
#[allow(unsafe_code, reason = "dup2 onto a standard stream has no safe wrapper here")]
pub fn empty_standard_input() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both are open descriptors, and nobody owns the number 0.
    check(unsafe { libc::dup2(null.as_raw_fd(), libc::STDIN_FILENO) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
