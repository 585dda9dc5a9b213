//! The verbatim server with answers of the test's own, and what it was told.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deadline::eventually;

/// A folder that every process of the server reads its answers from.
pub struct Canned {
    folder: TempDir,
}

impl Default for Canned {
    fn default() -> Self {
        Self::new()
    }
}

impl Canned {
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("mooring-canned-").tempdir();
        Self { folder: folder.expect("a folder") }
    }

    /// A server with these capabilities.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Value) -> Self {
        self.answers(
            "initialize",
            json!({
                "protocolVersion": "2025-11-25",
                "capabilities": capabilities,
                "serverInfo": {"name": "canned", "version": "1"},
            }),
        )
    }

    /// The result of a method, from now on.
    #[must_use]
    pub fn answers(self, method: &str, result: Value) -> Self {
        self.answer(method, &result);
        self
    }

    /// The same for a server that runs already; a process's id behind the method makes it that
    /// process's alone.
    pub fn answer(&self, method: &str, result: &Value) {
        let path = self.folder.path().join(method.replace('/', "."));
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, result.to_string()).expect("the answer");
        std::fs::rename(&draft, &path).expect("the answer");
    }

    /// What one process says before its answers to a method, from now on.
    pub fn says_first(&self, pid: u32, method: &str, message: &Value) {
        self.answer(&format!("{method}.first.{pid}"), message);
    }

    /// An entry of `mcpServers`.
    #[must_use]
    pub fn entry(&self) -> Value {
        json!({
            "command": "mooring-verbatim-server",
            "args": ["stdio"],
            "env": {"MOORING_CANNED": self.folder.path()},
        })
    }

    /// Every message that a process of the server was sent, with the process.
    #[must_use]
    pub fn told(&self) -> Vec<(u32, Value)> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter_map(|(pid, message)| {
                Some((pid.parse().ok()?, serde_json::from_str(message).ok()?))
            })
            .collect()
    }

    /// Waits for a message.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_meant: impl Fn(u32, &Value) -> bool) -> (u32, Value) {
        eventually(what, || self.told().into_iter().find(|(pid, told)| is_meant(*pid, told)))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}
