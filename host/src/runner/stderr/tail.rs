//! The last lines that one child wrote to stderr.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::UnixMillis;
use crate::sync::Locked;

/// Lines kept for one child: enough for a stack trace.
const LINES: usize = 50;

/// A line without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: UnixMillis,
    pub text: Arc<str>,
}

/// Cloning gives a handle to the same lines.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Locked<VecDeque<Line>>>);

impl Tail {
    pub fn push(&self, line: Line) {
        let mut lines = self.0.lock();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The texts of the lines, oldest first.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.lines().iter().map(|line| line.text.to_string()).collect()
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Lines shown in an error message.
const SHOWN_LINES: usize = 3;

/// Bytes of stderr shown in an error message.
const SHOWN: usize = 400;

/// The last lines, as the end of an error message; empty if there are none.
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

/// The first `most` bytes at most, cut between characters.
pub fn beginning(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_in_order() {
        let tail = Tail::default();
        for number in 0..(LINES as u64 + 3) {
            tail.push(Line { at: UnixMillis(number), text: number.to_string().into() });
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.first().map(|line| line.at), Some(UnixMillis(3)));
        assert_eq!(lines.last().map(|line| &*line.text), Some("52"));
    }

    #[test]
    fn the_very_last_lines_are_shown() {
        assert_eq!(shown(&[]), "");
        let mut lines: Vec<String> = (0..9).map(|number| format!("line {number}")).collect();
        lines.push(" ".to_owned());
        assert_eq!(shown(&lines), "; stderr: line 6 | line 7 | line 8");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(beginning(&"ä".repeat(100), 100).len(), 100);
        assert_eq!(beginning(&format!("x{}", "ä".repeat(100)), 100).len(), 100 - 1);
    }
}
