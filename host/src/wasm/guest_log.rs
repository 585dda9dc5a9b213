//! What plugins have to say, in the gateway's log: short, one line, not often.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bindings::log::Level;

/// As the contract says.
const LINE_BYTES: usize = 200;

/// All instances of a plugin together. A plugin that logs each decision must
/// not be able to fill a disk.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

pub(super) struct GuestLog {
    plugin: String,
    rate: Mutex<Rate>,
}

impl GuestLog {
    pub(super) fn new(plugin: impl Into<String>) -> Self {
        Self { plugin: plugin.into(), rate: Mutex::new(Rate::new(Instant::now())) }
    }

    pub(super) fn line(&self, level: Level, message: &str) {
        let plugin = self.plugin.as_str();
        let admitted = {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.admit(Instant::now())
        };
        let Some(dropped) = admitted else {
            return;
        };
        if dropped > 0 {
            tracing::warn!(plugin, dropped, "the plugin logs too much");
        }
        let message = one_line(message);
        match level {
            Level::Debug => tracing::debug!(plugin, "{message}"),
            Level::Info => tracing::info!(plugin, "{message}"),
            Level::Warn => tracing::warn!(plugin, "{message}"),
            Level::Error => tracing::error!(plugin, "{message}"),
        }
    }
}

/// At most [`LINES`] in a [`WINDOW`].
struct Rate {
    opened: Instant,
    lines: u32,
    dropped: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { opened: now, lines: 0, dropped: 0 }
    }

    /// Whether a line may pass, and then how many did not since the last.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.opened) >= WINDOW {
            self.opened = now;
            self.lines = 0;
        }
        if self.lines == LINES {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// Cut to the limit, and without what could forge a line or move a cursor.
fn one_line(message: &str) -> String {
    let end = message.floor_char_boundary(LINE_BYTES);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    message[..end].chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_a_character_and_stays_one_line() {
        assert_eq!(one_line("a\nb\x1b[1m"), "a b [1m");
        let cut = one_line(&"é".repeat(150));
        assert_eq!(cut.len(), LINE_BYTES);
        assert_eq!(one_line(&format!("x{}", "é".repeat(150))).len(), LINE_BYTES - 1);
    }

    #[test]
    fn a_chatty_plugin_is_silenced_until_the_window_ends_and_told_on() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for _ in 0..LINES {
            assert_eq!(rate.admit(start), Some(0));
        }
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start + WINDOW), Some(2));
        assert_eq!(rate.admit(start + WINDOW), Some(0));
    }
}
