//! What a client has set at one server, within bounds.

use std::collections::BTreeSet;

use crate::protocol::log_level::LogLevel;
use crate::seam::SettingChange;

/// Subscriptions of one session that are reported to a coordinator; further ones are
/// not remembered here.
const MAX_SUBSCRIPTIONS: usize = 1000;
/// Bytes of all their URIs.
const MAX_BYTES: usize = 64 << 10;

/// What the client has set at this server. A new instance would need the same.
#[derive(Default)]
pub(super) struct ClientSettings {
    level: Option<LogLevel>,
    subscriptions: BTreeSet<String>,
}

impl ClientSettings {
    fn has_room_for(&self, uri: &str) -> bool {
        let bytes: usize = self.subscriptions.iter().map(String::len).sum();
        self.subscriptions.len() < MAX_SUBSCRIPTIONS && bytes + uri.len() <= MAX_BYTES
    }

    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    pub fn remember(&mut self, note: &SettingChange) {
        match note {
            SettingChange::Level(level) => self.level = Some(*level),
            SettingChange::Subscribed(uri) if self.has_room_for(uri) => {
                self.subscriptions.insert(uri.clone());
            }
            SettingChange::Subscribed(_) => {}
            SettingChange::Unsubscribed(uri) => {
                self.subscriptions.remove(uri);
            }
        }
    }

    /// The log level, and the URIs of the resources subscribed to.
    pub fn all(&self) -> (Option<LogLevel>, Vec<String>) {
        (self.level, self.subscriptions.iter().cloned().collect())
    }
}
