//! The sessions that have ended, while their ids would still be valid.
//!
//! An ended session that was used is kept in a file of the data folder, a line each (a tombstone),
//! so that its id stays refused after a restart. One that was never used has done nothing at any
//! server: its id is refused while this process lives, and after a restart it opens an empty
//! session for the one who had ended it. Both kinds are bounded; the oldest are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::model::{SessionId, UnixMillis};
use crate::store::folder::data::DataFolder;
use crate::sync::{Locked, ReadMostly};

/// File of tombstones, a line each: id and end of validity in Unix ms.
const FILE: &str = "ended-sessions";
/// Bytes of a line.
const LINE: u64 = 36 + 1 + 13 + 1;
/// Tombstones: 10 MB of disk, and about 20 MB of memory.
const MAX_KEPT: usize = 200_000;
/// Ended sessions that were never used and are remembered in memory.
const MAX_UNUSED: usize = 65_536;
/// Lines of expired tombstones, or of others than ours, from which the file is rewritten.
const SLACK: usize = 1000;

pub struct EndedSessions {
    folder: DataFolder,
    most: usize,
    /// Each with the time when its id expires anyway.
    until: ReadMostly<HashMap<SessionId, UnixMillis>>,
    kept: Locked<VecDeque<SessionId>>,
    unused: Locked<VecDeque<SessionId>>,
    /// Lines in the file, as far as this process knows.
    lines: AtomicUsize,
    /// Tombstones that could not be appended.
    unwritten: AtomicUsize,
    /// Whether a power failure could take lines of the file.
    is_unsynced: AtomicBool,
    dropped: AtomicU64,
}

impl EndedSessions {
    /// Reads the file, and rewrites it without ids that have expired. At most `room` bytes of it
    /// are kept.
    #[must_use]
    pub fn open(folder: DataFolder, room: u64) -> Self {
        let most = usize::try_from(room / LINE).unwrap_or(MAX_KEPT).min(MAX_KEPT);
        let this = Self {
            folder,
            most,
            until: ReadMostly::default(),
            kept: Locked::default(),
            unused: Locked::default(),
            lines: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
            is_unsynced: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        };
        this.learn();
        // The file is there from now on: it can be appended to, or else the log says why not.
        this.rewrite();
        this
    }

    #[must_use]
    pub fn contains(&self, session: SessionId) -> bool {
        self.until.read().contains_key(&session)
    }

    /// All that are known, each with the time when its id expires.
    #[must_use]
    pub fn all(&self) -> Vec<(SessionId, UnixMillis)> {
        self.until.read().iter().map(|(session, until)| (*session, *until)).collect()
    }

    /// Number of ended sessions in the file.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.lock().len()
    }

    /// Number of ended sessions that were forgotten before their ids had expired.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Notes that a session that was used has ended. The caller writes it to disk next, with
    /// [`Self::write`].
    pub fn end(&self, session: SessionId, until: UnixMillis) {
        self.enter(&self.kept, self.most, session, until);
    }

    /// Notes that a session has ended without having been used.
    pub fn end_unused(&self, session: SessionId, until: UnixMillis) {
        self.enter(&self.unused, MAX_UNUSED, session, until);
    }

    fn enter(
        &self,
        queue: &Locked<VecDeque<SessionId>>,
        most: usize,
        session: SessionId,
        until: UnixMillis,
    ) {
        let now = UnixMillis::now();
        let mut queue = queue.lock();
        let mut sessions = self.until.write();
        if sessions.insert(session, until).is_none() {
            queue.push_back(session);
        }
        while queue.len() > most
            && let Some(oldest) = queue.pop_front()
        {
            if sessions.remove(&oldest).is_some_and(|until| until > now) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes a tombstone to the file. Blocks. If the file cannot be written, the next sweep tries
    /// again.
    pub fn write(&self, session: SessionId, until: UnixMillis) {
        let line = format!("{session} {}", until.0);
        match self.folder.append(FILE, &line) {
            Ok(()) => {
                self.is_unsynced.store(true, Ordering::Relaxed);
                let lines = self.lines.fetch_add(1, Ordering::Relaxed) + 1;
                if lines > 2 * self.most {
                    self.rewrite();
                }
            }
            Err(_logged) => self.note_unwritten(),
        }
    }

    /// Notes that a tombstone is missing in the file.
    pub fn note_unwritten(&self) {
        self.unwritten.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets ids that have expired, and rewrites the file if that makes it much shorter, or if a
    /// tombstone is missing there. From then on what was appended outlives a power failure too: to
    /// wait for that at each end of a session would let a slow disk decide how fast they end.
    /// Blocks.
    pub fn sweep(&self) {
        let now = UnixMillis::now();
        for queue in [&self.kept, &self.unused] {
            let mut queue = queue.lock();
            // One by one: workers look sessions up for every request. Those behind one that lives
            // wait for it, which does no harm.
            while let Some(oldest) = queue.front() {
                let until = self.until.read().get(oldest).copied();
                if until.is_some_and(|until| until > now) {
                    break;
                }
                self.until.write().remove(oldest);
                queue.pop_front();
            }
        }
        let is_long = self.lines.load(Ordering::Relaxed) > 2 * self.kept() + SLACK;
        if is_long || self.unwritten.load(Ordering::Relaxed) > 0 {
            self.rewrite();
        }
        if self.is_unsynced.swap(false, Ordering::Relaxed) {
            self.folder.sync(FILE);
        }
    }

    /// Replaces the file by one without duplicates and expired ids, with the tombstones of other
    /// processes that share the folder; this process learns those.
    fn rewrite(&self) {
        if !self.folder.exists() {
            return;
        }
        let rewritten = self.folder.alone(|| -> io::Result<()> {
            let unwritten = self.unwritten.swap(0, Ordering::Relaxed);
            self.learn();
            let lines = self.text();
            let written = self.folder.write(FILE, lines.as_bytes());
            match &written {
                Ok(()) => self.lines.store(lines.lines().count(), Ordering::Relaxed),
                Err(_) => _ = self.unwritten.fetch_add(unwritten, Ordering::Relaxed),
            }
            written
        });
        if let Err(error) = rewritten {
            tracing::debug!("{FILE} was not rewritten: {error}");
        }
    }

    /// Enters the tombstones of the file that have not expired.
    fn learn(&self) {
        let now = UnixMillis::now();
        let text = self.folder.read(FILE).unwrap_or_default();
        for (session, until) in tombstones(&text).filter(|(_, until)| *until > now) {
            self.enter(&self.kept, self.most, session, until);
        }
    }

    fn text(&self) -> String {
        let kept: Vec<SessionId> = self.kept.lock().iter().copied().collect();
        let lines = kept.into_iter().filter_map(|session| {
            let until = self.until.read().get(&session).copied()?;
            Some(format!("{session} {}\n", until.0))
        });
        lines.collect()
    }
}

fn tombstones(text: &[u8]) -> impl Iterator<Item = (SessionId, UnixMillis)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let (session, until) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some((SessionId::parse(session)?, UnixMillis(until.parse().ok()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> UnixMillis {
        UnixMillis::now().plus(std::time::Duration::from_secs(60))
    }

    #[test]
    fn of_too_many_ended_sessions_the_oldest_are_forgotten() {
        let ended = EndedSessions::open(DataFolder::memory(), 3 * LINE);
        let sessions: Vec<SessionId> = (0..5).map(|_| SessionId::mint()).collect();
        for session in &sessions {
            ended.end(*session, later());
            ended.end(*session, later());
        }
        let known: Vec<bool> = sessions.iter().map(|session| ended.contains(*session)).collect();
        assert_eq!(known, [false, false, true, true, true]);
        assert_eq!((ended.kept(), ended.dropped()), (3, 2));
    }

    #[test]
    fn sessions_that_were_never_used_do_not_push_out_those_that_were() {
        let ended = EndedSessions::open(DataFolder::memory(), LINE);
        let used = SessionId::mint();
        ended.end(used, later());
        let unused: Vec<SessionId> = (0..=MAX_UNUSED).map(|_| SessionId::mint()).collect();
        unused.iter().for_each(|session| ended.end_unused(*session, later()));
        assert!(ended.contains(used));
        assert!(!ended.contains(unused[0]) && ended.contains(unused[1]));
    }

    #[test]
    fn what_has_expired_is_forgotten_and_counts_as_nothing_lost() {
        let ended = EndedSessions::open(DataFolder::memory(), 1 << 20);
        let (old, young) = (SessionId::mint(), SessionId::mint());
        ended.end(old, UnixMillis(1));
        ended.end(young, later());
        ended.sweep();
        assert!(!ended.contains(old) && ended.contains(young));
        assert_eq!((ended.kept(), ended.dropped()), (1, 0));
    }

    /// As a full disk leaves it.
    #[test]
    fn a_line_behind_half_a_line_is_read() {
        let path = std::env::temp_dir().join(format!("mooring-ended-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let (half, whole) = (SessionId::mint(), SessionId::mint());
        std::fs::write(path.join(FILE), &half.to_string()[..20]).unwrap();
        let ended = EndedSessions::open(DataFolder::memory(), 1 << 20);
        folder.append(FILE, &format!("{whole} {}", later().0)).unwrap();
        tombstones(&folder.read(FILE).unwrap()).for_each(|(id, until)| ended.end(id, until));
        assert!(ended.contains(whole) && !ended.contains(half));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn the_file_shrinks_in_the_sweep_and_keeps_what_others_have_written() {
        let path = std::env::temp_dir().join(format!("mooring-ended-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let (ours, theirs) = (SessionId::mint(), SessionId::mint());
        let ended = EndedSessions::open(folder.clone(), 1 << 20);
        for _ in 0..SLACK + 3 {
            ended.end(ours, later());
            ended.write(ours, later());
        }
        folder.append(FILE, &format!("{theirs} {}", later().0)).unwrap();
        folder.append(FILE, &format!("{} 1", SessionId::mint())).unwrap();
        ended.sweep();
        let text = String::from_utf8(folder.read(FILE).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(ended.contains(theirs) && ended.contains(ours));
        std::fs::remove_dir_all(path).unwrap();
    }
}
