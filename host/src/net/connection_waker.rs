//! What wakes the task of a client's connection.
//!
//! Whenever a piece of a request's body is taken, hyper wakes the task that reads the connection, to
//! read on. That is the task which takes the piece. It would be polled once more for every call, with
//! all that waits in it, although most bodies have come with their heads and nothing is left to read.
//! So a connection is polled with a waker of its own, and what is woken while a piece is taken counts
//! only if there is more to come.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

thread_local! {
    /// Whether this thread takes a piece of a body, and whether it was to wake a connection meanwhile.
    static TAKING: Cell<Taking> = const { Cell::new(Taking::No) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    No,
    Quietly,
    Woken,
}

/// The waker of one connection.
pub struct ConnectionWaker {
    task: Arc<Task>,
    waker: Waker,
}

/// The task that serves the connection.
#[derive(Default)]
struct Task(AtomicWaker);

impl Default for ConnectionWaker {
    fn default() -> Self {
        let task = Arc::<Task>::default();
        Self { waker: Waker::from(Arc::clone(&task)), task }
    }
}

impl ConnectionWaker {
    /// The context to poll the connection with, within its task.
    pub fn context(&self, task: &Context<'_>) -> Context<'_> {
        // Before anything can be woken: a task that was woken already is polled again.
        self.task.0.register(task.waker());
        Context::from_waker(&self.waker)
    }

    /// Wakes the task.
    pub fn wake(&self) {
        self.task.0.wake();
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Other threads have other reasons: theirs is not the thread that takes the piece.
        match TAKING.get() {
            Taking::No => self.0.wake(),
            Taking::Quietly | Taking::Woken => TAKING.set(Taking::Woken),
        }
    }
}

/// Takes a piece of a body. Returns with it whether its connection was to be woken, and was not.
pub(super) fn taking<T>(take: impl FnOnce() -> T) -> (T, bool) {
    TAKING.set(Taking::Quietly);
    let taken = take();
    (taken, TAKING.replace(Taking::No) == Taking::Woken)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_the_thread_that_takes_a_piece_wakes_nobody() {
        let (woken, connection) = (Arc::new(Woken::default()), ConnectionWaker::default());
        let task = Waker::from(Arc::clone(&woken));
        let count = || woken.0.load(Ordering::Relaxed);
        let waker = connection.context(&Context::from_waker(&task)).waker().clone();
        assert_eq!(taking(|| waker.wake_by_ref()), ((), true));
        assert_eq!(taking(|| ()), ((), false));
        assert_eq!(count(), 0);
        let other = waker.clone();
        let elsewhere = || std::thread::spawn(move || other.wake()).join().unwrap();
        assert_eq!(taking(elsewhere), ((), false));
        assert_eq!(count(), 1);
        // It is polled again, and with that can be woken again.
        let _ = connection.context(&Context::from_waker(&task));
        waker.wake();
        assert_eq!(count(), 2);
    }
}
