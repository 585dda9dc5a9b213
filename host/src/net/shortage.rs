//! Whether an error says that this process or machine is short of something.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// How long something that failed for a shortage is tried again, before that counts. Silent
/// connections of clients are closed meanwhile.
pub const SHORTAGE: Duration = Duration::from_secs(2);
/// Pause between two attempts.
pub const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Whether the process has no descriptor left, or the machine none, no memory or no buffers. That
/// says nothing of the other side, and passes.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|error| short.iter().any(|one| one.raw_os_error() == error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_side_lacks_is_a_shortage() {
        for (errno, expect) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::CONNREFUSED, false),
            (Errno::PIPE, false),
        ] {
            assert_eq!(is_shortage(&errno.into()), expect, "{errno}");
        }
        assert!(!is_shortage(&io::Error::other("too many open files")));
    }
}
