//! Servers of this process that sessions have had open, a line each in a file of the data folder: the
//! next start has no node to ask, and tells their clients what is lost.
//!
//! Only sessions on several servers are noted. That of a single server has it open in any case.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::{ServerName, SessionId, UnixMillis};
use crate::sync::Locked;

use super::folder::data::DataFolder;

/// File of lines: id, end of its validity in Unix ms, name of the server.
const FILE: &str = "opened-servers";
/// Bytes of a line, about.
const LINE: u64 = 36 + 1 + 13 + 1 + 32;
/// Lines: 8 MB of disk, and about as much memory after a start.
const MAX_KEPT: usize = 100_000;

pub struct OpenedBefore {
    folder: DataFolder,
    most: usize,
    /// Of earlier starts, without what was opened again since.
    before: Locked<HashMap<SessionId, Vec<ServerName>>>,
    /// Lines in the file, as far as this process knows.
    lines: AtomicUsize,
}

impl OpenedBefore {
    /// Reads the file, and rewrites it without ids that have expired. At most `room` bytes of it
    /// are kept.
    #[must_use]
    pub fn open(folder: DataFolder, room: u64) -> Self {
        let most = usize::try_from(room / LINE).unwrap_or(MAX_KEPT).min(MAX_KEPT);
        let this = Self { folder, most, before: Locked::default(), lines: AtomicUsize::new(0) };
        if let Some(text) = this.folder.read(FILE) {
            let mut before: HashMap<SessionId, Vec<ServerName>> = HashMap::new();
            for (session, _, server) in this.latest(&text) {
                before.entry(session).or_default().push(server);
            }
            *this.before.lock() = before;
            this.rewrite();
        }
        this
    }

    /// Whether the session had the server open in an earlier start, and has not opened it since.
    #[must_use]
    pub fn contains(&self, session: SessionId, server: &ServerName) -> bool {
        let before = self.before.lock();
        before.get(&session).is_some_and(|servers| servers.contains(server))
    }

    /// Notes that the session has it open again.
    pub fn opened_again(&self, session: SessionId, server: &ServerName) {
        let mut before = self.before.lock();
        let Some(servers) = before.get_mut(&session) else { return };
        servers.retain(|known| known != server);
        if servers.is_empty() {
            before.remove(&session);
        }
    }

    /// Writes that a session whose id is valid until then has opened a server. Blocks.
    pub fn write(&self, session: SessionId, until: UnixMillis, server: &ServerName) {
        // The folder logs a failure, once in a while.
        if self.folder.append(FILE, &line(session, until, server)).is_ok() {
            let lines = self.lines.fetch_add(1, Ordering::Relaxed) + 1;
            if lines > 2 * self.most {
                self.rewrite();
            }
        }
    }

    /// Replaces the file by one with the latest lines, each once, also those of other processes that
    /// share the folder.
    fn rewrite(&self) {
        let rewritten = self.folder.alone(|| {
            let text = self.folder.read(FILE).unwrap_or_default();
            let latest = self.latest(&text);
            let lines =
                latest.iter().map(|(session, until, server)| line(*session, *until, server) + "\n");
            let text: String = lines.collect();
            if self.folder.write(FILE, text.as_bytes()).is_ok() {
                self.lines.store(latest.len(), Ordering::Relaxed);
            }
        });
        if let Err(error) = rewritten {
            tracing::debug!("{FILE} was not rewritten: {error}");
        }
    }

    /// The latest lines of ids that have not expired, in their order.
    fn latest(&self, text: &[u8]) -> Vec<(SessionId, UnixMillis, ServerName)> {
        let (now, mut seen) = (UnixMillis::now(), HashSet::new());
        let lines = text.split(|byte| *byte == b'\n').rev().filter_map(read_line);
        let valid = lines.filter(|(_, until, _)| *until > now);
        let each = valid.filter(|(session, _, server)| seen.insert((*session, server.clone())));
        let mut latest: Vec<_> = each.take(self.most).collect();
        latest.reverse();
        latest
    }
}

fn line(session: SessionId, until: UnixMillis, server: &ServerName) -> String {
    format!("{session} {} {server}", until.0)
}

fn read_line(line: &[u8]) -> Option<(SessionId, UnixMillis, ServerName)> {
    let mut parts = std::str::from_utf8(line).ok()?.splitn(3, ' ');
    let session = SessionId::parse(parts.next()?)?;
    let until = UnixMillis(parts.next()?.parse().ok()?);
    Some((session, until, ServerName::parse(parts.next()?).ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    #[test]
    fn the_next_start_knows_what_was_open_until_it_is_open_again() {
        let path = std::env::temp_dir().join(format!("mooring-opened-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let (session, other) = (SessionId::mint(), SessionId::mint());
        let later = UnixMillis::now().plus(Duration::from_secs(60));
        let first = OpenedBefore::open(folder.clone(), 1 << 20);
        first.write(session, later, &server("a name"));
        first.write(session, later, &server("b"));
        first.write(other, UnixMillis(1), &server("b"));
        assert!(!first.contains(session, &server("b")), "this start has it open");
        folder.append(FILE, "no line of ours").unwrap();
        let second = OpenedBefore::open(folder.clone(), 1 << 20);
        assert!(second.contains(session, &server("a name")));
        assert!(!second.contains(other, &server("b")), "its id has expired");
        second.opened_again(session, &server("a name"));
        assert!(!second.contains(session, &server("a name")));
        assert!(second.contains(session, &server("b")));
        let text = String::from_utf8(folder.read(FILE).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(OpenedBefore::open(folder, 1 << 20).contains(session, &server("a name")));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn of_too_many_lines_the_latest_are_kept() {
        let path = std::env::temp_dir().join(format!("mooring-opened-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let later = UnixMillis::now().plus(Duration::from_secs(60));
        let opened = OpenedBefore::open(folder.clone(), 3 * LINE);
        let sessions: Vec<SessionId> = (0..20).map(|_| SessionId::mint()).collect();
        for session in &sessions {
            opened.write(*session, later, &server("a"));
        }
        let text = String::from_utf8(folder.read(FILE).unwrap()).unwrap();
        assert!(text.lines().count() <= 6, "{text}");
        let next = OpenedBefore::open(folder, 3 * LINE);
        assert!(next.contains(sessions[19], &server("a")));
        assert!(!next.contains(sessions[0], &server("a")));
        std::fs::remove_dir_all(path).unwrap();
    }
}
