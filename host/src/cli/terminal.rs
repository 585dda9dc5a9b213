//! What the commands write to stdout and stderr. Everything is made visible on its way, so that no
//! text of a server, node or plugin can control the terminal.

use std::fmt::Display;
use std::io::Write as _;

use crate::model::visible::page;

/// Writes a line, or several, to stdout. A reader that has left, as `head` does, is no error.
pub fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{}", page(&text.to_string(), usize::MAX));
}

/// Writes a line, or several, to stderr.
pub fn warn(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", page(&text.to_string(), usize::MAX));
}
