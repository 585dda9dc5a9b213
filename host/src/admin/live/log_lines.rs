//! The last lines of this process's own log.

use std::collections::VecDeque;

use crate::model::UnixMillis;
use crate::model::visible::visible;
use crate::sync::Locked;

/// Lines that are kept.
const MOST: usize = 200;
/// Bytes of one line.
const MAX_LINE: usize = 1024;

/// The log of this process. The log itself is one for a process, and so is this.
pub static LOG: LogLines = LogLines::new();

/// The last lines, oldest first.
#[derive(Debug)]
pub struct LogLines(Locked<Lines>);

#[derive(Debug)]
struct Lines {
    /// Lines so far.
    count: u64,
    last: VecDeque<LogLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub number: u64,
    pub at: UnixMillis,
    /// `error`, `warn` or `info`.
    pub level: &'static str,
    pub text: String,
}

impl LogLines {
    const fn new() -> Self {
        Self(Locked::new(Lines { count: 0, last: VecDeque::new() }))
    }

    /// Adds a line; the oldest gives way.
    pub fn enter(&self, level: &'static str, text: &str) {
        let (at, text) = (UnixMillis::now(), visible(text, MAX_LINE).to_string());
        let mut lines = self.0.lock();
        lines.count += 1;
        let number = lines.count;
        if lines.last.len() == MOST {
            lines.last.pop_front();
        }
        lines.last.push_back(LogLine { number, at, level, text });
    }

    /// The lines that are kept.
    #[must_use]
    pub fn last(&self) -> Vec<LogLine> {
        self.0.lock().last.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut() {
        let lines = LogLines::new();
        for number in 0..MOST + 3 {
            lines.enter("info", &format!("{number}\n{}", "x".repeat(2 * MAX_LINE)));
        }
        let last = lines.last();
        assert_eq!((last.len(), last[0].number), (MOST, 4));
        assert!(last[0].text.starts_with("3\\nxx") && last[0].text.len() < MAX_LINE + 10);
    }
}
