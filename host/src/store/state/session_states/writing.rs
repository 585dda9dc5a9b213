//! Writes the states of sessions into their files, joined with what another process has written.

use std::sync::Arc;

use crate::model::SessionId;
use crate::store::records::Records;
use crate::store::state::joined::{self, Places};
use crate::store::state::known_file::KnownFile;
use crate::store::state::state_text::{self, Logs};

use super::{Known, SessionStates, size};

impl SessionStates {
    /// Starts a task that writes the session's file. Returns whether there is one.
    pub(super) fn write_beside(self: &Arc<Self>, session: SessionId) -> bool {
        let Some(runtime) = &self.runtime else { return false };
        let this = Arc::clone(self);
        runtime.spawn(async move {
            while let Some(text) = this.unwritten(session) {
                if let Some(sharing) = this.sharing.get() {
                    sharing.keep_state(session, &text).await;
                }
                if !this.has_folder {
                    continue;
                }
                let writer = Arc::clone(&this);
                let write = move |records: &Records| {
                    let written = writer.write(session);
                    if records.is_ended(session) {
                        writer.files.remove(session);
                    }
                    written
                };
                if this.records.beside(write).await != Some(true) {
                    // The next change tries again; the folder has said why.
                    this.stop_writing(session);
                    return;
                }
            }
        });
        true
    }

    /// Begins to write a state. Its text for other coordinators, empty where there are none; `None`
    /// ends the writing.
    fn unwritten(&self, session: SessionId) -> Option<Vec<u8>> {
        let mut known = self.known.lock();
        let state = known.sessions.get_mut(&session)?;
        if state.is_written {
            state.is_being_written = false;
            return None;
        }
        state.is_written = true;
        Some(match self.sharing.get() {
            Some(_) => state_text::written(&state.logs),
            None => Vec::new(),
        })
    }

    /// Writes the file of a session that is in memory. Whether it is written.
    fn write(&self, session: SessionId) -> bool {
        let mut new = None;
        let written = self.files.rewrite(session, |found| {
            let (text, places) = self.joined(session, found)?;
            let sealed = self.keys.seal_record(session, text)?;
            new = Some(KnownFile::with(&sealed, places));
            Some(sealed)
        });
        // What was not written is joined once more the next time.
        let Some(file) = new.filter(|_| written.is_ok()) else { return false };
        if let Some(state) = self.known.lock().sessions.get_mut(&session) {
            state.file = file;
        }
        true
    }

    /// The text of a session that is in memory, joined with what another process has written, and
    /// how far its logs are.
    fn joined(&self, session: SessionId, found: Option<Vec<u8>>) -> Option<(Vec<u8>, Places)> {
        let is_another = |known: &Known, found: &[u8]| {
            known.sessions.get(&session).is_some_and(|state| !state.file.is(found))
        };
        let found = found.filter(|found| is_another(&self.known.lock(), found));
        let found = found.map(|found| self.opened(session, &found));
        let mut known = self.known.lock();
        let known = &mut *known;
        let state = known.sessions.get_mut(&session)?;
        if let Some(found) = found {
            let own = std::mem::take(&mut state.logs);
            state.logs = joined::join(own, &state.file.places, found);
            let before = std::mem::replace(&mut state.size, size(&state.logs));
            known.bytes = (known.bytes + state.size).saturating_sub(before);
        }
        Some((state_text::written(&state.logs), joined::places(&state.logs)))
    }

    /// What a sealed file holds; nothing if it cannot be read.
    pub(super) fn opened(&self, session: SessionId, sealed: &[u8]) -> Logs {
        let text = self.keys.open_record(session, sealed);
        text.and_then(|text| state_text::read(&text)).unwrap_or_else(|| {
            let session = session.short();
            tracing::warn!(session = %session, "the kept state of the session cannot be read");
            Logs::new()
        })
    }

    fn stop_writing(&self, session: SessionId) {
        if let Some(state) = self.known.lock().sessions.get_mut(&session) {
            (state.is_written, state.is_being_written) = (false, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{count, keep, states};
    use super::*;
    use crate::store::DataFolder;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_process_that_ends_does_not_write_over_the_next_one() {
        let path = std::env::temp_dir().join(format!("mooring-states-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let session = SessionId::mint();
        let before = states(folder.clone(), b"key");
        before.load(session).await;
        keep(&before, session, "first");
        before.written(PATIENCE).await;
        let next = states(folder.clone(), b"key");
        next.load(session).await;
        keep(&next, session, "the next one's");
        next.written(PATIENCE).await;
        // A call that was under way when the session went on.
        keep(&before, session, "late");
        before.written(PATIENCE).await;
        let reader = states(folder.clone(), b"key");
        reader.load(session).await;
        assert_eq!(count(&reader, session), Some(3));
        keep(&next, session, "more");
        next.written(PATIENCE).await;
        assert_eq!(count(&next, session), Some(4));
        let reader = states(folder, b"key");
        reader.load(session).await;
        assert_eq!(count(&reader, session), Some(4));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_with_the_next_change() {
        let path = std::env::temp_dir().join(format!("mooring-states-{}", SessionId::mint()));
        let folder = DataFolder::open(&path).unwrap();
        let session = SessionId::mint();
        let own = states(folder.clone(), b"key");
        own.load(session).await;
        keep(&own, session, "first");
        own.written(PATIENCE).await;
        // A folder in the place of the lock's file, with something in it.
        let lock = path.join("lock");
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir_all(lock.join("x")).unwrap();
        keep(&own, session, "second");
        own.written(PATIENCE).await;
        std::fs::remove_dir_all(&lock).unwrap();
        keep(&own, session, "third");
        own.written(PATIENCE).await;
        let reader = states(folder, b"key");
        reader.load(session).await;
        assert_eq!(count(&reader, session), Some(3));
        std::fs::remove_dir_all(path).unwrap();
    }
}
