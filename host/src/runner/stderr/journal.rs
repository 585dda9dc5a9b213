//! The last stderr lines of each server, from all its children together, and each new line for
//! its listeners.
//!
//! The lines in `tail` are dropped with their child; these stay, since operators mostly look for
//! the lines of a child that has ended.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::model::{Principal, ServerName, SessionId, UnixMillis};
use crate::sync::Locked;

use super::tail::Line;

/// Lines kept for one server.
const LINES: usize = 500;
/// Bytes kept for one server, which bounds it where lines are long.
const BYTES: usize = 256 * 1024;
/// Lines that a listener may be behind before it loses the oldest.
const BEHIND: usize = 256;

/// Line numbers reserved for each millisecond; no server writes more lines than that.
const A_MILLISECOND: u64 = 1000;

/// Owners of one server's processes whose losses are remembered.
const OWNERS: usize = 1000;

/// Whose process it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProcessOwner {
    Session(SessionId),
    /// The sessions of one principal, or of all.
    Sharers(Option<Principal>),
}

/// A line and the child that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// One more than the number of the server's previous line, and higher than every number
    /// given by an earlier gateway process.
    pub number: u64,
    pub pid: u32,
    pub line: Line,
}

/// Cloning gives a handle to the same journal.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Locked<HashMap<ServerName, Book>>>);

#[derive(Debug)]
struct Book {
    /// The numbers of the first line ever and of the next one.
    first: u64,
    next: u64,
    lines: VecDeque<Said>,
    bytes: usize,
    told: broadcast::Sender<Said>,
    /// Processes that ended by themselves, by whose they were. The next message opens one again.
    lost: HashMap<ProcessOwner, u64>,
}

impl Default for Book {
    fn default() -> Self {
        let first = UnixMillis::now().0.saturating_mul(A_MILLISECOND);
        let (lines, told) = (VecDeque::new(), broadcast::Sender::new(BEHIND));
        Self { first, next: first, lines, bytes: 0, told, lost: HashMap::new() }
    }
}

impl Journal {
    pub fn push(&self, server: &ServerName, pid: u32, line: Line) {
        self.with(server, |book| {
            let said = Said { number: book.next, pid, line };
            book.next += 1;
            book.bytes += said.line.text.len();
            book.lines.push_back(said.clone());
            while book.lines.len() > LINES || book.bytes > BYTES {
                let Some(oldest) = book.lines.pop_front() else { break };
                book.bytes -= oldest.line.text.len();
            }
            // Fails without listeners, which is the usual case.
            let _ = book.told.send(said);
        });
    }

    /// The last lines, oldest first, and a receiver of the lines after them.
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

    /// The lines after line `number`: how many of them are no longer kept, those that are, and a
    /// receiver of the lines to come.
    #[must_use]
    pub fn listen_after(
        &self,
        server: &ServerName,
        number: u64,
    ) -> (u64, Vec<Said>, broadcast::Receiver<Said>) {
        self.with(server, |book| {
            // Lines of an earlier gateway process are neither kept nor counted.
            let next = number.saturating_add(1).max(book.first);
            let kept = book.lines.front().map_or(book.next, |said| said.number);
            let lines = book.lines.iter().filter(|said| said.number >= next).cloned();
            (kept.saturating_sub(next), lines.collect(), book.told.subscribe())
        })
    }

    /// Counts a process that ended by itself.
    pub fn count_lost(&self, server: &ServerName, owner: ProcessOwner) {
        self.with(server, |book| {
            if book.lost.len() >= OWNERS
                && !book.lost.contains_key(&owner)
                && let Some(one) = book.lost.keys().next().cloned()
            {
                book.lost.remove(&one);
            }
            *book.lost.entry(owner).or_default() += 1;
        });
    }

    /// How often a process of this owner has ended by itself.
    #[must_use]
    pub fn lost(&self, server: &ServerName, owner: &ProcessOwner) -> u64 {
        self.with(server, |book| book.lost.get(owner).copied().unwrap_or(0))
    }

    /// Runs `with` on the server's book. Only servers of the settings file come here, which bounds
    /// the number of books.
    fn with<T>(&self, server: &ServerName, with: impl FnOnce(&mut Book) -> T) -> T {
        let mut books = self.0.lock();
        match books.get_mut(server) {
            Some(book) => with(book),
            None => with(books.entry(server.clone()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { at: UnixMillis(1), text: text.into() }
    }

    fn texts(said: &[Said]) -> Vec<&str> {
        said.iter().map(|said| &*said.line.text).collect()
    }

    #[tokio::test]
    async fn a_listener_gets_the_last_lines_and_the_next_without_a_gap() {
        let (journal, server) = (Journal::default(), ServerName::parse("s").unwrap());
        for text in ["one", "two", "three"] {
            journal.push(&server, 7, line(text));
        }
        let (last, mut next) = journal.listen(&server, 2);
        assert_eq!(texts(&last), ["two", "three"]);
        journal.push(&server, 8, line("four"));
        let said = next.recv().await.unwrap();
        assert_eq!(said, Said { number: last[1].number + 1, pid: 8, line: line("four") });
    }

    #[test]
    fn losses_are_counted_for_the_process_and_bounded() {
        let (journal, server) = (Journal::default(), ServerName::parse("s").unwrap());
        let own = ProcessOwner::Session(SessionId::mint());
        for _ in 0..2 {
            journal.count_lost(&server, own.clone());
        }
        assert_eq!(journal.lost(&server, &own), 2);
        assert_eq!(journal.lost(&server, &ProcessOwner::Sharers(None)), 0, "another process");
        for _ in 0..3 * OWNERS {
            journal.count_lost(&server, ProcessOwner::Session(SessionId::mint()));
        }
        assert_eq!(journal.with(&server, |book| book.lost.len()), OWNERS);
    }

    #[test]
    fn long_lines_push_out_more_than_one() {
        let (journal, server) = (Journal::default(), ServerName::parse("s").unwrap());
        let long = "x".repeat(BYTES / 2);
        for text in ["one", "two", &long, &long] {
            journal.push(&server, 7, line(text));
        }
        assert_eq!(texts(&journal.listen(&server, 10).0), [&long, &long]);
    }

    #[test]
    fn who_comes_back_gets_what_came_meanwhile_and_the_number_of_what_is_gone() {
        let (journal, server) = (Journal::default(), ServerName::parse("s").unwrap());
        for text in ["one", "two", "three"] {
            journal.push(&server, 7, line(text));
        }
        let after = |number| {
            let (lost, lines, _) = journal.listen_after(&server, number);
            (lost, texts(&lines).join(" "))
        };
        let first = journal.listen(&server, 3).0[0].number;
        assert_eq!(after(first), (0, "two three".to_owned()));
        assert_eq!(after(first + 2), (0, String::new()));
        assert_eq!(after(first - 60_000), (0, "one two three".to_owned()), "of another process");
        for _ in 0..LINES {
            journal.push(&server, 7, line("x"));
        }
        assert_eq!(after(first).0, 2);
        assert_eq!(after(first + 2).0, 0);
    }
}
