//! Which file is read, and its text. Nothing below this module opens a file or
//! looks at the environment by itself.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::finding::Report;

/// The name that is looked for in folders.
pub const FILE_NAME: &str = "mcp_settings.json";

/// Far above any settings file; keeps `--config /dev/zero` from filling memory.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where a configuration may come from.
#[derive(Clone)]
pub struct Sources<'a> {
    /// `--config`: a file, or a folder that holds `mcp_settings.json`.
    pub explicit: Option<PathBuf>,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Relative paths start here.
    pub cwd: PathBuf,
    /// `--allow-open`: access rules that are not built are warnings.
    pub allow_open: bool,
}

impl Sources<'_> {
    /// A variable's value; an empty one counts as unset.
    pub(in crate::config) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

/// The text to read, and what to call it.
pub(in crate::config) struct Settings {
    /// The file as the operator would name it.
    pub label: String,
    /// `None` if there is no file at all.
    pub path: Option<PathBuf>,
    pub text: String,
}

/// `--config`, then `MCPHUB_SETTING_PATH`, then the working directory. A path
/// that was named must exist; the one in the working directory need not.
pub(in crate::config) fn read(sources: &Sources<'_>) -> Result<Settings, Report> {
    let from_variable = sources.variable("MCPHUB_SETTING_PATH").map(PathBuf::from);
    if let Some(named) = sources.explicit.clone().or(from_variable) {
        return open(&named, &sources.cwd);
    }
    let here = Path::new(FILE_NAME);
    match File::open(sources.cwd.join(here)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(Settings { label: FILE_NAME.to_owned(), path: None, text: String::new() })
        }
        _ => open(here, &sources.cwd),
    }
}

fn open(named: &Path, cwd: &Path) -> Result<Settings, Report> {
    let named = if cwd.join(named).is_dir() { folder(named, cwd)? } else { named.to_owned() };
    let label = named.display().to_string();
    let path = cwd.join(&named);
    let bytes = bytes(&path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        Report::of(&label, message, "check the path and its permissions")
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(Report::of(&label, message, "is this the right file?"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("is not UTF-8 text: byte {at} is out of place");
        Report::of(&label, message, "save it as UTF-8")
    })?;
    Ok(Settings { label, path: Some(path), text })
}

/// The settings file of a folder. Docker makes a folder of the file's own name
/// when it is told to mount a file that does not exist, so that one is named.
fn folder(named: &Path, cwd: &Path) -> Result<PathBuf, Report> {
    let inside = named.join(FILE_NAME);
    if cwd.join(&inside).is_file() {
        return Ok(inside);
    }
    Err(Report::of(
        &named.display().to_string(),
        format!("is a folder without a {FILE_NAME}"),
        "Docker creates a folder when a mounted file is missing: check the mount",
    ))
}

fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
