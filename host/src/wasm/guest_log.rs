//! Log lines of plugins, limited in length and rate.

use std::time::Instant;

use super::bindings::log::Level;
use super::guest_text::plain;
use super::line_rate::LineRate;

/// Bytes of one line; a longer one is cut, as `wit/routing.wit` says.
const LINE_BYTES: usize = 200;

/// Shared by all instances of a plugin.
pub(super) struct GuestLog {
    plugin: String,
    rate: LineRate,
}

impl GuestLog {
    pub(super) fn new(plugin: impl Into<String>) -> Self {
        Self { plugin: plugin.into(), rate: LineRate::new(Instant::now()) }
    }

    pub(super) fn line(&self, level: Level, message: &str) {
        let plugin = self.plugin.as_str();
        let Some(dropped) = self.rate.admit(Instant::now()) else {
            return;
        };
        if dropped > 0 {
            tracing::warn!(plugin, dropped, "the plugin logs too much; lines were dropped");
        }
        let message = plain(message, LINE_BYTES);
        match level {
            Level::Debug => tracing::debug!(plugin, "{message}"),
            Level::Info => tracing::info!(plugin, "{message}"),
            Level::Warn => tracing::warn!(plugin, "{message}"),
            Level::Error => tracing::error!(plugin, "{message}"),
        }
    }
}
