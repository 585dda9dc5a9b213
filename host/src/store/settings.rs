//! What the client of a session has set, and what it has yet to be told, as coordinators share it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::ServerName;
use crate::protocol::log_level::LogLevel;
use crate::protocol::objects::object_only;

use super::record::Record;

/// The version of the text. A later one is not read.
const VERSION: u32 = 1;
/// Bytes of the text: 64 KiB of URIs, each escaped at worst.
const MAX_TEXT: usize = 1 << 20;
/// Entries of each kind.
const MAX_ENTRIES: usize = 1000;

/// What a new instance of a session's server has to be told again, and its client at its next
/// stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSettings {
    pub level: Option<LogLevel>,
    pub subscriptions: Vec<(ServerName, Arc<str>)>,
    pub losses: Vec<ServerName>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct SettingsText {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscriptions: Vec<(String, Arc<str>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    losses: Vec<String>,
}
object_only!(both SettingsText);

impl SessionSettings {
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self {
            level: record.log_level,
            subscriptions: record.subscriptions.clone(),
            losses: record.unreported_losses.clone(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    #[must_use]
    pub fn has(&self, server: &ServerName, uri: &str) -> bool {
        self.subscriptions.iter().any(|(name, known)| name == server && **known == *uri)
    }

    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let subscriptions = self.subscriptions.iter();
        let text = SettingsText {
            version: VERSION,
            level: self.level.map(LogLevel::json),
            subscriptions: subscriptions
                .map(|(name, uri)| (name.to_string(), uri.clone()))
                .collect(),
            losses: self.losses.iter().map(ToString::to_string).collect(),
        };
        serde_json::to_vec(&text).unwrap_or_default()
    }

    /// `None` for anything else. What is not valid in it is left out.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = Some(text).filter(|text| text.len() <= MAX_TEXT)?;
        let text: SettingsText = serde_json::from_slice(text).ok()?;
        let name = |name: &String| ServerName::parse(name).ok();
        (text.version == VERSION).then(|| Self {
            level: text.level.as_deref().and_then(LogLevel::of_json),
            subscriptions: text
                .subscriptions
                .iter()
                .take(MAX_ENTRIES)
                .filter_map(|(server, uri)| Some((name(server)?, uri.clone())))
                .collect(),
            losses: text.losses.iter().take(MAX_ENTRIES).filter_map(name).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_and_what_is_not_valid_is_left_out() {
        let server = ServerName::parse("a").unwrap();
        let settings = SessionSettings {
            level: LogLevel::of_json("\"error\""),
            subscriptions: vec![(server.clone(), "file:///\"x".into())],
            losses: vec![server],
        };
        assert!(settings.level.is_some());
        assert_eq!(SessionSettings::read(&settings.text()), Some(settings));
        assert_eq!(SessionSettings::read(b"{\"version\":1}"), Some(SessionSettings::default()));
        let odd = br#"{"version":1,"level":"\"loud\"","subscriptions":[["","u"]],"losses":["\n"]}"#;
        assert_eq!(SessionSettings::read(odd), Some(SessionSettings::default()));
        for text in [&b""[..], b"[1]", b"{\"version\":2}", b"{\"version\":1,\"losses\":7}"] {
            assert_eq!(SessionSettings::read(text), None);
        }
    }
}
