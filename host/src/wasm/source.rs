//! Where a strategy's component comes from.

use std::fmt;
use std::path::{Path, PathBuf};

/// A strategy that ships inside the binary: an ordinary component, built
/// beforehand by `plugins/build.sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// By a hash of the session's id; the default.
    ConsistentHash,
    /// By the node that the client's cookie names.
    Cookie,
    /// By the node that a request header names.
    Header,
}

impl Builtin {
    /// For looking one up by its name.
    pub const ALL: [Self; 3] = [Self::ConsistentHash, Self::Cookie, Self::Header];

    /// As `stickySession.strategy` of the settings file spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsistentHash => "consistent-hash",
            Self::Cookie => "cookie",
            Self::Header => "header",
        }
    }

    /// The component as a file contains it; it passes admission like any other.
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

/// What to load a strategy from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A component inside the binary.
    Builtin(Builtin),
    /// A component in a file, read at each load. A relative path counts from the
    /// working directory.
    File(PathBuf),
}

impl Source {
    /// Reads `stickySession.strategy` of the settings file: the name of a built-in
    /// strategy, else the path of a component. The file need not exist yet.
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
