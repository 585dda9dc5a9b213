//! What is kept of the state of sessions, so that it can come along to a new instance: in memory,
//! and for the next start in sealed files of the data folder.
//!
//! A change is written right after it was made, beside the request that made it. Of two changes in
//! a row the file may get the second alone. What another process has written meanwhile is joined
//! with it. In memory the sessions unused for longest make room; those that have a file are read again
//! when they are needed. Without a folder they are lost.
//!
//! Several coordinators let each other have the text of [`super::state_text`] over their store.

mod writing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::model::{ServerName, SessionId, UnixMillis};
use crate::protocol::seal::{KeyRing, MAX_AGE};
use crate::store::bindings::Bindings;
use crate::store::folder::data::DataFolder;
use crate::store::records::Records;
use crate::store::session_files::{STATES, SessionFiles};
use crate::store::sharing::Sharing;
use crate::sync::Locked;

use super::known_file::KnownFile;
use super::state_log::StateLog;
use super::state_text::{self, Logs};

/// Bytes of all states in memory.
const MEMORY: usize = 64 << 20;
/// The part of the data folder's bytes that states may take.
const PART: u64 = 4;
/// What is left in memory, in tenths, once states have made room: so that this is rare.
const TENTHS: usize = 9;

/// The states of all sessions, shared by all workers.
pub struct SessionStates {
    records: Arc<Records>,
    keys: KeyRing,
    files: SessionFiles,
    has_folder: bool,
    known: Locked<Known>,
    most: usize,
    /// What is shared with other coordinators, if there may be any.
    sharing: OnceLock<Arc<Sharing>>,
    /// Writes files, also while the workers end.
    runtime: Option<Handle>,
    /// When this process began to keep states.
    since: UnixMillis,
    /// Whether something was dropped that no file has.
    has_forgotten: AtomicBool,
}

/// What other coordinators keep of one server's state.
#[derive(Debug, Default)]
pub struct OthersLogs {
    /// The name of this coordinator.
    pub own: String,
    /// Each with its coordinator's name.
    pub logs: Vec<(String, StateLog)>,
}

#[derive(Default)]
struct Known {
    sessions: HashMap<SessionId, SessionState>,
    bytes: usize,
}

struct SessionState {
    logs: Logs,
    size: usize,
    used: Instant,
    /// The file as this process has read or written it last.
    file: KnownFile,
    is_written: bool,
    /// Whether a task writes it, which looks again before it ends.
    is_being_written: bool,
}

impl SessionStates {
    /// Nothing is read yet. `limit` is that of the data folder, in bytes.
    #[must_use]
    pub fn new(
        folder: DataFolder,
        records: Arc<Records>,
        bindings: Arc<Bindings>,
        keys: KeyRing,
        limit: u64,
    ) -> Self {
        Self {
            has_folder: folder.exists(),
            files: SessionFiles::new(folder, STATES, bindings, limit / PART),
            records,
            keys,
            known: Locked::default(),
            most: MEMORY,
            sharing: OnceLock::new(),
            runtime: Handle::try_current().ok(),
            since: UnixMillis::now(),
            has_forgotten: AtomicBool::new(false),
        }
    }

    /// Lets other coordinators have what is kept from now on.
    pub fn share(&self, sharing: Arc<Sharing>) {
        // The first one stays.
        let _ = self.sharing.set(sharing);
    }

    /// What other coordinators keep of one server's state, each with its name, and what this one is
    /// called. `None` if there may be more than can be known.
    pub async fn logs_of_others(
        &self,
        session: SessionId,
        began: UnixMillis,
        server: &ServerName,
    ) -> Option<OthersLogs> {
        let Some(sharing) = self.sharing.get() else { return Some(OthersLogs::default()) };
        let mut logs = Vec::new();
        for (name, text) in sharing.states_of_others(session, began).await? {
            // A later version may write another form.
            if let Some(log) = state_text::read(&text)?.remove(server) {
                logs.push((name, log));
            }
        }
        Some(OthersLogs { own: sharing.name().to_owned(), logs })
    }

    /// Makes sure that the session's state is in memory, if anything of it is kept.
    pub async fn load(self: &Arc<Self>, session: SessionId) {
        if !self.has_folder || self.known.lock().sessions.contains_key(&session) {
            return;
        }
        let this = Arc::clone(self);
        let read = self.records.beside(move |_| this.files.read(session)).await.flatten();
        let logs = read.as_ref().map(|sealed| self.opened(session, sealed)).unwrap_or_default();
        let mut known = self.known.lock();
        let known = &mut *known;
        // Another request may have been quicker.
        known.sessions.entry(session).or_insert_with(|| {
            let size = size(&logs);
            known.bytes += size;
            let file = read.map(|sealed| KnownFile::of(&sealed, &logs)).unwrap_or_default();
            let (used, is_written) = (Instant::now(), true);
            SessionState { logs, size, used, file, is_written, is_being_written: false }
        });
        self.make_room(known, session);
    }

    /// Whether all is known that set the state of a session which began then.
    #[must_use]
    pub fn knows_since(&self, began: UnixMillis) -> bool {
        let has_forgotten = self.has_forgotten.load(Ordering::Relaxed);
        !has_forgotten && (self.has_folder || began >= self.since)
    }

    /// Looks at what is kept of one server, if anything is.
    pub fn look<T>(
        &self,
        session: SessionId,
        server: &ServerName,
        look: impl FnOnce(&StateLog) -> T,
    ) -> Option<T> {
        let known = self.known.lock();
        known.sessions.get(&session)?.logs.get(server).map(look)
    }

    /// Changes what is kept of one server. It is written beside.
    pub fn change<T>(
        self: &Arc<Self>,
        session: SessionId,
        server: &ServerName,
        change: impl FnOnce(&mut StateLog) -> T,
    ) -> T {
        let mut known = self.known.lock();
        let known = &mut *known;
        let state = known.sessions.entry(session).or_insert_with(|| SessionState {
            logs: Logs::new(),
            size: 0,
            used: Instant::now(),
            file: KnownFile::default(),
            is_written: true,
            is_being_written: false,
        });
        let changed = change(state.logs.entry(server.clone()).or_default());
        let before = std::mem::replace(&mut state.size, size(&state.logs));
        (state.used, state.is_written) = (Instant::now(), false);
        known.bytes = (known.bytes + state.size).saturating_sub(before);
        if (self.has_folder || self.sharing.get().is_some()) && !state.is_being_written {
            state.is_being_written = self.write_beside(session);
        }
        self.make_room(known, session);
        changed
    }

    /// Bytes in memory, and sessions whose files are still to be written.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let known = self.known.lock();
        let unwritten = known.sessions.values().filter(|state| state.is_being_written).count();
        (known.bytes, unwritten)
    }

    /// Forgets all of a session that has ended.
    pub async fn end(self: &Arc<Self>, session: SessionId) {
        let was_known = {
            let mut known = self.known.lock();
            let state = known.sessions.remove(&session);
            known.bytes = known.bytes.saturating_sub(state.as_ref().map_or(0, |s| s.size));
            state
        };
        if let Some(sharing) = self.sharing.get()
            && was_known.as_ref().is_some_and(|state| !state.logs.is_empty())
        {
            sharing.forget_state(session).await;
        }
        // A session that never had any has no file either, unless an earlier process wrote it.
        if self.has_folder && was_known.is_none_or(|state| !state.logs.is_empty()) {
            let this = Arc::clone(self);
            let _ = self.records.beside(move |_| this.files.remove(session)).await;
        }
    }

    /// Removes files of sessions whose ids have expired.
    pub async fn sweep_files(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let _ = self.records.beside(move |_| this.files.sweep(MAX_AGE)).await;
    }

    /// Waits until everything is written, or a time has passed: before the process ends.
    pub async fn written(&self, patience: Duration) {
        const PAUSE: Duration = Duration::from_millis(10);
        let is_written = || {
            let known = self.known.lock();
            known.sessions.values().all(|state| !state.is_being_written)
        };
        let wait = async {
            while !is_written() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(patience, wait).await;
    }

    /// Drops what was unused for longest, except for one session, where there is too much.
    fn make_room(&self, known: &mut Known, except: SessionId) {
        if known.bytes <= self.most {
            return;
        }
        let mut oldest: Vec<(bool, Instant, SessionId)> = known
            .sessions
            .iter()
            .filter(|(session, state)| **session != except && !state.is_being_written)
            .map(|(session, state)| (!state.is_written && self.has_folder, state.used, *session))
            .collect();
        oldest.sort_unstable_by_key(|(unwritten, used, _)| (*unwritten, *used));
        for (_, _, session) in oldest {
            if known.bytes <= self.most / 10 * TENTHS {
                return;
            }
            if let Some(state) = known.sessions.remove(&session) {
                known.bytes = known.bytes.saturating_sub(state.size);
                let is_lost = !self.has_folder || !state.is_written;
                self.has_forgotten.fetch_or(is_lost, Ordering::Relaxed);
            }
        }
    }
}

fn size(logs: &Logs) -> usize {
    // An empty one, too, takes a place in the map.
    128 + logs.iter().map(|(name, log)| name.as_str().len() + log.size()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Keep;
    use crate::store::{KeptCall, LogBounds};

    const BOUNDS: LogBounds = LogBounds { calls: 99, bytes: 99_999, age: Duration::MAX };

    pub(super) fn states(folder: DataFolder, secret: &[u8]) -> Arc<SessionStates> {
        let bindings = Arc::new(Bindings::default());
        let records = Arc::new(Records::open(folder.clone(), Arc::clone(&bindings), 1 << 30));
        let keys = KeyRing::new(&[secret]);
        Arc::new(SessionStates::new(folder, records, bindings, keys, 1 << 30))
    }

    pub(super) fn keep(states: &Arc<SessionStates>, session: SessionId, params: &str) {
        let call = KeptCall {
            tool: "set".into(),
            params: params.into(),
            at: UnixMillis(1),
            keep: Keep::All,
            was_error: false,
            number: 0,
            mark: 0,
        };
        states.change(session, &server(), |log| log.keep(call, &BOUNDS));
    }

    fn server() -> ServerName {
        ServerName::parse("a").unwrap()
    }

    pub(super) fn count(states: &SessionStates, session: SessionId) -> Option<usize> {
        states.look(session, &server(), |log| log.calls().count())
    }

    #[tokio::test]
    async fn states_survive_a_restart_sealed_and_go_with_their_session() {
        let path = std::env::temp_dir().join(format!("mooring-states-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let first = states(folder.clone(), b"key");
        let session = SessionId::mint();
        keep(&first, session, "not to be read");
        keep(&first, session, "nor this");
        first.written(Duration::from_secs(5)).await;
        let file = path.join("states").join(session.to_string());
        let sealed = std::fs::read(&file).unwrap();
        assert!(!sealed.windows(4).any(|bytes| bytes == b"read"));
        let second = states(folder.clone(), b"key");
        assert_eq!(count(&second, session), None);
        second.load(session).await;
        assert_eq!(count(&second, session), Some(2));
        let foreign = states(folder, b"another key");
        foreign.load(session).await;
        assert_eq!(count(&foreign, session), None);
        second.end(session).await;
        assert!(!file.exists());
        assert_eq!(count(&second, session), None);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test]
    async fn of_too_much_in_memory_the_sessions_unused_for_longest_go() {
        let bindings = Arc::new(Bindings::default());
        let folder = DataFolder::memory();
        let records = Arc::new(Records::open(folder.clone(), Arc::clone(&bindings), 1 << 30));
        let keys = KeyRing::new(&[b"key"]);
        let mut states = SessionStates::new(folder, records, bindings, keys, 1 << 30);
        states.most = 10_000;
        let states = Arc::new(states);
        let sessions: Vec<SessionId> = (0..20).map(|_| SessionId::mint()).collect();
        for session in &sessions {
            keep(&states, *session, &"x".repeat(1000));
        }
        assert!(states.known.lock().bytes <= 10_000);
        assert_eq!(count(&states, sessions[0]), None);
        assert_eq!(count(&states, sessions[19]), Some(1));
    }
}
