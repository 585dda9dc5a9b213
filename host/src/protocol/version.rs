//! The revisions of MCP that have sessions.

use std::fmt;

/// A revision of MCP, ordered by date. Session ids store the discriminant, so it must not
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// The first one, with HTTP+SSE as its transport.
    V2024_11_05 = 1,
    /// Brings Streamable HTTP, and batches.
    V2025_03_26 = 2,
    /// Drops batches; brings the `MCP-Protocol-Version` header.
    V2025_06_18 = 3,
    /// Brings tasks, and event streams that begin with an id.
    V2025_11_25 = 4,
}

impl Version {
    /// The newest one: what the gateway asks servers for, and offers to a client that asks for an
    /// unknown revision.
    pub const LATEST: Self = Self::V2025_11_25;
    /// Assumed for a request without the header (2025-11-25, basic/transports,
    /// "Protocol Version Header").
    pub const ASSUMED: Self = Self::V2025_03_26;
    /// All that are known here, the oldest first.
    pub const ALL: [Self; 4] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    /// The revision with this date; `None` for a revision that is unknown here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The revision with this discriminant.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|version| *version as u8 == byte)
    }

    /// The date, as `protocolVersion` carries it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// The newest one that is not later than this revision, whether that is known here or not; the
    /// oldest if all are later.
    #[must_use]
    pub fn at_or_before(revision: &str) -> Self {
        let known = Self::ALL.into_iter().rev().find(|known| known.as_str() <= revision);
        known.unwrap_or(Self::V2024_11_05)
    }

    /// Whether a revision is later than all that have sessions, or no date at all.
    #[must_use]
    pub fn is_later(revision: &str) -> bool {
        revision > Self::LATEST.as_str()
    }

    /// Whether a server may be asked for this revision: one with a date up to the newest that has
    /// sessions, known here or not.
    #[must_use]
    pub fn may_be_asked_for(text: &str) -> bool {
        let is_date = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        is_date && text <= Self::LATEST.as_str()
    }

    /// The revision that a server answers to a requested one: the same if it supports it,
    /// otherwise its latest (2025-11-25, basic/lifecycle, "Version Negotiation").
    #[must_use]
    pub fn negotiate(requested: &str) -> Self {
        Self::parse(requested).unwrap_or(Self::LATEST)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_for_no_later_revision_and_for_no_other_text() {
        for text in ["2025-11-25", "2025-06-18", "2024-11-05", "2024-10-07", "1999-01-01"] {
            assert!(Version::may_be_asked_for(text), "{text}");
        }
        for text in ["2025-11-26", "2026-07-28", "9999-99-99", "", "1.0", "2025-11-2", "2024-11-5x"]
        {
            assert!(!Version::may_be_asked_for(text), "{text}");
        }
    }
}
