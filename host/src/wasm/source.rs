//! Where a strategy's component comes from.

use std::fmt;
use std::path::{Path, PathBuf};

/// A strategy that ships inside the binary: an ordinary component, compiled
/// ahead by `plugins/build.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    ConsistentHash,
    Cookie,
    Header,
}

impl Builtin {
    pub const ALL: [Self; 3] = [Self::ConsistentHash, Self::Cookie, Self::Header];

    pub fn name(self) -> &'static str {
        match self {
            Self::ConsistentHash => "consistent-hash",
            Self::Cookie => "cookie",
            Self::Header => "header",
        }
    }

    /// The component, as a file would hold it.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::ConsistentHash => {
                include_bytes!("../../../plugins/prebuilt/consistent-hash.wasm")
            }
            Self::Cookie => include_bytes!("../../../plugins/prebuilt/cookie.wasm"),
            Self::Header => include_bytes!("../../../plugins/prebuilt/header.wasm"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Builtin(Builtin),
    File(PathBuf),
}

impl Source {
    /// `stickySession.strategy` of the settings file: the name of a built-in
    /// strategy, or the path of a component.
    pub fn parse(text: &str) -> Self {
        let builtin = Builtin::ALL.into_iter().find(|b| b.name() == text);
        match builtin {
            Some(builtin) => Self::Builtin(builtin),
            None => Self::File(Path::new(text).to_owned()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(builtin) => f.write_str(builtin.name()),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
