//! What a session's id cannot carry: `initialize` parameters that are too large for it, and the
//! fact that the client has ended the session.
//!
//! A session that was begun and not used yet leaves nothing on disk: whoever reaches the gateway
//! can begin sessions as fast as it answers. Its parameters go to disk with its second message.
//! Files are read and written on blocking threads, and no request waits for a disk for longer than
//! 5 s: what could not be written stays in memory, and is written by a later sweep.

mod ended;
mod unused;
mod used;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::model::{QuotaKey, ServerName, SessionId, UnixMillis};
use crate::protocol::seal::MAX_AGE;
use crate::sync::{Locked, beside};

use self::ended::EndedSessions;
use self::unused::UnusedParams;
use self::used::UsedParams;
use super::bindings::Bindings;
use super::folder::data::DataFolder;
use super::folder::folder_state::{FolderState, Renewals};
use super::opened::OpenedBefore;
use super::session_files::{SESSIONS, SessionFiles};

/// Bytes of parameters of sessions that were not used yet.
const UNUSED: usize = 16 << 20;
/// Bytes of parameters in memory of sessions in use. Without a data folder there are no others.
const USED: usize = 32 << 20;
/// Sessions that are known not to have been used yet.
const MAX_FRESH: usize = 65_536;
/// Jobs at the disk at a time: more would not make it faster.
const AT_ONCE: usize = 8;
/// Longest wait of a request for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// The part of the data folder's bytes that tombstones may take.
const TOMBSTONES: u64 = 4;
/// The part that the list of open servers may take.
const OPENED: u64 = 16;

/// Ended sessions and large parameters of all sessions, shared by all workers.
pub struct Records {
    folder: DataFolder,
    limit: u64,
    ended: EndedSessions,
    opened: OpenedBefore,
    files: SessionFiles,
    fresh: Locked<Fresh>,
    unused: Locked<UnusedParams>,
    used: Locked<UsedParams>,
    turns: Arc<Semaphore>,
    dropped: AtomicU64,
    /// What was dropped when it was last logged.
    said: AtomicU64,
    /// Since then all of it is in the folder, as far as it could be.
    renewed: Locked<Renewals>,
}

/// How much there is, and what did not fit, for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCounts {
    /// Bytes and files in the data folder, and the limit for the bytes.
    pub folder_bytes: u64,
    pub folder_files: usize,
    pub folder_limit: u64,
    /// Attempts to write to the data folder that failed.
    pub folder_failures: u64,
    /// Bytes of large parameters in memory.
    pub memory_bytes: usize,
    /// Sessions whose large parameters were dropped.
    pub dropped: u64,
    /// Tombstones, and how many were dropped before their time.
    pub ended: usize,
    pub ended_dropped: u64,
}

impl Records {
    /// Reads the tombstones and removes those of expired ids from their file. The folder takes at
    /// most `limit` bytes.
    #[must_use]
    pub fn open(folder: DataFolder, bindings: Arc<Bindings>, limit: u64) -> Self {
        Self {
            ended: EndedSessions::open(folder.clone(), limit / TOMBSTONES),
            opened: OpenedBefore::open(folder.clone(), limit / OPENED),
            files: SessionFiles::new(folder.clone(), SESSIONS, bindings, limit),
            folder,
            limit,
            fresh: Locked::default(),
            unused: Locked::new(UnusedParams::with_room(UNUSED)),
            used: Locked::new(UsedParams::with_room(USED)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            dropped: AtomicU64::new(0),
            said: AtomicU64::new(0),
            renewed: Locked::default(),
        }
    }

    /// Notes that a session's id is given to its client, and keeps the parameters that the id
    /// cannot carry.
    pub fn begin(&self, session: SessionId, large: Option<&Bytes>, client: &QuotaKey) {
        self.fresh.lock().insert(session);
        if let Some(params) = large {
            let gone = self.unused.lock().insert(session, params.clone(), client);
            self.dropped.fetch_add(gone, Ordering::Relaxed);
        }
    }

    /// Notes that a session is used: a message came after its `initialize`. Once this returns, the
    /// next start has its large parameters too, if the disk allows it. Returns whether large ones
    /// were used for the first time.
    pub async fn use_it(self: &Arc<Self>, session: SessionId, is_large: bool) -> bool {
        self.fresh.lock().remove(session);
        if !is_large {
            return false;
        }
        let Some(params) = self.unused.lock().get(session) else { return false };
        // In both for a moment, so that another worker finds it in one.
        self.keep(session, params.clone(), false);
        let is_first = self.unused.lock().take(session).is_some();
        if is_first {
            self.beside(move |this| this.write(session, &params)).await;
        }
        is_first
    }

    /// Ends a session at its client's request. Its id is invalid from now on, and once this
    /// returns, after a restart too, if it was used.
    pub async fn end(self: &Arc<Self>, session: SessionId, minted_at: UnixMillis) {
        let until = minted_at.plus(MAX_AGE);
        self.unused.lock().take(session);
        if self.fresh.lock().remove(session) {
            self.ended.end_unused(session, until);
            return;
        }
        self.ended.end(session, until);
        self.used.lock().remove(session);
        let written = self.beside(move |this| {
            this.ended.write(session, until);
            this.files.remove(session);
        });
        if written.await.is_none() {
            self.ended.note_unwritten();
        }
    }

    /// Ends a session of HTTP+SSE whose client has left its stream. Its events are refused while this
    /// process lives. After a restart a client that comes back so late is known again, without
    /// anything that its servers held: few ever do, and a tombstone for each would fill the disk.
    pub async fn end_stream(
        self: &Arc<Self>,
        session: SessionId,
        minted_at: UnixMillis,
        is_large: bool,
    ) {
        self.ended.end_unused(session, minted_at.plus(MAX_AGE));
        self.fresh.lock().remove(session);
        self.unused.lock().take(session);
        self.used.lock().remove(session);
        if is_large {
            self.beside(move |this| this.files.remove(session)).await;
        }
    }

    /// Ends a session whose client has no id for it yet: there is nothing to refuse later.
    pub fn end_here(&self, session: SessionId, minted_at: UnixMillis) {
        self.ended.end_unused(session, minted_at.plus(MAX_AGE));
    }

    /// Keeps the large parameters of a session that has begun at another coordinator.
    pub fn keep_params(&self, session: SessionId, params: &Bytes) {
        self.keep(session, params.clone(), false);
    }

    /// The sessions whose large parameters are kept.
    pub async fn with_params(self: &Arc<Self>) -> Vec<SessionId> {
        let files = self.beside(|this| this.files.sessions()).await.unwrap_or_default();
        let mut sessions: HashSet<SessionId> = files.into_iter().collect();
        sessions.extend(self.used.lock().sessions());
        sessions.extend(self.unused.lock().sessions());
        sessions.retain(|session| !self.is_ended(*session));
        sessions.into_iter().collect()
    }

    /// A session's large parameters, without a sign that it is used.
    pub async fn kept_params(self: &Arc<Self>, session: SessionId) -> Option<Bytes> {
        if let Some(params) = self.in_memory(session) {
            return Some(params);
        }
        self.beside(move |this| this.files.read(session)).await?.map(Bytes::from)
    }

    fn in_memory(&self, session: SessionId) -> Option<Bytes> {
        let unused = self.unused.lock().get(session);
        unused.or_else(|| self.used.lock().get(session))
    }

    /// Notes that a session has ended at another coordinator.
    pub fn learn_end(&self, session: SessionId, until: UnixMillis) {
        self.unused.lock().take(session);
        self.used.lock().remove(session);
        self.fresh.lock().remove(session);
        self.ended.end(session, until);
        // A later sweep writes it.
        self.ended.note_unwritten();
    }

    /// The sessions that have ended, each with the time until which its id would be valid.
    #[must_use]
    pub fn ended(&self) -> Vec<(SessionId, UnixMillis)> {
        self.ended.all()
    }

    /// Whether the client has ended the session. Expired ids may be forgotten.
    #[must_use]
    pub fn is_ended(&self, session: SessionId) -> bool {
        self.ended.contains(session)
    }

    /// Whether the session had a server of this process open before its start, and not since.
    #[must_use]
    pub fn had_open(&self, session: SessionId, server: &ServerName) -> bool {
        self.opened.contains(session, server)
    }

    /// Notes that a session has a server of this process open. Once this returns, the next start
    /// knows it, too, if the disk allows it.
    pub async fn note_open(
        self: &Arc<Self>,
        session: SessionId,
        minted_at: UnixMillis,
        server: &ServerName,
    ) {
        if self.opened.contains(session, server) {
            self.opened.opened_again(session, server);
            return;
        }
        let (until, server) = (minted_at.plus(MAX_AGE), server.clone());
        self.beside(move |this| this.opened.write(session, until, &server)).await;
    }

    /// A session's large parameters, from memory or else from its file.
    pub async fn params(self: &Arc<Self>, session: SessionId) -> Option<Bytes> {
        if let Some(params) = self.in_memory(session) {
            return Some(params);
        }
        let read = self.beside(move |this| this.files.read(session)).await??;
        let params = Bytes::from(read);
        self.keep(session, params.clone(), true);
        Some(params)
    }

    /// Forgets tombstones of ids that have expired, and writes what could not be written before.
    pub async fn sweep(self: &Arc<Self>) {
        if self.folder.exists() {
            let _ = self.beside(Self::sweep_beside).await;
        } else {
            self.ended.sweep();
        }
        let counts = self.counts();
        let dropped = counts.dropped + counts.ended_dropped;
        let before = self.said.swap(dropped, Ordering::Relaxed);
        if dropped > before {
            tracing::warn!(
                dropped = dropped - before,
                folder_bytes = counts.folder_bytes,
                "records of sessions gave way to newer ones (limits.dataFolder, and fixed limits in \
                 memory): ids of those sessions are unknown, or valid again if they had been ended"
            );
        }
    }

    fn sweep_beside(&self) {
        self.ended.sweep();
        let unwritten = self.used.lock().unwritten();
        for (session, params) in unwritten {
            if !self.write(session, &params) {
                break;
            }
        }
    }

    /// Finds out whether the data folder can be written. If it has come back, what only memory has
    /// is written.
    pub async fn tend_folder(self: &Arc<Self>) {
        let _ = self.beside(Self::tend_beside).await;
    }

    fn tend_beside(&self) {
        self.folder.check();
        let now = self.folder.renewals();
        let before = *self.renewed.lock();
        if now == before || self.folder.state().0 != FolderState::Fine {
            return;
        }
        *self.renewed.lock() = now;
        self.folder.restore();
        self.ended.note_unwritten();
        if now.replaced != before.replaced {
            self.used.lock().mark_all_unwritten();
            self.files.forget();
        }
        self.sweep_beside();
    }

    /// Removes the files of sessions whose ids have expired: few clients end their sessions.
    pub async fn sweep_files(self: &Arc<Self>) {
        let swept = self.beside(|this| {
            this.folder.check();
            this.files.sweep(MAX_AGE)
        });
        if let Some(count @ 1..) = swept.await {
            tracing::info!(count, "files of expired sessions removed");
        }
    }

    /// How far the data folder can be used, and why no further.
    #[must_use]
    pub fn folder(&self) -> (FolderState, String) {
        self.folder.state()
    }

    #[must_use]
    pub fn counts(&self) -> RecordCounts {
        let (folder_bytes, folder_files) = self.files.size();
        RecordCounts {
            folder_bytes,
            folder_files,
            folder_limit: self.limit,
            folder_failures: self.folder.failures(),
            memory_bytes: self.unused.lock().bytes() + self.used.lock().bytes(),
            dropped: self.dropped.load(Ordering::Relaxed) + self.files.dropped(),
            ended: self.ended.kept(),
            ended_dropped: self.ended.dropped(),
        }
    }

    fn keep(&self, session: SessionId, params: Bytes, is_written: bool) {
        let lost = self.used.lock().insert(session, params, is_written);
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    /// Writes a session's parameters. Blocks. False if that failed.
    fn write(&self, session: SessionId, params: &[u8]) -> bool {
        if self.files.write(session, params).is_err() {
            return false;
        }
        self.used.lock().mark_written(session);
        if self.is_ended(session) {
            self.files.remove(session);
        }
        true
    }

    /// Does something with the folder on a blocking thread. `None` without a folder, or if the
    /// disk does not get to it in time; it may still be done then.
    pub(super) async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        if !self.folder.exists() {
            return None;
        }
        let (this, turns) = (Arc::clone(self), Arc::clone(&self.turns));
        let job = async move {
            let turn = turns.acquire_owned().await.ok()?;
            let job = beside(move || {
                let done = work(&this);
                drop(turn);
                done
            });
            job.await
        };
        tokio::time::timeout(PATIENCE, job).await.ok().flatten()
    }
}

/// Sessions that were begun and not used yet. The oldest are forgotten first: they then count as
/// used.
#[derive(Default)]
struct Fresh {
    sessions: HashSet<SessionId>,
    /// Oldest first; may hold sessions that were removed since.
    order: VecDeque<SessionId>,
}

impl Fresh {
    fn insert(&mut self, session: SessionId) {
        self.sessions.insert(session);
        self.order.push_back(session);
        while self.sessions.len() > MAX_FRESH
            && let Some(oldest) = self.order.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        if self.order.len() > 2 * self.sessions.len() + 64 {
            self.order.retain(|session| self.sessions.contains(session));
        }
    }

    /// Whether the session was still unused.
    fn remove(&mut self, session: SessionId) -> bool {
        self.sessions.remove(&session)
    }
}

#[cfg(test)]
mod tests;
