//! What a server writes to stderr: to the log, and the last of it kept, since it
//! is the best there is when somebody asks why the server has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;

use crate::model::ServerName;

/// Lines that are kept, and how much of each.
const KEPT_LINES: usize = 50;
const KEPT_LINE: usize = 1024;
/// Of these, what an error message shows.
const SHOWN_LINES: usize = 3;
const SHOWN: usize = 400;
/// A line is cut here.
const LINE: usize = 4 * 1024;
/// Lines of one child that reach the log, in `WINDOW`.
const LOGGED: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// The last lines of one child. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<Box<str>>>>);

impl Tail {
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| line.to_string()).collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(beginning(line, KEPT_LINE).into());
    }
}

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
pub async fn drain(server: ServerName, pid: u32, stderr: ChildStderr, tail: Tail) {
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
        tail.push(text);
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
    fn the_last_lines_are_kept_and_the_very_last_shown() {
        let tail = Tail::default();
        assert_eq!(shown(&tail.lines()), "");
        for number in 0..KEPT_LINES + 3 {
            tail.push(&format!("line {number}"));
        }
        tail.push("");
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (KEPT_LINES, "line 4"));
        assert_eq!(shown(&lines), "; stderr: line 50 | line 51 | line 52");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let tail = Tail::default();
        tail.push(&"ä".repeat(KEPT_LINE));
        assert_eq!(tail.lines()[0].len(), KEPT_LINE);
        tail.push(&format!("x{}", "ä".repeat(KEPT_LINE)));
        assert_eq!(tail.lines()[1].len(), KEPT_LINE - 1);
        assert!(shown(&tail.lines()).len() <= SHOWN + 10);
    }
}
