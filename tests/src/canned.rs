//! The verbatim server with answers that a test sets, and the messages that it has received.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deadline::eventually;

/// The folder from which every process of the server reads its answers.
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

    /// Sets the server's capabilities.
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

    /// Sets the result of a method.
    #[must_use]
    pub fn answers(self, method: &str, result: Value) -> Self {
        self.answer(method, &result);
        self
    }

    /// Like `answers`, for a server that runs already. `method.<pid>` sets it for one process only.
    pub fn answer(&self, method: &str, result: &Value) {
        let path = self.folder.path().join(method.replace('/', "."));
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, result.to_string()).expect("the answer");
        std::fs::rename(&draft, &path).expect("the answer");
    }

    /// Sets the message that one process sends before each answer to a method.
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

    /// All lines that the server's processes have received, as they came, each behind the process
    /// id.
    #[must_use]
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// Every message that the server's processes have received, with the process id.
    #[must_use]
    pub fn told(&self) -> Vec<(u32, Value)> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        // The last line may be incomplete.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter_map(|(pid, message)| {
                Some((pid.parse().ok()?, serde_json::from_str(message).ok()?))
            })
            .collect()
    }

    /// Waits for a received message.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_meant: impl Fn(u32, &Value) -> bool) -> (u32, Value) {
        eventually(what, || self.told().into_iter().find(|(pid, told)| is_meant(*pid, told)))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}
