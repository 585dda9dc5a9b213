//! The gateway's own files: the settings file, files with secrets and the data folder. Servers must
//! not read them.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfinementSettings, Server, Transport};
use crate::runner;

/// What is hidden from a server with this working directory. A folder that holds it cannot be
/// hidden from it.
#[must_use]
pub fn hidden(config: &Config, cwd: Option<&Path>) -> Vec<PathBuf> {
    let cwd = working_directory(cwd);
    let mut own = all(config);
    own.retain(|path| !cwd.starts_with(real(path)));
    own
}

/// All of the gateway's own files.
#[must_use]
pub fn all(config: &Config) -> Vec<PathBuf> {
    config.own_files.iter().chain([&config.data_dir]).cloned().collect()
}

/// Servers that can read the data folder because they work in it, one line each.
#[must_use]
pub fn in_the_way(config: &Config) -> Vec<String> {
    let data = real(&config.data_dir);
    let local = config.servers.iter().filter(|server| server.enabled);
    let inside = local.filter(|server| match &server.transport {
        Some(Transport::Stdio { cwd, .. }) => working_directory(cwd.as_deref()).starts_with(&data),
        _ => false,
    });
    inside
        .map(|server| {
            format!(
                "mcpServers.{}: works inside of the data folder {}, so it can read the keys there; \
                 set MOORING_DATA to a folder of the gateway's own",
                server.name,
                config.data_dir.display()
            )
        })
        .collect()
}

/// Servers that are led into what is hidden from them, one line each.
#[must_use]
pub fn led_astray(config: &Config) -> Vec<String> {
    let lines = config.servers.iter().filter(|server| server.enabled).filter_map(|server| {
        let (what, hidden) = way_in(config, server)?;
        Some(format!(
            "mcpServers.{}: its {what} leads into {}, which is the gateway's own, so the server finds \
             nothing there; use another folder, or set MOORING_DATA to a folder of the gateway's own",
            server.name,
            hidden.display()
        ))
    });
    lines.collect()
}

/// What leads the server into which of the gateway's own files. Values are not named: they may be
/// secrets.
fn way_in(config: &Config, server: &Server) -> Option<(String, PathBuf)> {
    let Some(Transport::Stdio { args, env, cwd, confinement, .. }) = &server.transport else {
        return None;
    };
    if confinement.allow_privileges {
        return None;
    }
    let mut own = hidden(config, cwd.as_deref());
    own.extend(config.secret_files.iter().cloned());
    let folder = working_directory(cwd.as_deref());
    let leads_into = |text: &str| {
        // As in `--root=/srv`.
        let texts = [Some(text), text.split_once('=').map(|(_, value)| value)];
        let mut paths = texts.into_iter().flatten().filter(|text| !text.is_empty());
        paths.find_map(|text| {
            let path = real(&folder.join(text));
            own.iter().find(|hidden| path.starts_with(real(hidden))).cloned()
        })
    };
    let set = env.iter().map(|(name, value)| (name.as_str(), value.expose().to_owned()));
    let inherited = ["HOME", "TMPDIR"].into_iter();
    let inherited = inherited.filter(|name| env.iter().all(|(own, _)| own != name));
    let inherited = inherited.filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let variables = set.chain(inherited).map(|(name, value)| (format!("variable {name}"), value));
    let args = args.iter().map(|arg| ("arguments".to_owned(), arg.clone()));
    let mut all = variables.chain(args);
    all.find_map(|(what, text)| Some((what, leads_into(&text)?)))
}

/// The servers that could read the gateway's own files, or each other's memory, on this system:
/// one line each.
#[must_use]
pub fn unprotected(config: &Config) -> Vec<String> {
    let servers = config.servers.iter().filter(|server| is_exposed(server));
    let names: Vec<&str> = servers.map(|server| server.name.as_str()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let (walls, all) = (runner::walls(), names.join(", "));
    let mut lines = Vec::new();
    if !walls.hides_files {
        lines.push(format!(
            "this system does not let the gateway hide its settings file and data folder, so these \
             servers can read them: {all}; give each a \"user\" or a \"sandbox\", or run the \
             gateway where user namespaces are allowed"
        ));
    }
    if !walls.separates_servers && names.len() > 1 {
        lines.push(format!(
            "this system has no Landlock of version 2 (Linux 5.19), so these servers can read each \
             other's memory and environment: {all}; give each a \"user\" of its own"
        ));
    }
    lines
}

/// Whether only hiding keeps the server from these files.
fn is_exposed(server: &Server) -> bool {
    let Some(Transport::Stdio { confinement, .. }) = &server.transport else { return false };
    let ConfinementSettings { user, sandbox, allow_privileges, .. } = confinement;
    let own = rustix::process::geteuid().as_raw();
    let has_own_user = user.is_none_or(|(uid, _)| uid == own);
    server.enabled && has_own_user && sandbox.is_none() && !allow_privileges
}

fn working_directory(cwd: Option<&Path>) -> PathBuf {
    match cwd {
        Some(cwd) => real(cwd),
        None => std::env::current_dir().unwrap_or_default(),
    }
}

/// The path without symbolic links, if it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Sources, load};

    /// A configuration of a settings file in this folder.
    fn config(folder: &Path) -> Config {
        std::fs::create_dir_all(folder.join("data")).unwrap();
        let inside = r#"{"command": "a", "cwd": "data"}"#;
        let lost = json!({"command": "a", "env": {"CACHE": folder.join("data/cache")}});
        let servers = format!(
            r#"{{"mcpServers": {{"in": {inside}, "out": {{"command": "a"}}, "lost": {lost}}}}}"#
        );
        std::fs::write(folder.join("mcp_settings.json"), servers).unwrap();
        let token = folder.join("token");
        std::fs::write(&token, "0123456789abcdef").unwrap();
        let token = token.to_str().unwrap().to_owned();
        let env = |name: &str| (name == "MOORING_CLUSTER_TOKEN_FILE").then(|| token.clone());
        let sources = Sources {
            explicit: None,
            env: &env,
            cwd: folder.to_owned(),
            allow_open: false,
            dot_env: crate::config::DotEnv::default(),
            secrets: crate::config::SecretFiles::default(),
        };
        load(&sources).unwrap().config
    }

    #[test]
    fn every_file_of_the_gateway_is_hidden_unless_the_server_works_in_it() {
        let folder = std::env::temp_dir().join(format!("mooring-own-{}", std::process::id()));
        let config = config(&folder);
        let all = ["token", "mcp_settings.json", "data"].map(|name| folder.join(name));
        assert_eq!(hidden(&config, Some(&folder)), all);
        assert_eq!(hidden(&config, Some(&folder.join("data"))), all[..2]);
        let astray = led_astray(&config);
        assert_eq!(astray.len(), 1, "{astray:?}");
        assert!(astray[0].starts_with("mcpServers.lost: its variable CACHE leads into"));
        let lines = in_the_way(&config);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("mcpServers.in: works inside of the data folder"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
