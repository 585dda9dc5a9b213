//! The signals that end the process.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP.
pub struct EndSignals([Signal; 3]);

impl EndSignals {
    /// Watches for them from now on.
    ///
    /// # Errors
    /// If the system does not let this process watch.
    pub fn watch() -> anyhow::Result<Self> {
        let watched = |kind, name| signal(kind).with_context(|| format!("cannot watch for {name}"));
        Ok(Self([
            watched(SignalKind::terminate(), "SIGTERM")?,
            watched(SignalKind::interrupt(), "SIGINT")?,
            // Sent when the terminal closes: without a handler the process would end at once.
            watched(SignalKind::hangup(), "SIGHUP")?,
        ]))
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        let [terminate, interrupt, hang_up] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}
