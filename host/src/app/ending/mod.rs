//! The end of the process: what asks for it, the drain, and the next process that takes over.

pub mod drain;
#[cfg(target_os = "linux")]
pub mod hand_over;
#[cfg(not(target_os = "linux"))]
pub mod no_hand_over;
pub mod shutdown;
pub mod signals;

use std::time::Duration;

/// Longest wait for server processes at shutdown: 2 s from the end of their input to
/// SIGTERM, 2 s from there to SIGKILL, and 2 s to spare.
pub const CHILDREN: Duration = Duration::from_secs(6);
