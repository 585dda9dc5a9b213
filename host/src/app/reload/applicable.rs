//! Which of the new settings can take the place of those in force, and which wait for the next start.

use crate::config::{Access, Config, Coordinator, Limits, Lock, Mode, Sticky};

/// The settings that are to be in force, and the keys of those that stay as they were.
pub fn applicable(now: &Config, new: &Config) -> (Config, Vec<&'static str>) {
    let mut stays = Vec::new();
    let mut says = |is_same: bool, key: &'static str| {
        if !is_same {
            stays.push(key);
        }
    };
    let limits = limits(&now.limits, &new.limits);
    let access =
        Access { trusted_proxies: now.access.trusted_proxies.clone(), ..new.access.clone() };
    let (mode, sticky) = (mode(&now.mode, &new.mode), sticky(&now.sticky, &new.sticky));
    // Where it listens if the file does not say it depends on whether there is a key.
    let is_moved = now.listen.host != new.listen.host && new.listen.is_chosen;
    says(!is_moved, "MOORING_HOST");
    says(now.listen.port == new.listen.port, "PORT");
    says(now.listen.base_path == new.listen.base_path, "basePath");
    says(now.data_dir == new.data_dir, "MOORING_DATA");
    says(mode == new.mode, "systemConfig.cluster");
    says(now.token == new.token, "systemConfig.cluster.token");
    says(now.secret == new.secret, "systemConfig.cluster.secret");
    says(now.min_free_memory == new.min_free_memory, "systemConfig.cluster.node.minFreeMemory");
    says(now.drain_deadline == new.drain_deadline, "systemConfig.cluster.drainDeadline");
    says(sticky == new.sticky, "systemConfig.cluster.stickySession");
    says(
        limits == new.limits,
        "systemConfig.limits (but childrenPerServer, childrenPerPrincipal and pageSize)",
    );
    says(access == new.access, "systemConfig.trustedProxies");
    let config = Config {
        servers: new.servers.clone(),
        groups: new.groups.clone(),
        names: new.names.clone(),
        children: new.children.clone(),
        access,
        limits,
        mode,
        sticky,
        ..now.clone()
    };
    (config, stays)
}

/// Why the new settings cannot be in force in this process, although each of them is right.
pub fn contradiction(now: &Config, new: &Config) -> Option<String> {
    let opens = now.access.lock != Lock::Open && new.access.lock == Lock::Open;
    let is_moved = now.listen.host != new.listen.host && !new.listen.is_chosen;
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
        (now.access != config.access, "access"),
        (now.limits != config.limits, "limits"),
        (now.mode != config.mode, "passthroughHeaders"),
    ];
    parts.into_iter().filter_map(|(is_new, part)| is_new.then_some(part)).collect()
}

fn limits(now: &Limits, new: &Limits) -> Limits {
    Limits {
        children_per_server: new.children_per_server,
        children_per_principal: new.children_per_principal,
        page_size: new.page_size,
        ..now.clone()
    }
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

/// Strategy and its settings go together with the names of cookie and header, which other parts know.
fn sticky(now: &Sticky, new: &Sticky) -> Sticky {
    let changed = Sticky {
        enabled: new.enabled,
        strategy: new.strategy.clone(),
        json: new.json.clone(),
        ..now.clone()
    };
    if changed == *new { changed } else { now.clone() }
}
