//! `mooring import`: takes the servers of clients' files into the settings.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, FileForm, ForeignServers, Merged};
use crate::model::visible::visible;

use super::{MAX_WHY, terminal};

/// Bytes of a file. Those of clients have a few KiB.
const MAX_FILE: u64 = 16 << 20;

/// Where clients have their files: a name for `--from`, and paths from the home folder, or from the
/// working directory if they begin with `./`.
const CLIENTS: [(&str, &[&str]); 9] = [
    (
        "claude-desktop",
        &[
            ".config/Claude/claude_desktop_config.json",
            "Library/Application Support/Claude/claude_desktop_config.json",
        ],
    ),
    ("claude-code", &["./.mcp.json", ".claude.json"]),
    ("cursor", &["./.cursor/mcp.json", ".cursor/mcp.json"]),
    (
        "vscode",
        &[
            "./.vscode/mcp.json",
            ".config/Code/User/mcp.json",
            "Library/Application Support/Code/User/mcp.json",
            ".config/Code/User/settings.json",
        ],
    ),
    ("zed", &["./.zed/settings.json", ".config/zed/settings.json"]),
    ("windsurf", &[".codeium/windsurf/mcp_config.json"]),
    ("codex", &["./.codex/config.toml", ".codex/config.toml"]),
    ("goose", &[".config/goose/config.yaml"]),
    ("gemini", &["./.gemini/settings.json", ".gemini/settings.json"]),
];

pub struct ImportOptions<'a> {
    pub file: Option<&'a Path>,
    pub from: Option<&'a str>,
    pub output: Option<PathBuf>,
    pub print: bool,
}

pub fn run(options: &ImportOptions<'_>) -> ExitCode {
    let source = match (options.file, options.from) {
        (Some(file), _) => Ok(file.to_owned()),
        (None, Some(client)) => file_of(client),
        (None, None) => return list(),
    };
    match source.and_then(|source| import(&source, options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::wrong(&why),
    }
}

fn import(source: &Path, options: &ImportOptions<'_>) -> Result<(), String> {
    let found = servers_of(source)?;
    let output = output(options.output.as_deref());
    let before = match read(&output) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", output.display())),
    };
    let merged = config::with_servers(&before, &found.servers)
        .map_err(|why| format!("{}: {why}", output.display()))?;
    if options.print {
        terminal::say(merged.text.trim_end());
    } else if !merged.added.is_empty() {
        write(&output, &merged.text).map_err(|why| format!("{}: {why}", output.display()))?;
    }
    tell(source, &output, &merged, &found, options.print);
    Ok(())
}

fn tell(source: &Path, output: &Path, merged: &Merged, found: &ForeignServers, print: bool) {
    let (source, output) = (source.display(), output.display());
    let list = |names: &[String]| names.join(", ");
    let verb = if print { "would be taken" } else { "taken" };
    match merged.added.len() {
        0 => terminal::warn(format!("nothing new in {source}")),
        _ => terminal::warn(format!("{verb} from {source} into {output}: {}", list(&merged.added))),
    }
    if !merged.kept.is_empty() {
        terminal::warn(format!("there already, and left as they are: {}", list(&merged.kept)));
    }
    if !found.doubled.is_empty() {
        terminal::warn(format!(
            "several projects have different servers of these names, and the first was taken: {}",
            list(&found.doubled)
        ));
    }
    if !found.left_out.is_empty() {
        terminal::warn(format!(
            "left out, since the client has them built in: {}",
            list(&found.left_out)
        ));
    }
    if !found.variables.is_empty() {
        terminal::warn(format!(
            "set these variables for the gateway, whose values the client has: {}",
            list(&found.variables)
        ));
    }
    if !merged.added.is_empty() {
        terminal::warn(format!("`mooring check --config {output}` says what would run"));
    }
}

/// The file that settings are read from, if it names a folder or nothing.
fn output(named: Option<&Path>) -> PathBuf {
    match named {
        Some(path) if path.is_dir() => path.join(config::FILE_NAME),
        Some(path) => path.to_owned(),
        None => config::FILE_NAME.into(),
    }
}

fn servers_of(file: &Path) -> Result<ForeignServers, String> {
    let form = match file.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => FileForm::Toml,
        Some("yaml" | "yml") => FileForm::Yaml,
        _ => FileForm::Json,
    };
    let text = read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    config::servers_of(&text, form).map_err(|why| format!("{} {why}", file.display()))
}

fn read(file: &Path) -> std::io::Result<String> {
    let found = std::fs::metadata(file)?;
    if !found.is_file() || found.len() > MAX_FILE {
        let why = format!("is no file of at most {} MiB", MAX_FILE >> 20);
        return Err(std::io::Error::other(why));
    }
    std::fs::read_to_string(file)
}

/// Replaces the file at once, and keeps its mode; a new one, which may have secrets, is the user's.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    // Not the link, but what it leads to.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mode = std::fs::metadata(&file).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let draft = file.with_extension(format!("{}.draft", crate::model::SessionId::mint()));
    let mut new = std::fs::File::options().write(true).create_new(true).mode(mode).open(&draft)?;
    let written = std::io::Write::write_all(&mut new, text.as_bytes())
        .and_then(|()| new.sync_all())
        .and_then(|()| std::fs::rename(&draft, &file));
    if written.is_err() {
        let _ = std::fs::remove_file(draft);
    }
    written
}

fn places(paths: &[&str]) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let place = |path: &&str| match path.strip_prefix("./") {
        Some(here) => PathBuf::from(here),
        None => home.join(path),
    };
    paths.iter().map(place).collect()
}

fn file_of(client: &str) -> Result<PathBuf, String> {
    let Some((_, paths)) = CLIENTS.iter().find(|(name, _)| *name == client) else {
        let names: Vec<&str> = CLIENTS.iter().map(|(name, _)| *name).collect();
        let client = visible(client, MAX_WHY);
        return Err(format!(
            "--from {client} is not a known client: use one of {}",
            names.join(", ")
        ));
    };
    let places = places(paths);
    let has_any = |file: &&PathBuf| servers_of(file).is_ok_and(|found| !found.servers.is_empty());
    let usable = places.iter().find(has_any).cloned();
    usable.ok_or_else(|| {
        let tried: Vec<String> = places.iter().map(|file| file.display().to_string()).collect();
        format!("no file of {client} with servers; looked for {}", tried.join(", "))
    })
}

/// What is on this machine.
fn list() -> ExitCode {
    let mut is_any = false;
    for (client, paths) in CLIENTS {
        for file in places(paths) {
            let Ok(found) = servers_of(&file) else { continue };
            if found.servers.is_empty() {
                continue;
            }
            is_any = true;
            let names: Vec<&str> = found.servers.iter().map(|(name, _)| name.as_str()).collect();
            terminal::say(format!("{client:<15} {} ({})", file.display(), names.join(", ")));
        }
    }
    if !is_any {
        return super::failed("no client's file with servers is here; name one");
    }
    terminal::say("take one with `mooring import FILE`, or `mooring import --from CLIENT`");
    ExitCode::SUCCESS
}
