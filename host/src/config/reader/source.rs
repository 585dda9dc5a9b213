//! Finds the settings file and reads its text. Besides this, `secret_file`, `secret_files` and
//! `dot_env`, no part of `config` opens a file, and none reads the environment directly.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::dot_env::DotEnv;
use super::expand::Values;
use super::finding::ConfigErrors;
use super::secret_files::{SecretFiles, SecretSource};

/// Name of the settings file in a folder.
pub const FILE_NAME: &str = "mcp_settings.json";

/// Bytes of the file: far more than any settings file has, but `--config /dev/zero`
/// must not fill the memory.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The sources of a configuration: command line, environment and working directory.
#[derive(Clone)]
pub struct Sources<'a> {
    /// `--config`: a file, or a folder that holds `mcp_settings.json`.
    pub explicit: Option<PathBuf>,
    /// Returns the value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The working directory, where relative paths start.
    pub cwd: PathBuf,
    /// `--allow-open`: access rules that Mooring does not enforce are warnings.
    pub allow_open: bool,
    /// Filled in when the settings file is known.
    pub dot_env: DotEnv,
    /// Likewise.
    pub secrets: SecretFiles,
}

impl Sources<'_> {
    /// A variable's value; an empty one counts as unset.
    pub(in crate::config) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable that the settings refer to: that of the environment, else that of
    /// the `.env` file beside the settings.
    pub(in crate::config) fn referred(&self, name: &str) -> Option<String> {
        (self.env)(name).or_else(|| self.dot_env.get(name))
    }
}

impl Values for Sources<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.referred(name)
    }

    fn secret(&self, source: SecretSource, name: &str) -> Result<String, String> {
        match source {
            SecretSource::File => self.secrets.text(name),
            SecretSource::Credential => {
                self.secrets.credential(Sources::variable(self, CREDENTIALS), name)
            }
        }
    }
}

/// The text of the settings file, and its name for findings.
pub(in crate::config) struct SettingsText {
    /// The file as the operator would name it.
    pub label: String,
    /// `None` if there is no file.
    pub path: Option<PathBuf>,
    pub text: String,
}

/// Reads the file of `--config`, else of `MCPHUB_SETTING_PATH`, else of the working directory, else
/// of the data folder. A path that was named must exist; the last two need not.
pub(in crate::config) fn read(
    sources: &Sources<'_>,
    data_dir: &Path,
) -> Result<SettingsText, ConfigErrors> {
    let from_variable = sources.variable("MCPHUB_SETTING_PATH").map(PathBuf::from);
    if let Some(named) = sources.explicit.clone().or(from_variable) {
        return open(&named, &sources.cwd);
    }
    let here = PathBuf::from(FILE_NAME);
    let in_data = data_dir.join(FILE_NAME);
    let in_data = in_data.strip_prefix(&sources.cwd).map_or(in_data.clone(), Path::to_owned);
    for path in [here, in_data] {
        match File::open(sources.cwd.join(&path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => return open(&path, &sources.cwd),
        }
    }
    Ok(SettingsText { label: FILE_NAME.to_owned(), path: None, text: String::new() })
}

fn open(named: &Path, cwd: &Path) -> Result<SettingsText, ConfigErrors> {
    let named = if cwd.join(named).is_dir() { folder(named, cwd)? } else { named.to_owned() };
    let label = named.display().to_string();
    let path = cwd.join(&named);
    let bytes = bytes(&path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        ConfigErrors::of(&label, message, "check the path and its permissions")
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(ConfigErrors::of(&label, message, "check that it is a settings file"));
    }
    if is_utf16(&bytes) {
        let message = "is UTF-16 text, as Windows writes it".to_owned();
        return Err(ConfigErrors::of(&label, message, "save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("is not UTF-8 text: the byte at offset {at} is not valid");
        ConfigErrors::of(&label, message, "save it as UTF-8")
    })?;
    Ok(SettingsText { label, path: Some(path), text })
}

/// Whether the first character of a text is one of UTF-16: its byte order mark, or a sign of ASCII.
fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=0x7f, 0, ..] | [0, 1..=0x7f, ..])
}

/// The settings file in a folder. Docker creates a folder of that name when it has to
/// mount a file that does not exist, so the error mentions it.
fn folder(named: &Path, cwd: &Path) -> Result<PathBuf, ConfigErrors> {
    let inside = named.join(FILE_NAME);
    if cwd.join(&inside).is_file() {
        return Ok(inside);
    }
    Err(ConfigErrors::of(
        &named.display().to_string(),
        format!("is a folder without a {FILE_NAME}"),
        "name the file; Docker creates a folder when a mounted file is missing: check the mount",
    ))
}

fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
