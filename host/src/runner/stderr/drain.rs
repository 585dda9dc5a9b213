//! Reads a server's stderr into the log and keeps the last lines, which best explain why a server
//! has ended.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;

use crate::model::{ServerName, UnixMillis};

use super::journal::Journal;
use super::tail::{Line, Tail, beginning};

/// Bytes kept of one line.
const KEPT_LINE: usize = 1024;

/// The target of what servers have said, in the log.
pub const STDERR_TARGET: &str = "mooring::server";

/// Longest line in the log, in bytes; the rest becomes a further line.
const LINE: usize = 4 * 1024;
/// Most lines of one child that reach the log within `WINDOW`.
const LOGGED: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Reads stderr to its end. A pipe that is not read blocks its writer after 64 KiB.
pub async fn drain(
    server: ServerName,
    pid: u32,
    stderr: ChildStderr,
    tail: Tail,
    journal: Journal,
) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut window = (Instant::now(), 0_u32);
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let said = Line { at: UnixMillis::now(), text: beginning(text, KEPT_LINE).into() };
        tail.push(said.clone());
        journal.push(&server, pid, said);
        if window.0.elapsed() > WINDOW {
            window = (Instant::now(), 0);
        }
        window.1 += 1;
        if window.1 <= LOGGED {
            tracing::info!(target: STDERR_TARGET, server = %server, pid, stream = "stderr", "{text}");
        } else if window.1 == LOGGED + 1 {
            tracing::info!(server = %server, pid, "writes too much to stderr: some lines are left out of this log");
        }
    }
}
