//! Work that blocks.

/// Does work that blocks on a thread of its own. `None` if it panicked.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[cfg(test)]
    if AT_ONCE.get() {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
thread_local! {
    static AT_ONCE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether this thread does such work itself: in a simulation nothing may depend on threads.
#[cfg(test)]
pub fn do_at_once(at_once: bool) {
    AT_ONCE.set(at_once);
}
