//! Where the lines of a log go.

use std::path::PathBuf;

/// Where the lines of a log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    File {
        path: PathBuf,
        /// Bytes of the file, after which another one is begun.
        most: u64,
        /// How many full files are kept: `path.1` is the newest.
        keep: u32,
    },
}
