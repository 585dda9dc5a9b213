//! Which of the new settings can take the place of those in force, and which wait for the next start.

use crate::config::{
    Access, Config, Coordinator, HOST_VARIABLE, Limits, Listen, Lock, Mode, PORT_VARIABLE, Sticky,
};

/// The settings that are to be in force, and the keys of those that stay as they were. All are named
/// one by one: one that the program gets later cannot be forgotten here.
pub fn applicable(now: &Config, new: &Config) -> (Config, Vec<&'static str>) {
    let config = Config {
        listen: now.listen.clone(),
        data_dir: now.data_dir.clone(),
        own_files: new.own_files.clone(),
        named_files: new.named_files.clone(),
        secret_files: new.secret_files.clone(),
        mode: mode(&now.mode, &new.mode),
        sticky: sticky(&now.sticky, &new.sticky),
        token: now.token.clone(),
        cluster_tls: now.cluster_tls.clone(),
        secret: now.secret.clone(),
        servers: new.servers.clone(),
        groups: new.groups.clone(),
        names: new.names.clone(),
        eras: new.eras.clone(),
        children: new.children.clone(),
        access: Access {
            trusted_proxies: now.access.trusted_proxies.clone(),
            ..new.access.clone()
        },
        limits: Limits {
            children_per_server: new.limits.children_per_server,
            children_per_principal: new.limits.children_per_principal,
            page_size: new.limits.page_size,
            ..now.limits.clone()
        },
        min_free_memory: now.min_free_memory,
        drain_deadline: now.drain_deadline,
        store: now.store.clone(),
        telemetry: now.telemetry.clone(),
    };
    let address = address_that_stays(&now.listen, &new.listen);
    let settings = [
        (config.listen.base_path != new.listen.base_path, "BASE_PATH"),
        (config.listen.tls != new.listen.tls, "systemConfig.listen.tls"),
        (config.data_dir != new.data_dir, "MOORING_DATA"),
        (config.mode != new.mode, "systemConfig.cluster"),
        (config.token != new.token, "systemConfig.cluster.token"),
        (config.cluster_tls != new.cluster_tls, "systemConfig.cluster.tls"),
        (config.secret != new.secret, "systemConfig.cluster.secret"),
        (config.store != new.store, "systemConfig.cluster.store"),
        (config.min_free_memory != new.min_free_memory, "systemConfig.cluster.node.minFreeMemory"),
        (config.drain_deadline != new.drain_deadline, "systemConfig.cluster.drainDeadline"),
        (config.sticky != new.sticky, "systemConfig.cluster.coordinator.stickySessionTimeout"),
        (config.access != new.access, "systemConfig.trustedProxies"),
        (config.telemetry != new.telemetry, "systemConfig.telemetry"),
    ];
    let stays = settings.into_iter().filter_map(|(stays, key)| stays.then_some(key));
    let stays = stays.chain(limits_that_stay(&config.limits, &new.limits));
    let stays = address.into_iter().flatten().chain(stays).collect();
    (config, stays)
}

/// Why the new settings cannot be in force in this process, although each of them is right.
pub fn contradiction(now: &Config, new: &Config) -> Option<String> {
    let opens = now.access.lock != Lock::Open && new.access.lock == Lock::Open;
    let is_moved = now.listen.host != new.listen.host && !new.listen.is_chosen();
    (opens && is_moved).then(|| {
        format!(
            "without a key the gateway would listen on {}, and it listens on {}, where everybody who \
             reaches it could use everything; keep a key, or start it again",
            new.listen.host, now.listen.host
        )
    })
}

/// The parts of the settings beside servers that are new.
pub fn also(now: &Config, config: &Config) -> Vec<&'static str> {
    let parts = [
        (now.groups != config.groups, "groups"),
        (now.names != config.names, "names"),
        (now.eras != config.eras, "eras"),
        (now.access != config.access, "access"),
        (now.limits != config.limits, "limits"),
        (now.mode != config.mode, "passthroughHeaders"),
    ];
    parts.into_iter().filter_map(|(is_new, part)| is_new.then_some(part)).collect()
}

/// The keys of limits that wait for the next start.
fn limits_that_stay(now: &Limits, new: &Limits) -> impl Iterator<Item = &'static str> {
    let limits = [
        (now.request_body != new.request_body, "systemConfig.limits.requestBody"),
        (now.kept_body != new.kept_body, "systemConfig.limits.keptBody"),
        (now.line != new.line, "systemConfig.limits.line"),
        (now.connections != new.connections, "systemConfig.limits.connections"),
        (
            now.connections_per_address != new.connections_per_address,
            "systemConfig.limits.connectionsPerAddress",
        ),
        (now.bodies_in_memory != new.bodies_in_memory, "systemConfig.limits.bodiesInMemory"),
        (now.body_rate != new.body_rate, "systemConfig.limits.bodyRate"),
        (now.head_timeout != new.head_timeout, "systemConfig.limits.headTimeout"),
        (now.body_timeout != new.body_timeout, "systemConfig.limits.bodyTimeout"),
        (now.read_timeout != new.read_timeout, "systemConfig.limits.readTimeout"),
        (now.header_block != new.header_block, "systemConfig.limits.headerBlock"),
        (
            now.sessions_per_principal != new.sessions_per_principal,
            "systemConfig.limits.sessionsPerPrincipal",
        ),
        (now.sessions != new.sessions, "systemConfig.limits.sessions"),
        (
            now.in_flight_per_session != new.in_flight_per_session,
            "systemConfig.limits.inFlightPerSession",
        ),
        (now.buffered_events != new.buffered_events, "systemConfig.limits.bufferedEvents"),
        (now.buffered_bytes != new.buffered_bytes, "systemConfig.limits.bufferedBytes"),
        (now.kept_answers != new.kept_answers, "systemConfig.limits.keptAnswers"),
        (now.children_per_node != new.children_per_node, "systemConfig.limits.childrenPerNode"),
        (now.unused != new.unused, "systemConfig.limits.unusedAfterMs"),
        (
            now.simultaneous_starts != new.simultaneous_starts,
            "systemConfig.limits.simultaneousStarts",
        ),
        (now.keep_alive != new.keep_alive, "systemConfig.limits.keepAlive"),
        (now.data_folder != new.data_folder, "systemConfig.limits.dataFolder"),
    ];
    limits.into_iter().filter_map(|(stays, key)| stays.then_some(key))
}

fn mode(now: &Mode, new: &Mode) -> Mode {
    match (now, new) {
        (Mode::Coordinator(now), Mode::Coordinator(new)) => Mode::Coordinator(Coordinator {
            passthrough_headers: new.passthrough_headers.clone(),
            ..now.clone()
        }),
        _ => now.clone(),
    }
}

/// All but the time after which sessions are forgotten, which stores and other processes know. The
/// strategy is told the one that is in force.
fn sticky(now: &Sticky, new: &Sticky) -> Sticky {
    if new.affinity_timeout == now.affinity_timeout {
        return new.clone();
    }
    let json = new.json_with_timeout(now.affinity_timeout);
    Sticky { affinity_timeout: now.affinity_timeout, json, ..new.clone() }
}

/// What names the new address, if it is another one: host, mode of a socket, port. A variable goes
/// before the file, so where there is one, it has changed.
fn address_that_stays(now: &Listen, new: &Listen) -> [Option<&'static str>; 3] {
    let place = |listen: &Listen| {
        let socket = listen.file.as_ref().map(|file| file.path.clone());
        (listen.host.clone(), socket)
    };
    let either = |keys: [Option<&'static str>; 2], variable: &'static str| {
        let is_variable = keys.contains(&Some(variable));
        if is_variable { Some(variable) } else { keys.into_iter().flatten().next() }
    };
    // Where it listens if nothing says it depends on whether there is a key.
    let host = either([new.host_key, now.host_key], HOST_VARIABLE);
    let port = either([Some(new.port_key), Some(now.port_key)], PORT_VARIABLE);
    match (&now.file, &new.file) {
        _ if place(now) != place(new) && host.is_some() => {
            let is_port_moved = now.file.is_none() && new.file.is_none() && now.port != new.port;
            [host, None, port.filter(|_| is_port_moved)]
        }
        (Some(before), Some(after)) => {
            let key = "systemConfig.listen.socketMode";
            [None, Some(key).filter(|_| before.mode != after.mode), None]
        }
        _ => [None, None, port.filter(|_| now.port != new.port)],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{DotEnv, SecretFiles, Sources, load};

    /// The configuration of this file, with variables.
    fn config(file: &str, variables: &[(&str, &str)]) -> Config {
        let folder = tempfolder();
        std::fs::write(folder.join("mcp_settings.json"), file).unwrap();
        let env = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let sources = Sources {
            explicit: None,
            env: &env,
            cwd: folder.clone(),
            allow_open: false,
            dot_env: DotEnv::default(),
            secrets: SecretFiles::default(),
        };
        let config = load(&sources).unwrap().config;
        std::fs::remove_dir_all(&folder).unwrap();
        config
    }

    fn tempfolder() -> std::path::PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mooring-applicable-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn what_waits_for_the_next_start_is_named_and_stays() {
        let now = config("{}", &[("MOORING_DATA", "/a")]);
        for (file, variable, key) in [
            ("{}", ("PORT", "4000"), "PORT"),
            ("{}", ("MOORING_HOST", "0.0.0.0"), "MOORING_HOST"),
            ("{}", ("MOORING_DATA", "/b"), "MOORING_DATA"),
            ("{}", ("BASE_PATH", "/x"), "BASE_PATH"),
            (r#"{"systemConfig": {"listen": {"host": "::"}}}"#, ("", ""), "listen.host"),
            (r#"{"systemConfig": {"listen": {"port": 4000}}}"#, ("", ""), "listen.port"),
            (r#"{"systemConfig": {"listen": {"host": "unix:/run/s"}}}"#, ("", ""), "listen.host"),
            (
                r#"{"systemConfig": {"listen": {"host": "::"}}}"#,
                ("MOORING_HOST", "::1"),
                "MOORING_HOST",
            ),
            (r#"{"systemConfig": {"limits": {"line": 100000}}}"#, ("", ""), "limits.line"),
            (r#"{"systemConfig": {"limits": {"keepAlive": 999}}}"#, ("", ""), "limits.keepAlive"),
            (
                r#"{"systemConfig": {"telemetry": {"accessLog": {}}}}"#,
                ("", ""),
                "systemConfig.telemetry",
            ),
        ] {
            let variables = [("MOORING_DATA", "/a")].into_iter();
            let variables: Vec<_> =
                variables.filter(|(name, _)| *name != variable.0).chain([variable]).collect();
            let (config, stays) = applicable(&now, &config(file, &variables));
            assert!(stays.len() == 1 && stays[0].ends_with(key), "{key}: {stays:?}");
            assert_eq!(Path::new(&config.data_dir), now.data_dir);
            assert_eq!((&config.listen, &config.limits), (&now.listen, &now.limits), "{key}");
            assert_eq!(config.telemetry, now.telemetry, "{key}");
        }
    }

    #[test]
    fn an_address_that_the_file_does_not_name_any_more_is_named() {
        let listen = |text: &str| {
            let file = format!(r#"{{"systemConfig": {{"listen": {text}}}}}"#);
            config(&file, &[("MOORING_DATA", "/a")])
        };
        for (now, new, keys) in [
            (r#"{"host": "::", "port": 4000}"#, "{}", &["listen.host", "listen.port"][..]),
            (r#"{"host": "unix:/run/s"}"#, r#"{"host": "::"}"#, &["listen.host"]),
            (
                r#"{"host": "unix:/run/s"}"#,
                r#"{"host": "unix:/run/s", "socketMode": "0660"}"#,
                &["listen.socketMode"],
            ),
        ] {
            let (_, stays) = applicable(&listen(now), &listen(new));
            let expect: Vec<String> =
                keys.iter().map(|key| format!("systemConfig.{key}")).collect();
            assert_eq!(stays, expect, "{now} {new}");
        }
    }

    #[test]
    fn cookie_and_header_go_with_the_strategy_and_the_timeout_stays() {
        let data = [("MOORING_DATA", "/a")];
        let cluster = |more: &str| {
            let sticky =
                r#"{"strategy": "header", "cookieName": "C", "headerName": "X-H", "signed": true}"#;
            config(
                &format!(
                    r#"{{"systemConfig": {{"cluster": {{"stickySession": {sticky}{more}}}}}}}"#
                ),
                &data,
            )
        };
        let (now, new) = (config("{}", &data), cluster(""));
        let (made, stays) = applicable(&now, &new);
        assert_eq!((made.sticky, stays), (new.sticky.clone(), vec![]));
        let later = cluster(r#", "coordinator": {"stickySessionTimeout": 5000}"#);
        let (made, stays) = applicable(&now, &later);
        assert_eq!(made.sticky, new.sticky);
        assert_eq!(stays, ["systemConfig.cluster.coordinator.stickySessionTimeout"]);
    }

    #[test]
    fn what_applies_at_once_is_not_named() {
        let data = [("MOORING_DATA", "/a")];
        let now = config("{}", &data);
        let new = config(
            r#"{
                "mcpServers": {"a": {"command": "a"}},
                "groups": [{"name": "g", "servers": ["a"]}],
                "systemConfig": {
                    "eras": ["legacy", "modern"],
                    "limits": {"pageSize": 7, "childrenPerServer": 3}
                }
            }"#,
            &data,
        );
        let (config, stays) = applicable(&now, &new);
        assert!(stays.is_empty(), "{stays:?}");
        assert_eq!((&config.servers, &config.groups), (&new.servers, &new.groups));
        assert_eq!(config.limits, new.limits);
        assert_eq!(config.eras, new.eras);
        assert_eq!(also(&now, &config), ["groups", "eras", "limits"]);
    }
}
