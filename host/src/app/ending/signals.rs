//! The signals that end the process, and the one that has it read its settings again.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub struct EndSignals([Signal; 2]);

impl EndSignals {
    /// Watches for them from now on.
    ///
    /// # Errors
    /// If the system does not let this process watch.
    pub fn watch() -> anyhow::Result<Self> {
        Ok(Self([
            watched(SignalKind::terminate(), "SIGTERM")?,
            watched(SignalKind::interrupt(), "SIGINT")?,
        ]))
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// SIGHUP. It is also sent when the terminal closes, which ends nothing.
pub struct HangUp(Signal);

impl HangUp {
    /// Watches for it from now on.
    ///
    /// # Errors
    /// If the system does not let this process watch.
    pub fn watch() -> anyhow::Result<Self> {
        Ok(Self(watched(SignalKind::hangup(), "SIGHUP")?))
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn watched(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("cannot watch for {name}"))
}
