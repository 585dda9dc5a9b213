//! What a session's id cannot carry: `initialize` parameters that are too large for
//! it, and the fact that the client has ended the session.
//!
//! Files are written on blocking threads, so that workers serve other requests
//! meanwhile.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::model::{SessionId, UnixMillis};
use crate::protocol::seal::MAX_AGE;
use crate::sync::{Locked, ReadMostly};

use super::DataFolder;

/// File of ended sessions, a line each: id and end of validity in Unix ms.
const TOMBSTONES: &str = "ended-sessions";
/// Subfolder with a file for each session whose parameters are too large for its id.
const PARAMS: &str = "sessions";
/// Bytes of parameters in memory: those of the latest sessions. Without a data folder
/// there are no others.
const MAX_IN_MEMORY: usize = 32 << 20;

/// Ended sessions and large parameters of all sessions, shared by all workers.
pub struct Records {
    folder: DataFolder,
    /// Ended sessions, each with the time when its id expires anyway.
    ended: ReadMostly<HashMap<SessionId, UnixMillis>>,
    latest: Locked<Latest>,
}

impl Records {
    /// Reads the tombstones and removes those of expired ids from their file.
    #[must_use]
    pub fn open(folder: DataFolder) -> Self {
        let text = folder.read(TOMBSTONES).unwrap_or_default();
        let now = UnixMillis::now();
        let ended: HashMap<SessionId, UnixMillis> = String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| {
                let (session, until) = line.split_once(' ')?;
                Some((SessionId::parse(session)?, UnixMillis(until.parse().ok()?)))
            })
            .filter(|(_, until)| *until > now)
            .collect();
        let lines: String =
            ended.iter().map(|(session, until)| format!("{session} {}\n", until.0)).collect();
        if !text.is_empty()
            && let Err(error) = folder.write(TOMBSTONES, lines.as_bytes())
        {
            tracing::warn!("cannot write {TOMBSTONES} to the data folder: {error}");
        }
        Self {
            folder,
            ended: ReadMostly::new(ended),
            latest: Locked::new(Latest::of(MAX_IN_MEMORY)),
        }
    }

    /// Ends a session at its client's request. Its id is invalid from now on, and once
    /// this returns, after a restart too.
    pub async fn end(&self, session: SessionId, minted_at: UnixMillis) {
        let until = minted_at.plus(MAX_AGE);
        self.ended.write().insert(session, until);
        self.latest.lock().remove(session);
        self.beside("cannot write the session's end to disk", session, move |folder| {
            folder.remove(&file(session));
            folder.append(TOMBSTONES, &format!("{session} {}", until.0))
        })
        .await;
    }

    /// Whether the client has ended the session. Expired ids may be forgotten.
    #[must_use]
    pub fn is_ended(&self, session: SessionId) -> bool {
        self.ended.read().contains_key(&session)
    }

    /// Forgets tombstones of ids that have expired: these are refused anyway.
    pub fn sweep(&self) {
        let now = UnixMillis::now();
        let mut ended = self.ended.write();
        ended.retain(|_, until| *until > now);
    }

    /// Removes the files of sessions whose ids have expired: few clients end their
    /// sessions.
    pub async fn sweep_files(&self) {
        let folder = self.folder.clone();
        let swept = tokio::task::spawn_blocking(move || folder.sweep(PARAMS, MAX_AGE)).await;
        match swept {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(count, "files of expired sessions removed"),
            Ok(Err(error)) => tracing::warn!("cannot remove old files in {PARAMS}: {error}"),
            Err(error) => tracing::warn!("cannot remove old files in {PARAMS}: {error}"),
        }
    }

    /// Keeps a session's parameters: once this returns, for the next start too.
    pub async fn keep_params(&self, session: SessionId, params: &Bytes) {
        self.latest.lock().insert(session, params.clone());
        let params = params.clone();
        self.beside("cannot write initialize parameters to disk", session, move |folder| {
            folder.write(&file(session), &params)
        })
        .await;
    }

    /// A session's parameters, from memory or else from its file.
    #[must_use]
    pub fn params(&self, session: SessionId) -> Option<Bytes> {
        let kept = self.latest.lock().get(session);
        kept.or_else(|| self.folder.read(&file(session)).map(Bytes::from))
    }

    /// Changes the folder on a blocking thread; a failure is logged. Without a folder
    /// nothing happens.
    async fn beside(
        &self,
        what: &'static str,
        session: SessionId,
        work: impl FnOnce(DataFolder) -> std::io::Result<()> + Send + 'static,
    ) {
        if self.folder.path(PARAMS).is_none() {
            return;
        }
        let folder = self.folder.clone();
        let done = tokio::task::spawn_blocking(move || work(folder)).await;
        let failed = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(session = %session.short(), "{what}: {failed}");
    }
}

/// The latest sessions' parameters, bounded in bytes.
struct Latest {
    room: usize,
    bytes: usize,
    kept: HashMap<SessionId, Bytes>,
    /// Oldest first; includes sessions that were removed since.
    order: VecDeque<SessionId>,
}

impl Latest {
    fn of(room: usize) -> Self {
        Self { room, bytes: 0, kept: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, session: SessionId) -> Option<Bytes> {
        self.kept.get(&session).cloned()
    }

    fn insert(&mut self, session: SessionId, params: Bytes) {
        self.remove(session);
        self.bytes += params.len();
        self.kept.insert(session, params);
        self.order.push_back(session);
        while self.bytes > self.room
            && let Some(oldest) = self.order.pop_front()
        {
            self.remove(oldest);
        }
        if self.order.len() > 2 * self.kept.len() {
            self.order.retain(|session| self.kept.contains_key(session));
        }
    }

    fn remove(&mut self, session: SessionId) {
        if let Some(gone) = self.kept.remove(&session) {
            self.bytes -= gone.len();
        }
    }
}

fn file(session: SessionId) -> String {
    format!("{PARAMS}/{session}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ended_session_stays_ended_after_a_restart() {
        let path = std::env::temp_dir().join(format!("mooring-records-{}", SessionId::mint()));
        let (ended, other, old) = (SessionId::mint(), SessionId::mint(), SessionId::mint());
        let records = Records::open(DataFolder::open(&path));
        records.keep_params(other, &"{}".into()).await;
        records.end(ended, UnixMillis::now()).await;
        records.end(old, UnixMillis(1)).await;
        drop(records);
        let records = Records::open(DataFolder::open(&path));
        assert!(records.is_ended(ended));
        assert!(!records.is_ended(other));
        assert!(!records.is_ended(old), "its id has expired by itself");
        assert_eq!(records.params(other).as_deref(), Some(b"{}".as_slice()));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test]
    async fn files_of_expired_sessions_are_removed_and_no_others() {
        let path = std::env::temp_dir().join(format!("mooring-records-{}", SessionId::mint()));
        let (old, young) = (SessionId::mint(), SessionId::mint());
        let records = Records::open(DataFolder::open(&path));
        records.sweep_files().await;
        for session in [old, young] {
            records.keep_params(session, &"{}".into()).await;
        }
        let long_ago = std::time::SystemTime::now() - MAX_AGE - std::time::Duration::from_secs(1);
        let file = std::fs::File::options().write(true).open(path.join(file(old))).unwrap();
        file.set_modified(long_ago).unwrap();
        drop(records);
        let records = Records::open(DataFolder::open(&path));
        records.sweep_files().await;
        assert_eq!(records.params(old), None);
        assert!(records.params(young).is_some());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn of_what_is_in_memory_the_oldest_goes_first() {
        let sessions: Vec<SessionId> = (0..100).map(|_| SessionId::mint()).collect();
        let mut latest = Latest::of(100);
        for session in &sessions {
            latest.insert(*session, Bytes::from_static(&[0; 40]));
        }
        let kept: Vec<bool> = sessions.iter().map(|id| latest.get(*id).is_some()).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 2);
        assert!(kept.ends_with(&[true, true]));
        for session in &sessions {
            latest.remove(*session);
            latest.insert(*session, Bytes::from_static(&[0; 1]));
            latest.remove(*session);
        }
        assert_eq!((latest.bytes, latest.kept.len()), (0, 0));
        assert!(latest.order.len() <= 2, "{}", latest.order.len());
    }
}
