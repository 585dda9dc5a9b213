//! Log levels (server/utilities/logging, "Log Levels": those of RFC 5424).

/// What a client may set with `logging/setLevel`.
///
/// A level travels from one session's message into others: to a new instance, and between nodes.
/// As a value of this type it can be nothing but one of eight words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(&'static str);

impl LogLevel {
    /// The names of all levels, from the most to the least talkative.
    pub const NAMES: [&'static str; 8] =
        ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

    /// The level with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|known| *known == name).map(Self)
    }

    /// Its place among all levels: the higher, the more severe.
    #[must_use]
    pub fn rank(self) -> usize {
        Self::NAMES.iter().position(|name| *name == self.0).unwrap_or_default()
    }

    /// The level that a JSON string names, quotes included, as nodes write it to each other.
    #[must_use]
    pub fn of_json(json: &str) -> Option<Self> {
        Self::parse(json.strip_prefix('"')?.strip_suffix('"')?)
    }

    /// The inverse of [`Self::of_json`].
    #[must_use]
    pub fn json(self) -> String {
        format!("\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_eight_words() {
        for name in LogLevel::NAMES {
            let level = LogLevel::parse(name).unwrap();
            assert_eq!(LogLevel::of_json(&level.json()), Some(level));
        }
        let rank = |name| LogLevel::parse(name).unwrap().rank();
        assert!(rank("debug") < rank("info") && rank("error") < rank("emergency"));
        for text in ["", "Debug", "debug ", "trace", "debug\",\"x\":\"y"] {
            assert_eq!(LogLevel::parse(text), None, "{text}");
            assert_eq!(LogLevel::of_json(&format!("\"{text}\"")), None, "{text}");
        }
        assert_eq!(LogLevel::of_json("debug"), None);
        assert_eq!(LogLevel::of_json("\""), None);
    }
}
