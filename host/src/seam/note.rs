//! What a request has set in its session, and a new instance would have to be
//! told again. The host reads it, since the edge reads no bytes that it passes.

use http::header::{HeaderMap, HeaderValue};

use crate::protocol::headers::seam;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The log level, as JSON.
    Level(String),
    Subscribed(String),
    Unsubscribed(String),
}

impl Note {
    pub fn write(&self, headers: &mut HeaderMap) {
        let (kind, value) = match self {
            Self::Level(level) => ("level", level),
            Self::Subscribed(uri) => ("subscribed", uri),
            Self::Unsubscribed(uri) => ("unsubscribed", uri),
        };
        let text = format!("{kind} {}", crate::net::percent_encoded(value));
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(seam::NOTE, value);
        }
    }

    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let (kind, value) = headers.get(seam::NOTE)?.to_str().ok()?.split_once(' ')?;
        let value = crate::net::percent_decoded(value)?;
        match kind {
            "level" => Some(Self::Level(value)),
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
            Note::Level("\"debug\"".into()),
            Note::Subscribed("file:///a b/\u{e4}".into()),
            Note::Unsubscribed(String::new()),
        ] {
            let mut headers = HeaderMap::new();
            note.write(&mut headers);
            assert_eq!(Note::read(&headers), Some(note));
        }
    }
}
