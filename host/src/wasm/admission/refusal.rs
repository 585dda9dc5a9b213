//! Why a plugin was not admitted, worded for the operator: what is wrong, where,
//! and what to do about it.

use std::{fmt, io};

use thiserror::Error;

use crate::model::visible::visible;

use crate::wasm::plugin::Unready;

/// Bytes of what is quoted of a plugin's file.
const MOST_QUOTED: usize = 1024;

/// A plugin was refused. The previous one, if any, still serves.
#[derive(Debug, Error)]
#[error("strategy \"{plugin}\": {refusal}")]
pub struct AdmissionError {
    /// As the settings file names it.
    pub plugin: String,
    /// The first check that failed.
    pub refusal: PluginRefusal,
}

/// The check of admission that a plugin failed. `Display` continues a sentence that
/// begins with the plugin's name.
#[derive(Debug, Error)]
pub enum PluginRefusal {
    /// The file cannot be opened or read.
    #[error(
        "cannot be read: {0}. It is neither a built-in strategy (consistent-hash, cookie, header) \
         nor the path of a component"
    )]
    Unreadable(io::Error),

    /// The file is too large to be compiled, since compilation cannot be interrupted.
    #[error("is {size} bytes, more than the {limit} allowed; strip it, or build it for size")]
    TooLarge {
        /// Bytes that were read; a file is read to one byte past `limit`.
        size: u64,
        /// The most bytes that are allowed.
        limit: u64,
    },

    /// Compiling it takes more than the gateway spends on a plugin.
    #[error(
        "is too costly to compile: {0}. Build it for size, and without large generated functions"
    )]
    TooCostly(String),

    /// Its plan reads credentials of clients, and the settings do not allow it.
    #[error(
        "asks for {0}, which clients authenticate with; if it may read that, add it to \
         systemConfig.cluster.stickySession.credentials"
    )]
    ReadsCredentials(String),

    /// The file's first bytes are not those of a component.
    #[error("is {0}")]
    NotAComponent(FileKind),

    /// wasmtime cannot compile it.
    #[error("is not a valid component: {0}")]
    Invalid(String),

    /// Its static needs are above the engine's limits.
    #[error(
        "needs more than a routing plugin gets ({0}). The limit is 16 MiB of memory; with wasm-ld \
         a smaller stack may do: -z stack-size=65536"
    )]
    OverLimit(String),

    /// It does not export the interface of a strategy.
    #[error(
        "does not export `{wanted}`, but {found}. Build it for the world `plugin` of \
         wit/routing.wit"
    )]
    WrongWorld {
        /// The interface that is missing.
        wanted: &'static str,
        /// What it exports instead, separated by commas.
        found: String,
    },

    /// It imports these interfaces, which are neither the contract's nor WASI's.
    #[error(
        "imports {0}, which a routing plugin does not get. Remove what calls it; allowed are \
         mooring:routing/types, mooring:routing/conversation-types and mooring:routing/log"
    )]
    ForbiddenImports(String),

    /// It imports these WASI interfaces, and the settings do not allow the sandbox.
    #[error(
        "imports {0}. Build it without WASI (target wasm32-unknown-unknown), or allow the \
         sandbox, in which WASI exists but reaches nothing"
    )]
    NeedsWasi(String),

    /// Names match the contract, but types do not.
    #[error("does not fit wit/routing.wit: {0}")]
    Mismatch(String),

    /// It failed or refused while it was started, configured or given a topology.
    #[error("{0}")]
    Unready(String),

    /// Its plan has too many inputs or an invalid name.
    #[error("asks for {0}")]
    Plan(String),

    /// Its answers in the trial were too slow, impossible or not deterministic, or it
    /// failed there.
    #[error("fails its trial: {0}")]
    Trial(String),

    /// The gateway has no engine or thread for it, whatever the plugin.
    #[error("cannot be run on this machine: {0}")]
    Host(String),
}

impl PluginRefusal {
    pub(in crate::wasm) fn host(error: impl fmt::Display) -> Self {
        Self::Host(format!("{error:#}"))
    }

    /// What wasmtime says of a file, which may quote it.
    pub(in crate::wasm) fn quoted(error: &wasmtime::Error) -> String {
        visible(&format!("{error:#}"), MOST_QUOTED).to_string()
    }
}

impl From<Unready> for PluginRefusal {
    fn from(unready: Unready) -> Self {
        Self::Unready(unready.to_string())
    }
}

/// What a file contains, judged by its first bytes. `Display` says how to make a
/// component of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A WebAssembly component, the only kind that is admitted.
    Component,
    /// A core WebAssembly module, which has no interfaces.
    CoreModule,
    /// An ELF file: native code as wasmtime precompiles it. It would run unchecked.
    Precompiled,
    /// WebAssembly in its text format.
    Text,
    /// None of these.
    Unknown,
}

impl FileKind {
    pub(in crate::wasm) fn of(bytes: &[u8]) -> Self {
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

impl fmt::Display for FileKind {
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
