use tokio::sync::watch;

/// An event that happens once, such as the start of a shutdown. Every watcher sees it, even one
/// created afterwards.
///
/// Dropping a signal counts as raising it: a task that waits for the end of something must not
/// outlive it.
#[derive(Debug)]
pub struct Signal(watch::Sender<bool>);

impl Default for Signal {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Signal {
    /// Raises the signal, for good.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }

    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    #[must_use]
    pub fn watch(&self) -> Watcher {
        Watcher(self.0.subscribe())
    }
}

/// Waits for a [`Signal`]. Clones wait for the same one.
#[derive(Debug, Clone)]
pub struct Watcher(watch::Receiver<bool>);

impl Watcher {
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the signal is raised or dropped; at once if it already is. Cancel-safe.
    pub async fn raised(&mut self) {
        let _ = self.0.wait_for(|raised| *raised).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(watcher: &mut Watcher) -> bool {
        pin!(watcher.raised()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn watchers_of_before_and_after_hear_of_it() {
        let signal = Signal::default();
        let mut before = signal.watch();
        assert!(!is_ready(&mut before));
        signal.raise();
        assert!(is_ready(&mut before) && is_ready(&mut signal.watch()));
        assert!(signal.is_raised() && before.is_raised());
    }

    #[test]
    fn a_signal_that_is_gone_counts_as_raised() {
        let signal = Signal::default();
        let mut watcher = signal.watch();
        drop(signal);
        assert!(is_ready(&mut watcher));
    }
}
