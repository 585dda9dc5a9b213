//! What a server writes to stderr: to the log, and the last of it kept, since it
//! is the best there is when somebody asks why the server has ended.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;

use crate::model::{ServerName, UnixMillis};

use super::journal::Journal;
use super::tail::{Line, Tail};

/// How much of a line is kept.
const KEPT_LINE: usize = 1024;
/// Of these, what an error message shows.
const SHOWN_LINES: usize = 3;
const SHOWN: usize = 400;
/// A line is cut here.
const LINE: usize = 4 * 1024;
/// Lines of one child that reach the log, in `WINDOW`.
const LOGGED: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// The end of what was said, for an error message; empty if nothing was.
#[must_use]
pub fn shown(lines: &[String]) -> String {
    let said = || lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let skipped = said().count().saturating_sub(SHOWN_LINES);
    let last: Vec<&str> = said().skip(skipped).collect();
    if last.is_empty() {
        return String::new();
    }
    format!("; stderr: {}", beginning(&last.join(" | "), SHOWN))
}

fn beginning(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// An undrained pipe stops its writer at 64 KiB.
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
            tracing::info!(target: "mooring::server", server = %server, pid, "{text}");
        } else if window.1 == LOGGED + 1 {
            tracing::info!(target: "mooring::server", server = %server, pid, "writes much to stderr: some lines are left out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_very_last_lines_are_shown() {
        assert_eq!(shown(&[]), "");
        let mut lines: Vec<String> = (0..9).map(|number| format!("line {number}")).collect();
        lines.push(" ".to_owned());
        assert_eq!(shown(&lines), "; stderr: line 6 | line 7 | line 8");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(beginning(&"ä".repeat(KEPT_LINE), KEPT_LINE).len(), KEPT_LINE);
        assert_eq!(
            beginning(&format!("x{}", "ä".repeat(KEPT_LINE)), KEPT_LINE).len(),
            KEPT_LINE - 1
        );
    }
}
