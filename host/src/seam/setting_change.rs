//! What a request has set in its session, and what a new instance must therefore receive again.
//! The runner makes the note, since the edge does not read the messages that it passes.

use http::header::{HeaderMap, HeaderValue};

use crate::protocol::headers::seam;
use crate::protocol::log_level::LogLevel;

use super::facts::is_unmarked;

/// One setting of a session, in the response to the request that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingChange {
    /// `logging/setLevel`: the level.
    Level(LogLevel),
    /// `resources/subscribe`: the URI.
    Subscribed(String),
    /// `resources/unsubscribe`: the URI.
    Unsubscribed(String),
}

impl SettingChange {
    /// Sets the header that carries the note to the edge.
    pub fn write(&self, headers: &mut HeaderMap) {
        let (kind, value) = match self {
            // As JSON, as processes of earlier versions expect it.
            Self::Level(level) => ("level", &level.json()),
            Self::Subscribed(uri) => ("subscribed", uri),
            Self::Unsubscribed(uri) => ("unsubscribed", uri),
        };
        let text = format!("{kind} {}", crate::net::percent_encoded(value));
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(seam::NOTE, value);
        }
    }

    /// `None` if the response carries no note, or an invalid one.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        if is_unmarked(headers) {
            return None;
        }
        let (kind, value) = headers.get(seam::NOTE)?.to_str().ok()?.split_once(' ')?;
        let value = crate::net::percent_decoded(value)?;
        match kind {
            "level" => LogLevel::of_json(&value).map(Self::Level),
            "subscribed" => Some(Self::Subscribed(value)),
            "unsubscribed" => Some(Self::Unsubscribed(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_the_way() {
        for note in [
            SettingChange::Level(LogLevel::parse("debug").unwrap()),
            SettingChange::Subscribed("file:///a b/\u{e4}".into()),
            SettingChange::Unsubscribed(String::new()),
        ] {
            let mut headers = HeaderMap::new();
            note.write(&mut headers);
            assert_eq!(SettingChange::read(&headers), Some(note));
        }
    }
}
