//! Secrets in files of their own: `MOORING_SECRET_FILE` instead of `MOORING_SECRET`, and likewise.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::finding::Notes;
use super::source::Sources;

/// The variables that may name a file instead, with `_FILE` after their name.
pub const SECRETS: [&str; 4] =
    ["MOORING_CLUSTER_TOKEN", "MOORING_SECRET", "MOORING_KEY", "MOORING_REDIS_URL"];
/// Bytes. Keys and tokens are far shorter.
const MAX_BYTES: u64 = 16 << 10;
/// The bit of a file's mode that lets everybody read it.
const READ_BY_OTHERS: u32 = 0o004;

/// A secret of the environment.
pub(in crate::config) struct Given {
    pub text: String,
    /// The variable that it comes from, directly or by a file.
    pub variable: String,
}

/// The value of the variable, or of the file that the variable with `_FILE` names. `Ok(None)` if
/// neither is set; `Err` after a finding about the file.
pub(in crate::config) fn given(
    variable: &str,
    sources: &Sources<'_>,
    notes: &Notes<'_>,
) -> Result<Option<Given>, ()> {
    if let Some(text) = sources.variable(variable) {
        return Ok(Some(Given { text, variable: variable.to_owned() }));
    }
    let variable = format!("{variable}_FILE");
    let Some(path) = sources.variable(&variable) else { return Ok(None) };
    match read(&sources.cwd.join(path)) {
        Ok((text, is_open)) => {
            if is_open {
                let advice = "take that right away, as with chmod o-r";
                notes.warn_variable(&variable, "names a file that every user can read", advice);
            }
            Ok(Some(Given { text, variable }))
        }
        Err(problem) => {
            notes.refuse_variable(&variable, problem, "name a file that holds the secret");
            Err(())
        }
    }
}

/// The same for a program that reads no settings file.
///
/// # Errors
/// Why the file cannot be used.
pub fn secret_variable(
    variable: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(text) = set(variable) {
        return Ok(Some(text));
    }
    let variable = format!("{variable}_FILE");
    let Some(path) = set(&variable) else { return Ok(None) };
    let text = read(Path::new(&path)).map_err(|problem| format!("{variable} {problem}"))?;
    Ok(Some(text.0))
}

/// The files that are named by variables.
pub(in crate::config) fn files(sources: &Sources<'_>) -> Vec<PathBuf> {
    let named = SECRETS.iter().filter_map(|name| sources.variable(&format!("{name}_FILE")));
    named.map(|path| sources.cwd.join(path)).collect()
}

/// The text without the line break at its end, and whether everybody can read it.
fn read(path: &Path) -> Result<(String, bool), String> {
    let failed = |error: std::io::Error| format!("names {}: {error}", path.display());
    // Before it is opened, since a named pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("names {}, which is not a file", path.display()));
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("names a file of more than {} KiB", MAX_BYTES >> 10));
    }
    let text = String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8 text")?;
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(format!("names {}, which is empty", path.display()));
    }
    Ok((text.to_owned(), mode & READ_BY_OTHERS != 0))
}
