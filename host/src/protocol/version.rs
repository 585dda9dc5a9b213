//! Protocol revisions that have sessions.

use std::fmt;

/// In the order of their dates. The discriminant is what a session id keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    V2024_11_05 = 1,
    V2025_03_26 = 2,
    V2025_06_18 = 3,
    V2025_11_25 = 4,
}

impl Version {
    pub const LATEST: Self = Self::V2025_11_25;
    /// Assumed where a request says nothing (2025-11-25, basic/transports,
    /// "Protocol Version Header").
    pub const ASSUMED: Self = Self::V2025_03_26;
    const ALL: [Self; 4] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|version| *version as u8 == byte)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// What a server answers to a requested revision: the same if it knows it,
    /// else its latest (2025-11-25, basic/lifecycle, "Version Negotiation").
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
