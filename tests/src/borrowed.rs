//! Programs installed by `tests/witness/setup.sh`: SDKs, the conformance suite, the MCP Inspector
//! and real servers.
//!
//! A test whose programs are missing is skipped, and reports that in one line, on stderr and in the
//! file named by `MOORING_TEST_SKIPS`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder that setup.sh was called with.
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("MOORING_WITNESS_DIR") {
        return folder.into();
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => cache.into(),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
    };
    cache.join("mooring/witness")
}

/// The path of an installed program's starter, by its name in `bin`.
pub fn starter(name: &str) -> PathBuf {
    folder().join("bin").join(name)
}

/// Whether all of `keys` of `have.json` are installed; if not, reports that `what` is skipped.
pub fn at_hand(what: &str, keys: &[&str]) -> bool {
    let reason = match installed() {
        Err(reason) => reason,
        Ok(have) => match keys.iter().find(|key| have[**key] != true) {
            None => return true,
            Some(key) => format!("{key} is not installed, tests/witness/setup.sh says why"),
        },
    };
    skip(what, &reason);
    false
}

/// Reports that `what` is not tested here.
pub fn skip(what: &str, reason: &str) {
    let line = format!("skipped: {what}: {reason}");
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("MOORING_TEST_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// The full path of a program on this machine's `PATH`.
pub fn on_the_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn installed() -> Result<Value, String> {
    let file = folder().join("have.json");
    let text = std::fs::read_to_string(&file)
        .map_err(|_| "tests/witness/setup.sh has not been run".to_owned())?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}
