//! Programs of servers that are not on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{Config, Secret, Server, Transport};

/// Programs that only Windows has.
const OF_WINDOWS: [&str; 4] = ["cmd", "cmd.exe", "powershell", "powershell.exe"];

/// Servers whose command is not found, one line each.
#[must_use]
pub fn not_found(config: &Config) -> Vec<String> {
    let enabled = config.servers.iter().filter(|server| server.enabled);
    enabled.filter_map(|server| missing(server, std::env::var_os("PATH").as_deref())).collect()
}

fn missing(server: &Server, path: Option<&std::ffi::OsStr>) -> Option<String> {
    let Some(Transport::Stdio { command, env, cwd, .. }) = &server.transport else {
        return None;
    };
    let name = &server.name;
    if !cfg!(windows) && is_of_windows(command) {
        // The settings' reader has told of it.
        return None;
    }
    if command.contains('/') {
        let folder = cwd.as_deref().unwrap_or(Path::new("."));
        let is_there = is_program(&folder.join(command)) || is_program(Path::new(command));
        return (!is_there).then(|| {
            format!("mcpServers.{name}.command: there is no program {command:?}; check the path")
        });
    }
    let own = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    let folders = own.map(Secret::expose).map(std::ffi::OsStr::new).or(path)?;
    let found = std::env::split_paths(folders).any(|folder| is_program(&folder.join(command)));
    (!found).then(|| {
        format!(
            "mcpServers.{name}.command: PATH has no {command:?}; install it, or name its file. PATH \
             is {}",
            folders.to_string_lossy()
        )
    })
}

/// Whether a path begins with a drive of Windows.
fn has_drive(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.get(1) == Some(&b':')
        && matches!(bytes.get(2), Some(b'\\' | b'/'))
}

/// A program of Windows, or a path with a drive.
fn is_of_windows(command: &str) -> bool {
    let lower = command.to_ascii_lowercase();
    has_drive(command) || OF_WINDOWS.contains(&lower.as_str())
}

fn is_program(path: &Path) -> bool {
    const EXECUTABLE: u32 = 0o111;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & EXECUTABLE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_paths_of_windows_are_known() {
        for command in ["cmd", "CMD.EXE", "C:\\a\\b.exe", "C:/Program Files/npx.cmd"] {
            assert!(is_of_windows(command), "{command}");
        }
        for command in ["npx", "/usr/bin/cmd", "./run", "c:x", "a:b"] {
            assert!(!is_of_windows(command), "{command}");
        }
    }

    #[test]
    fn a_program_is_a_file_that_can_be_run() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/bin")));
        assert!(!is_program(Path::new("/etc/passwd")) && !is_program(Path::new("/none")));
    }
}
