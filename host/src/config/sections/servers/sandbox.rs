//! What a child process may reach: `sandbox`.

use std::path::{Path, PathBuf};

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

/// Paths that a child process may use, and whether it may use TCP. Everything else is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Files and folders to read and execute.
    pub read: Vec<PathBuf>,
    /// Files and folders to change too.
    pub write: Vec<PathBuf>,
    pub network: bool,
}

/// Whether `sandbox` is that of VS Code, whose words mean something else. One that is switched on
/// is a finding: without it the server might do more than its owner wants.
pub(in crate::config) fn is_foreign(entry: &Section<'_>) -> bool {
    let switch = entry.get("sandboxEnabled");
    let is_on = switch.as_ref().and_then(Item::flag);
    let given = entry.get("sandbox");
    let object = given.as_ref().and_then(|item| item.value.as_object());
    let has_words = object.is_some_and(|object| {
        let network = object.get("network").is_some_and(|it| it.value.as_object().is_some());
        network || object.get("filesystem").is_some()
    });
    let has_own = object.is_some_and(|object| !object.properties.is_empty()) && !has_words;
    let item = match is_on {
        Some(false) => None,
        Some(true) => switch.filter(|_| !has_own),
        None => given.filter(|_| has_words),
    };
    if let Some(item) = item {
        item.refuse(
            "asks for the sandbox of VS Code, which is another one",
            "write \"sandbox\": { \"read\": […], \"write\": […], \"network\": false } and no other words",
        );
    }
    has_words
}

/// One path, or why the server cannot run with it.
pub(in crate::config) enum SandboxPath {
    Good(PathBuf),
    /// A mistake of the machine: the path does not exist.
    Missing(String),
}

/// Reads the section. `text` reads a text of one line, `missing` takes note of a path that does not
/// exist; `None` if there is a mistake, which is a finding then.
pub(in crate::config) fn read(
    sandbox: &Section<'_>,
    base: &Path,
    mut text: impl FnMut(&Item<'_>) -> Option<String>,
    mut missing: impl FnMut(&Item<'_>, String),
) -> Option<SandboxSettings> {
    let mut is_whole = true;
    let mut paths = |key| {
        let mut paths = Vec::new();
        for item in sandbox.items(key) {
            match text(&item).and_then(|text| path(&item, &text, base)) {
                Some(SandboxPath::Good(path)) => paths.push(path),
                Some(SandboxPath::Missing(problem)) => {
                    missing(&item, problem);
                    is_whole = false;
                }
                None => is_whole = false,
            }
        }
        paths
    };
    let (read, write) = (paths("read"), paths("write"));
    let network = sandbox.flag("network", true);
    is_whole.then_some(SandboxSettings { read, write, network })
}

fn path(item: &Item<'_>, text: &str, base: &Path) -> Option<SandboxPath> {
    if text.is_empty() {
        item.refuse("is empty", "write a path, or leave it out");
        return None;
    }
    if text == "~" || text.starts_with("~/") {
        item.refuse("begins with ~, which only a shell replaces", "write ${HOME} instead of ~");
        return None;
    }
    let path = base.join(text);
    Some(match path.exists() {
        true => SandboxPath::Good(path),
        false => SandboxPath::Missing(format!("{} does not exist", path.display())),
    })
}
