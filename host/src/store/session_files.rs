//! Files of sessions on disk, such as large `initialize` parameters: one for each session that is
//! used, bounded in bytes and number. All of this blocks: it is for threads that serve no requests.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::SessionId;
use crate::sync::Locked;

use super::bindings::Bindings;
use super::folder::data::DataFolder;

/// Subfolder with large parameters.
pub const SESSIONS: &str = "sessions/";
/// Subfolder with what servers need to go on.
pub const STATES: &str = "states/";
/// What a file takes of a disk at least.
const BLOCK: u64 = 4096;
/// Most files, whatever room they have: a listing of the folder takes about a second.
const MAX_FILES: usize = 200_000;
/// Files of nodes' ids in the data folder; each host and port of a node has one.
const MAX_NODE_IDS: usize = 1000;
/// What the names of those begin with.
pub const NODE_ID: &str = "node-id-";

pub struct SessionFiles {
    folder: DataFolder,
    below: &'static str,
    bindings: Arc<Bindings>,
    /// Bytes of the whole data folder.
    limit: u64,
    index: Locked<Index>,
    bytes: AtomicU64,
    count: AtomicUsize,
    dropped: AtomicU64,
}

/// The files that there are.
#[derive(Default)]
struct Index {
    is_read: bool,
    /// Bytes of all other files of the data folder.
    others: u64,
    other_files: usize,
    bytes: u64,
    /// Each file's size on disk, by the microsecond that it was written in.
    files: BTreeMap<(u64, SessionId), u64>,
    written: HashMap<SessionId, u64>,
}

impl SessionFiles {
    #[must_use]
    pub fn new(
        folder: DataFolder,
        below: &'static str,
        bindings: Arc<Bindings>,
        limit: u64,
    ) -> Self {
        Self {
            folder,
            below,
            bindings,
            limit,
            index: Locked::default(),
            bytes: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Bytes and files in the data folder, with all that is in it.
    #[must_use]
    pub fn size(&self) -> (u64, usize) {
        (self.bytes.load(Ordering::Relaxed), self.count.load(Ordering::Relaxed))
    }

    /// Number of files that had to make room for others.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The sessions that have a file.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        let mut index = self.index.lock();
        self.make_sure_it_is_read(&mut index);
        index.written.keys().copied().collect()
    }

    #[must_use]
    pub fn read(&self, session: SessionId) -> Option<Vec<u8>> {
        self.folder.read(&self.file(session))
    }

    /// Writes a session's file; others make room for it.
    pub fn write(&self, session: SessionId, contents: &[u8]) -> io::Result<()> {
        let mut index = self.index.lock();
        self.replace(&mut index, session, contents)
    }

    /// Writes a session's file anew by what stands there, while no other process does such a thing.
    /// `None` leaves it as it is.
    pub fn rewrite(
        &self,
        session: SessionId,
        contents: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>,
    ) -> io::Result<()> {
        let mut index = self.index.lock();
        let written = self.folder.alone(|| match contents(self.read(session)) {
            Some(contents) => self.replace(&mut index, session, &contents),
            None => Ok(()),
        });
        let written = written.inspect_err(|error| self.folder.complain("cannot lock it", error));
        written?.unwrap_or(Ok(()))
    }

    fn replace(&self, index: &mut Index, session: SessionId, contents: &[u8]) -> io::Result<()> {
        let size = on_disk(contents.len() as u64);
        self.make_sure_it_is_read(index);
        if !self.make_room(index, size) {
            let full = io::Error::other("limits.dataFolder leaves no room");
            // The folder itself is well.
            self.folder.complain("cannot write to it", &full);
            return Err(full);
        }
        self.folder.write(&self.file(session), contents)?;
        index.insert(session, micros(SystemTime::now()), size);
        self.count(index);
        Ok(())
    }

    /// Removes a session's file, if it has one.
    pub fn remove(&self, session: SessionId) {
        let mut index = self.index.lock();
        self.make_sure_it_is_read(&mut index);
        if index.remove(session) {
            self.folder.remove(&self.file(session));
            self.count(&index);
        }
    }

    /// Looks at the folder anew, since other processes may share it. Removes files that have not
    /// been written for longer than `age`, and those beyond the limit. Returns how many were old.
    pub fn sweep(&self, age: Duration) -> usize {
        let mut index = self.index.lock();
        self.look(&mut index);
        let before = micros(SystemTime::now())
            .saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        let old: Vec<SessionId> =
            index.files.keys().take_while(|(at, _)| *at < before).map(|(_, id)| *id).collect();
        for session in &old {
            index.remove(*session);
            self.folder.remove(&self.file(*session));
        }
        self.make_room(&mut index, 0);
        self.count(&index);
        old.len()
    }

    /// Another folder came in the place of this one: what it holds is not known yet.
    pub fn forget(&self) {
        *self.index.lock() = Index::default();
    }

    fn make_sure_it_is_read(&self, index: &mut Index) {
        if !index.is_read {
            self.look(index);
        }
    }

    fn look(&self, index: &mut Index) {
        *index = Index { is_read: true, ..Index::default() };
        let others = self.folder.files("");
        let beside = if self.below == SESSIONS { STATES } else { SESSIONS };
        let beside = self.folder.files(beside);
        index.others = others.iter().chain(&beside).map(|file| on_disk(file.bytes)).sum();
        index.other_files = others.len() + beside.len();
        for found in self.folder.files(self.below) {
            if let Some(session) = SessionId::parse(&found.name) {
                index.insert(session, micros(found.written), on_disk(found.bytes));
            }
        }
        let mut ids: Vec<_> =
            others.into_iter().filter(|file| file.name.starts_with(NODE_ID)).collect();
        ids.sort_by_key(|file| file.written);
        for old in ids.iter().take(ids.len().saturating_sub(MAX_NODE_IDS)) {
            self.folder.remove(&old.name);
        }
    }

    /// Removes files until another of `size` bytes has room. Sessions without a binding go first,
    /// then the oldest. A tenth more is removed than has to be, so that this is rare.
    /// False if there is none.
    fn make_room(&self, index: &mut Index, size: u64) -> bool {
        let room = self.limit.saturating_sub(index.others);
        let most = usize::try_from(self.limit / BLOCK).unwrap_or(MAX_FILES).min(MAX_FILES);
        let fits = |index: &Index, part: u8| {
            index.bytes + size <= room / 10 * u64::from(part)
                && index.files.len() < most / 10 * usize::from(part)
        };
        if fits(index, 10) {
            return true;
        }
        let oldest: Vec<SessionId> = index.files.keys().map(|(_, session)| *session).collect();
        let is_live = |session: SessionId| {
            self.bindings.record(session).is_some_and(|record| !record.servers.is_empty())
        };
        let (live, idle): (Vec<_>, Vec<_>) = oldest.into_iter().partition(|id| is_live(*id));
        for (sessions, part) in [(idle, 9), (live, 10)] {
            for session in sessions {
                if fits(index, part) {
                    break;
                }
                index.remove(session);
                self.folder.remove(&self.file(session));
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        fits(index, 10)
    }

    fn file(&self, session: SessionId) -> String {
        format!("{}{session}", self.below)
    }

    fn count(&self, index: &Index) {
        self.bytes.store(index.bytes + index.others, Ordering::Relaxed);
        self.count.store(index.files.len() + index.other_files, Ordering::Relaxed);
    }
}

impl Index {
    fn insert(&mut self, session: SessionId, at: u64, size: u64) {
        self.remove(session);
        self.files.insert((at, session), size);
        self.written.insert(session, at);
        self.bytes += size;
    }

    /// Whether there was such a file.
    fn remove(&mut self, session: SessionId) -> bool {
        let Some(at) = self.written.remove(&session) else { return false };
        let size = self.files.remove(&(at, session));
        self.bytes -= size.unwrap_or(0);
        true
    }
}

fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK).max(BLOCK)
}

fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    u64::try_from(since).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeId, ServerName};

    fn files(limit: u64) -> (std::path::PathBuf, Arc<Bindings>, SessionFiles) {
        let path = std::env::temp_dir().join(format!("mooring-params-{}", SessionId::mint()));
        let bindings = Arc::new(Bindings::default());
        let folder = DataFolder::open(&path).unwrap();
        let files = SessionFiles::new(folder, SESSIONS, Arc::clone(&bindings), limit);
        (path, bindings, files)
    }

    #[test]
    fn beyond_the_limit_files_of_sessions_without_a_binding_go_first() {
        let (path, bindings, files) = files(20 * BLOCK);
        let live = SessionId::mint();
        files.write(live, b"live").unwrap();
        let (server, node) = (ServerName::parse("a").unwrap(), NodeId::standalone());
        bindings.claim(live, &server, None, &node);
        for _ in 0..100 {
            files.write(SessionId::mint(), &[0; 4000]).unwrap();
        }
        assert_eq!(files.read(live).as_deref(), Some(b"live".as_slice()));
        let (bytes, count) = files.size();
        assert!(bytes <= 20 * BLOCK && count <= 20, "{bytes} bytes, {count} files");
        let on_disk = std::fs::read_dir(path.join("sessions")).unwrap().count();
        assert!(on_disk <= count && on_disk >= 10, "{on_disk} of {count} files");
        assert!(files.dropped() >= 80, "{}", files.dropped());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn files_of_an_earlier_start_count_and_the_old_ones_go() {
        let (path, _, first) = files(1 << 20);
        let (old, young) = (SessionId::mint(), SessionId::mint());
        for session in [old, young] {
            first.write(session, b"{}").unwrap();
        }
        let age = Duration::from_secs(3600);
        let file = std::fs::File::options().write(true).open(path.join(first.file(old))).unwrap();
        file.set_modified(SystemTime::now() - 2 * age).unwrap();
        let bindings = Arc::new(Bindings::default());
        let second =
            SessionFiles::new(DataFolder::open(&path).unwrap(), SESSIONS, bindings, 1 << 20);
        assert_eq!(second.sweep(age), 1);
        assert_eq!(second.size().1, 1);
        assert!(second.read(old).is_none() && second.read(young).is_some());
        second.remove(young);
        assert!(second.read(young).is_none());
        std::fs::remove_dir_all(path).unwrap();
    }
}
