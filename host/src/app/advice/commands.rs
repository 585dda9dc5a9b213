//! Programs of servers that are not on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::{Config, Secret, Server, Transport, is_of_windows};

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
            let has_arguments = command.split_once(' ').is_some_and(|(program, _)| {
                is_program(&folder.join(program)) || is_program(Path::new(program))
            });
            let advice = advice(has_arguments, "check the path");
            format!("mcpServers.{name}.command: there is no program {command:?}; {advice}")
        });
    }
    let own = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    let folders = own.map(Secret::expose).map(std::ffi::OsStr::new).or(path)?;
    let found = std::env::split_paths(folders).any(|folder| is_program(&folder.join(command)));
    (!found).then(|| {
        let advice = advice(command.contains(' '), "install it, or name its file");
        format!(
            "mcpServers.{name}.command: PATH has no {command:?}; {advice}. PATH is {}",
            folders.to_string_lossy()
        )
    })
}

fn advice(has_arguments: bool, otherwise: &'static str) -> &'static str {
    if has_arguments { "put its arguments into \"args\"" } else { otherwise }
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
    fn a_program_is_a_file_that_can_be_run() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/bin")));
        assert!(!is_program(Path::new("/etc/passwd")) && !is_program(Path::new("/none")));
    }
}
