//! The last lines that one child wrote to stderr.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::UnixMillis;

/// Enough to see how a server came to its end.
const LINES: usize = 50;

/// A line without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: UnixMillis,
    pub text: Arc<str>,
}

/// Cloning gives a handle to the same lines.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<Line>>>);

impl Tail {
    pub fn push(&self, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// What they say, oldest first.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.lines().iter().map(|line| line.text.to_string()).collect()
    }

    /// Oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
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
}
