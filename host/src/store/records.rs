//! What an id cannot carry: `initialize` parameters that are too large for it,
//! and that a session was ended by its client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::model::{SessionId, UnixMillis};
use crate::protocol::seal::MAX_AGE;

use super::DataFolder;

const TOMBSTONES: &str = "ended-sessions";
/// Parameters kept in memory where no folder can be written.
const MAX_IN_MEMORY: usize = 10_000;

pub struct Records {
    folder: DataFolder,
    /// Ended sessions and when their ids expire by themselves.
    ended: RwLock<HashMap<SessionId, UnixMillis>>,
    params: Mutex<HashMap<SessionId, Bytes>>,
}

impl Records {
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
            tracing::warn!("cannot rewrite {TOMBSTONES}: {error}");
        }
        Self { folder, ended: RwLock::new(ended), params: Mutex::default() }
    }

    /// The client has ended the session: its id is unknown from now on.
    pub fn end(&self, session: SessionId, minted_at: UnixMillis) {
        let until = minted_at.plus(MAX_AGE);
        self.ended.write().unwrap_or_else(PoisonError::into_inner).insert(session, until);
        if let Err(error) = self.folder.append(TOMBSTONES, &format!("{session} {}", until.0)) {
            tracing::warn!(session = %session.short(), "cannot keep the end of a session: {error}");
        }
        self.params.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
        self.folder.remove(&file(session));
    }

    #[must_use]
    pub fn is_ended(&self, session: SessionId) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(&session)
    }

    /// Forgets tombstones of ids that have expired by themselves.
    pub fn sweep(&self) {
        let now = UnixMillis::now();
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, until| *until > now);
    }

    pub fn keep_params(&self, session: SessionId, params: &Bytes) {
        if let Err(error) = self.folder.write(&file(session), params) {
            tracing::warn!(session = %session.short(), "cannot keep initialize parameters: {error}");
        }
        let mut kept = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_IN_MEMORY {
            kept.insert(session, params.clone());
        }
    }

    #[must_use]
    pub fn params(&self, session: SessionId) -> Option<Bytes> {
        let kept =
            self.params.lock().unwrap_or_else(PoisonError::into_inner).get(&session).cloned();
        kept.or_else(|| self.folder.read(&file(session)).map(Bytes::from))
    }
}

fn file(session: SessionId) -> String {
    format!("sessions/{session}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_session_stays_ended_after_a_restart() {
        let path = std::env::temp_dir().join(format!("mooring-records-{}", SessionId::mint()));
        let (ended, other, old) = (SessionId::mint(), SessionId::mint(), SessionId::mint());
        let records = Records::open(DataFolder::open(&path));
        records.keep_params(other, &"{}".into());
        records.end(ended, UnixMillis::now());
        records.end(old, UnixMillis(1));
        drop(records);
        let records = Records::open(DataFolder::open(&path));
        assert!(records.is_ended(ended));
        assert!(!records.is_ended(other));
        assert!(!records.is_ended(old), "its id has expired by itself");
        assert_eq!(records.params(other).as_deref(), Some(b"{}".as_slice()));
        std::fs::remove_dir_all(path).unwrap();
    }
}
