//! What the children of a server wrote to stderr: the last lines of all of them
//! together, and each new one for whoever listens.
//!
//! A child's own lines end with it (`tail`); these stay, since the child that
//! cannot be asked any more is the one that people look for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::model::ServerName;

use super::tail::Line;

/// Lines kept of one server.
const LINES: usize = 500;
/// Bytes of them: a few long ones must not add up.
const BYTES: usize = 256 * 1024;
/// Lines that a listener may be behind before it loses the oldest.
const BEHIND: usize = 256;

/// A line, and which child wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub pid: u32,
    pub line: Line,
}

/// Cloning gives a handle to the same journal.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<HashMap<ServerName, Book>>>);

#[derive(Debug)]
struct Book {
    lines: VecDeque<Said>,
    bytes: usize,
    told: broadcast::Sender<Said>,
    /// Instances that went by themselves. Each is opened again by the next
    /// message of its session.
    lost: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self { lines: VecDeque::new(), bytes: 0, told: broadcast::Sender::new(BEHIND), lost: 0 }
    }
}

impl Journal {
    pub fn push(&self, server: &ServerName, said: Said) {
        self.with(server, |book| {
            book.bytes += said.line.text.len();
            book.lines.push_back(said.clone());
            while book.lines.len() > LINES || book.bytes > BYTES {
                let Some(oldest) = book.lines.pop_front() else { break };
                book.bytes -= oldest.line.text.len();
            }
            // Most of the time nobody listens.
            let _ = book.told.send(said);
        });
    }

    /// The last lines, oldest first, and those that come after them.
    #[must_use]
    pub fn listen(
        &self,
        server: &ServerName,
        last: usize,
    ) -> (Vec<Said>, broadcast::Receiver<Said>) {
        self.with(server, |book| {
            let skipped = book.lines.len().saturating_sub(last);
            (book.lines.iter().skip(skipped).cloned().collect(), book.told.subscribe())
        })
    }

    /// An instance went by itself.
    pub fn count_lost(&self, server: &ServerName) {
        self.with(server, |book| book.lost += 1);
    }

    #[must_use]
    pub fn lost(&self, server: &ServerName) -> u64 {
        self.with(server, |book| book.lost)
    }

    /// Only servers of the settings file come here: there are no more books than
    /// those have.
    fn with<T>(&self, server: &ServerName, with: impl FnOnce(&mut Book) -> T) -> T {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match books.get_mut(server) {
            Some(book) => with(book),
            None => with(books.entry(server.clone()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMillis;

    fn said(text: &str) -> Said {
        Said { pid: 7, line: Line { at: UnixMillis(1), text: text.into() } }
    }

    #[tokio::test]
    async fn a_listener_gets_the_last_lines_and_the_next_without_a_gap() {
        let (journal, server) = (Journal::default(), ServerName::parse("s").unwrap());
        for text in ["one", "two", "three"] {
            journal.push(&server, said(text));
        }
        let (last, mut next) = journal.listen(&server, 2);
        assert_eq!(last, [said("two"), said("three")]);
        journal.push(&server, said("four"));
        assert_eq!(next.recv().await.unwrap(), said("four"));
    }

    #[test]
    fn long_lines_push_out_more_than_one() {
        let (journal, server) = (Journal::default(), ServerName::parse("s").unwrap());
        let long = "x".repeat(BYTES / 2);
        for text in ["one", "two", &long, &long] {
            journal.push(&server, said(text));
        }
        assert_eq!(journal.listen(&server, 10).0, [said(&long), said(&long)]);
    }
}
