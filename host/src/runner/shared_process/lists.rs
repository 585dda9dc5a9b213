//! The lists of a shared process after they have changed: read once for all its sessions, since
//! they are the same for each.

use std::sync::Arc;

use tokio::sync::watch;

use crate::protocol::catalog::Discovered;

/// `None` if the lists are those of the catalog.
type Lists = Option<Arc<Discovered>>;

#[derive(Default)]
pub struct CommonLists {
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    changes: u32,
    /// The lists last read, and the number of changes before that.
    read: (u32, Lists),
    is_reading: bool,
}

impl CommonLists {
    /// Notes a `list_changed` notification of the process.
    pub fn note_change(&self) {
        self.state.send_modify(|state| state.changes += 1);
    }

    /// The lists after all changes until now. Runs `read` unless another session has read them
    /// since, or is reading them.
    pub async fn get(&self, read: impl Future<Output = Lists>) -> Lists {
        let mut seen = self.state.subscribe();
        let wanted = seen.borrow().changes;
        loop {
            let is_settled = |state: &State| state.read.0 >= wanted || !state.is_reading;
            if let Ok(state) = seen.wait_for(is_settled).await
                && state.read.0 >= wanted
            {
                return state.read.1.clone();
            }
            if let Some(turn) = Turn::take(&self.state) {
                return turn.done(read.await);
            }
        }
    }
}

/// Held by the session that reads. If it is dropped with its session, the next one reads.
struct Turn<'a> {
    state: &'a watch::Sender<State>,
    changes: u32,
}

impl<'a> Turn<'a> {
    fn take(state: &'a watch::Sender<State>) -> Option<Self> {
        let mut changes = None;
        state.send_if_modified(|state| {
            if !state.is_reading {
                changes = Some(state.changes);
            }
            !std::mem::replace(&mut state.is_reading, true)
        });
        Some(Self { state, changes: changes? })
    }

    fn done(self, lists: Lists) -> Lists {
        self.state.send_modify(|state| state.read = (self.changes, lists.clone()));
        lists
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.is_reading = false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn lists_are_read_once_for_each_change_however_many_ask() {
        let (lists, reads) = (CommonLists::default(), AtomicU32::new(0));
        let read = || async {
            tokio::task::yield_now().await;
            reads.fetch_add(1, Ordering::Relaxed);
            None
        };
        for change in 1..4 {
            lists.note_change();
            let asking = (0..5).map(|_| lists.get(read()));
            futures_util::future::join_all(asking).await;
            assert_eq!(reads.load(Ordering::Relaxed), change);
        }
    }

    #[tokio::test]
    async fn who_gives_up_reading_leaves_it_to_the_next() {
        let mut cx = Context::from_waker(Waker::noop());
        let lists = CommonLists::default();
        lists.note_change();
        let mut never = Box::pin(lists.get(std::future::pending()));
        assert!(never.as_mut().poll(&mut cx).is_pending());
        let mut next = Box::pin(lists.get(async { None }));
        assert!(next.as_mut().poll(&mut cx).is_pending());
        drop(never);
        assert!(next.await.is_none());
    }
}
