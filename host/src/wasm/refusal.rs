//! Why a plugin was not admitted, in words for whoever runs the gateway: what
//! is wrong, where, and what to do about it.

use std::fmt;
use std::io;

use thiserror::Error;

use super::plugin::Unready;

/// A plugin that was refused. The one before it, if any, still serves.
#[derive(Debug, Error)]
#[error("strategy \"{plugin}\": {refusal}")]
pub struct AdmissionError {
    /// As the settings file names it.
    pub plugin: String,
    pub refusal: Refusal,
}

#[derive(Debug, Error)]
pub enum Refusal {
    #[error(
        "cannot be read: {0}. It is neither a built-in strategy (consistent-hash, cookie, header) \
         nor the path of a component"
    )]
    Unreadable(io::Error),

    #[error("is {size} bytes, more than the {limit} allowed; strip it, or build it for size")]
    TooLarge { size: u64, limit: u64 },

    #[error("is {0}")]
    NotAComponent(Kind),

    #[error("is not a valid component: {0}")]
    Invalid(String),

    #[error(
        "needs more than a routing plugin gets ({0}). The limit is 16 MiB of memory; with wasm-ld \
         a smaller stack may do: -z stack-size=65536"
    )]
    OverLimit(String),

    #[error(
        "does not export `{wanted}`, but {found}. Build it for the world `plugin` of \
         wit/routing.wit"
    )]
    WrongWorld { wanted: &'static str, found: String },

    #[error(
        "imports {0}, which a routing plugin does not get. Remove what calls it; allowed are \
         mooring:routing/types and mooring:routing/log"
    )]
    ForbiddenImports(String),

    #[error(
        "imports {0}. Build it without WASI (target wasm32-unknown-unknown), or allow the \
         sandbox, in which WASI exists but reaches nothing"
    )]
    NeedsWasi(String),

    #[error("does not fit wit/routing.wit: {0}")]
    Mismatch(String),

    /// Started, and then failed or refused.
    #[error("{0}")]
    Unready(String),

    #[error("asks for {0}")]
    Plan(String),

    #[error("fails its trial: {0}")]
    Trial(String),

    #[error("cannot be run on this machine: {0}")]
    Host(String),
}

impl Refusal {
    pub(super) fn host(error: impl fmt::Display) -> Self {
        Self::Host(format!("{error:#}"))
    }
}

impl From<Unready> for Refusal {
    fn from(unready: Unready) -> Self {
        Self::Unready(unready.to_string())
    }
}

/// What a file is instead of a component, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Component,
    CoreModule,
    Precompiled,
    Text,
    Unknown,
}

impl Kind {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0, b'a', b's', b'm', _, 0, 1, 0, ..] => Self::Component,
            [0, b'a', b's', b'm', ..] => Self::CoreModule,
            [0x7f, b'E', b'L', b'F', ..] => Self::Precompiled,
            _ if is_text(bytes) => Self::Text,
            _ => Self::Unknown,
        }
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let trimmed = bytes.trim_ascii_start();
    trimmed.starts_with(b"(") || trimmed.starts_with(b";;")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Component => "a component",
            Self::CoreModule => {
                "a core module, not a component. Link it with wasm-component-ld, or run \
                 `wasm-tools component new` over it"
            }
            Self::Precompiled => {
                "precompiled native code, which is never accepted. Give the .wasm that it was \
                 made from"
            }
            Self::Text => "WebAssembly text. Run `wasm-tools parse` over it",
            Self::Unknown => "not WebAssembly",
        })
    }
}
