//! Waits for a condition, never for time to pass.

use std::time::{Duration, Instant};

/// Longest wait for something that should happen soon. Generous, since a busy machine is not a bug
/// of the gateway.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(15);

/// Calls `look` until it returns something; panics with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Like [`eventually`], with its own deadline.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
