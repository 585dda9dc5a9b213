//! Translates the configuration for edge and runner, so that neither knows the
//! settings file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::{
    self, Config, GroupEntries, Isolation, Lock, Mode, OnLost, Prefix, Server, ServerEra, Sticky,
    Transport, Wasi,
};
use crate::edge::{ConnectionBounds, EdgeConfig, Group, HostRules, Member, PrefixMode};
use crate::model::{
    Choice, Choices, KeepRule, Prefixes, Replica, SUBJECT_TOKEN, Selection, ServerName, StatePlan,
};
use crate::oauth::LoginTerms;
use crate::runner::{
    self, Confinement, EraSetting, KeptClient, ProcessCaps, Program, Recipe, Recycling,
    RunnerConfig, START_TIMEOUT, Sandbox, Served, SessionLimits, Sharers, Sharing, StatePrograms,
    Timeouts, User,
};
use crate::store::MostSessions;
use crate::streams::Bounds;
use crate::wasm;

use super::admission::Admission;
use super::{child_env, descriptors, identity, own_files, remote_servers};

/// The replicas on this node as the settings describe them; a reload replaces them.
pub type Replicas = Arc<ArcSwap<BTreeMap<ServerName, Replica>>>;

#[must_use]
pub fn runner(config: &Config) -> RunnerConfig {
    let servers = running(config).map(|server| {
        let idle = server.idle_timeout.unwrap_or(config.sticky.affinity_timeout);
        (server.name.clone(), Arc::new(served(config, server, idle)))
    });
    let limits = &config.limits;
    RunnerConfig {
        servers: servers.collect(),
        message: limits.request_body,
        rules: SessionLimits {
            line: limits.line,
            in_flight: limits.in_flight_per_session,
            kept: kept(config),
            keep_alive: limits.keep_alive,
            timeouts: Timeouts::default(),
        },
        kept: limits.kept_answers,
        idle: config.sticky.affinity_timeout,
        caps: ProcessCaps {
            per_server: limits.children_per_server,
            own: running(config)
                .filter_map(|server| Some((server.name.clone(), server.max_instances?)))
                .collect(),
            per_node: limits.children_per_node,
            per_principal: limits.children_per_principal,
        },
        unused: limits.unused,
        starts: limits.simultaneous_starts.unwrap_or_else(simultaneous_starts),
    }
}

/// How many sessions this process remembers.
#[must_use]
pub fn most_sessions(config: &Config) -> MostSessions {
    let per_key = config.limits.sessions_per_principal;
    let default = MostSessions::default().in_all.max(per_key);
    MostSessions { per_key, in_all: config.limits.sessions.unwrap_or(default) }
}

/// Default of `limits.simultaneousStarts`: twice the cores, at least 4, since a start
/// mostly waits for disks and networks.
fn simultaneous_starts() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (2 * cores).max(4)
}

/// The edge's settings, with whom it lets in.
#[must_use]
pub fn edge(config: &Config, admission: Admission) -> EdgeConfig {
    let Admission { keys, anyone, policy, issuers, rates } = admission;
    let credentials = match &config.mode {
        Mode::Coordinator(coordinator) => coordinator.passthrough_headers.clone(),
        Mode::Standalone | Mode::Node(_) => BTreeMap::new(),
    };
    EdgeConfig {
        wants_certificate: config.takes_certificates(),
        wants_token: config.access.lock == Lock::Tokens,
        anyone,
        policy,
        issuers,
        rates,
        public_url: config.access.public_url.clone(),
        tokens: keys.iter().map(|key| Arc::from(key.token.expose())).collect(),
        keys,
        key_header: config.access.key_header.clone(),
        hosts: HostRules { listed: config.access.allowed_hosts.clone(), own: own_hosts(config) },
        logins: logins(config),
        exchanges_tokens: running(config).any(remote_servers::exchanges)
            || credentials.values().flatten().any(|name| name == SUBJECT_TOKEN),
        credentials,
        affinity_cookie: config.sticky.cookie_name.clone(),
        affinity_header: config.sticky.header_name.clone(),
        allowed_origins: config.access.allowed_origins.clone(),
        trusted_proxies: config.access.trusted_proxies.clone(),
        global_route: config.access.enable_global_route,
        groups: groups(config),
        order: running(config).map(|server| server.name.clone()).collect(),
        separator: config.names.separator.clone(),
        prefix: match config.names.prefix {
            Prefix::Always => PrefixMode::Always,
            Prefix::OnCollision => PrefixMode::OnCollision,
            Prefix::Never => PrefixMode::Never,
        },
        eras: config.eras.clone(),
        sticky: config.sticky.enabled,
        signed: config.sticky.signed,
        request_body: config.limits.request_body,
        kept_body: config.limits.kept_body,
        header_block: config.limits.header_block,
        line: config.limits.line,
        page_size: config.limits.page_size,
        kept_events: kept(config),
        in_flight: config.limits.in_flight_per_session,
        buffered_bytes: config.limits.buffered_bytes,
        keep_alive: config.limits.keep_alive,
        base_path: config.listen.base_path.clone(),
        closed: config.is_closed(),
        body_rate: config.limits.body_rate,
    }
}

/// How users log in at servers: those of this process, and at a coordinator also those that nodes run,
/// of which its file has an entry that is off. What cannot be used is told of its server.
fn logins(config: &Config) -> BTreeMap<ServerName, Arc<LoginTerms>> {
    let is_coordinator = matches!(config.mode, Mode::Coordinator(_));
    let servers = config.servers.iter().filter(|server| server.enabled || is_coordinator);
    let login = |server: &Server| {
        let terms = remote_servers::login(server).ok().flatten()?;
        Some((server.name.clone(), Arc::new(terms)))
    };
    servers.filter_map(login).collect()
}

/// The names by which this process is called: the machine's own, and those in the cluster's URLs.
fn own_hosts(config: &Config) -> Vec<String> {
    let urls: Vec<&http::Uri> = match &config.mode {
        Mode::Node(node) => node.coordinator_urls.iter().chain(&node.advertise_url).collect(),
        Mode::Standalone | Mode::Coordinator(_) => Vec::new(),
    };
    let hosts = urls.into_iter().filter_map(|url| url.host());
    std::iter::once(identity::hostname()).chain(hosts.map(str::to_owned)).collect()
}

/// What a strategy of these settings may do.
#[must_use]
pub fn strategy_options(sticky: &Sticky, workers: usize) -> wasm::Options {
    wasm::Options {
        wasi: match sticky.wasi {
            Wasi::Deny => wasm::WasiPolicy::Deny,
            Wasi::Sandbox => wasm::WasiPolicy::Sandbox,
        },
        readable: wasm::Readable {
            headers: sticky.credentials.clone(),
            affinity_cookie: sticky.cookie_name.clone(),
            affinity_header: sticky.header_name.clone(),
        },
        prober: own_program(),
        workers,
    }
}

/// The bounds of clients' connections, in a process that may have so many descriptors.
#[must_use]
pub fn connections(config: &Config, descriptors: u64) -> ConnectionBounds {
    let limits = &config.limits;
    ConnectionBounds {
        all: limits.connections.unwrap_or_else(|| descriptors::for_clients(descriptors)),
        per_address: limits.connections_per_address,
        head: limits.head_timeout,
        body: limits.body_timeout,
        body_rate: limits.body_rate,
        unread: limits.read_timeout,
    }
}

/// This program, even if its file was replaced since it was started.
#[must_use]
pub fn own_program() -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        return Some("/proc/self/exe".into());
    }
    std::env::current_exe().ok()
}

fn kept(config: &Config) -> Bounds {
    Bounds { events: config.limits.buffered_events, bytes: config.limits.buffered_bytes }
}

/// This node's replicas as the file describes them; discovery adds the digests.
#[must_use]
pub fn replicas(config: &Config) -> BTreeMap<ServerName, Replica> {
    let node = match &config.mode {
        Mode::Node(node) => node.weight,
        Mode::Standalone | Mode::Coordinator(_) => 1,
    };
    running(config)
        .map(|server| {
            let weight = server.weight.unwrap_or(node).into();
            let replica = Replica {
                passthrough: remote_servers::passed_to(server),
                ends_when_lost: server.on_lost == OnLost::Fail,
                selection: selection(config, server),
                state: state_plan(config, server),
                ..Replica::of_weight(weight)
            };
            (server.name.clone(), replica)
        })
        .collect()
}

fn running(config: &Config) -> impl Iterator<Item = &Server> {
    config.servers.iter().filter(|server| server.enabled)
}

fn served(config: &Config, server: &Server, idle: Duration) -> Served {
    let options = &server.options;
    Served {
        recipe: recipe(config, server),
        timeouts: Timeouts {
            silence: options.timeout,
            reset_on_progress: options.reset_timeout_on_progress,
            total: options.max_total_timeout,
        },
        passthrough: server.passthrough_headers.clone(),
        claims: remote_servers::claims_for(server),
        exchanges: remote_servers::exchanges(server),
        logs_in: remote_servers::logs_in(server),
        start_timeout: server.start_timeout.unwrap_or(START_TIMEOUT),
        idle: server.idle_timeout,
        recycling: Recycling { max_lifetime: server.max_lifetime, max_memory: server.max_memory },
        warm: server.warm.into(),
        ends_when_lost: server.on_lost == OnLost::Fail,
        sharing: Sharing { by: sharers(server), idle },
        era: match server.era {
            ServerEra::Auto => EraSetting::Auto,
            ServerEra::Legacy => EraSetting::Legacy,
            ServerEra::Modern => EraSetting::Modern,
            ServerEra::Both => EraSetting::Both,
        },
        modern_sharers: modern_sharers(server),
        selection: selection(config, server),
        state: state_programs(config, server),
        sessionless: KeptClient::default(),
    }
}

fn sharers(server: &Server) -> Sharers {
    match (server.isolation, &server.transport) {
        (Isolation::Principal, Some(Transport::Stdio { .. })) => Sharers::Principal,
        (Isolation::Shared, Some(Transport::Stdio { .. })) => Sharers::All,
        // A process is shared only on request, since it may mix up its clients' state.
        // A remote server keeps its sessions apart itself.
        _ => Sharers::Nobody,
    }
}

/// Who shares a process of a server that is used without sessions. Each request to it says what it
/// needs, so that it is made for all.
fn modern_sharers(server: &Server) -> Sharers {
    match server.isolation {
        Isolation::Session => Sharers::Nobody,
        Isolation::Principal => Sharers::Principal,
        Isolation::Auto | Isolation::Shared => Sharers::All,
    }
}

fn recipe(config: &Config, server: &Server) -> Recipe {
    if let Some(reason) = &server.misconfigured {
        return Recipe::Broken(reason.clone());
    }
    match &server.transport {
        Some(Transport::Stdio { command, args, env, cwd, proxy, confinement }) => {
            let env = child_env::of(&config.children, command, proxy, env);
            Recipe::Stdio(Program {
                command: command.clone(),
                args: args.clone(),
                kept_from: child_env::kept_from(proxy, &env),
                env,
                cwd: cwd.clone(),
                confinement: confine(confinement),
                hidden: own_files::hidden(config, cwd.as_deref()),
            })
        }
        Some(Transport::Http(remote)) => remote_servers::reached(remote, Recipe::Http),
        Some(Transport::Sse(remote)) => remote_servers::reached(remote, Recipe::Sse),
        Some(Transport::HttpOrSse(remote)) => remote_servers::reached(remote, Recipe::HttpOrSse),
        None => Recipe::Broken("its entry has neither a command nor a url".into()),
    }
}

fn confine(confinement: &config::ConfinementSettings) -> Confinement {
    let config::ConfinementSettings {
        memory,
        files,
        processes,
        cpu_seconds,
        user,
        allow_privileges,
        ref sandbox,
    } = *confinement;
    let user = user.map(|(uid, gid)| User { uid, gid });
    let sandbox = sandbox.clone().map(|config::SandboxSettings { read, write, network }| Sandbox {
        read,
        write,
        network,
    });
    Confinement { memory, files, processes, cpu_seconds, user, allow_privileges, sandbox }
}

/// Which state comes along; a tool is named by its own name or with the server's in front.
fn state_plan(config: &Config, server: &Server) -> Option<Arc<StatePlan>> {
    let mut plan = server.state.as_ref()?.plan.clone();
    let prefixes = Prefixes::of(server.name.as_str(), &config.names.separator);
    if let Some(replay) = &mut plan.replay {
        let written = std::mem::take(&mut replay.rules);
        for rule in written {
            let own = prefixes.stripped(&rule.tool).map(str::to_owned);
            let own: Vec<_> = own.map(|tool| KeepRule { tool, ..rule.clone() }).collect();
            replay.rules.push(rule);
            replay.rules.extend(own);
        }
    }
    Some(Arc::new(plan))
}

/// The programs that write and read the server's state. They run as the server itself does.
fn state_programs(config: &Config, server: &Server) -> Option<StatePrograms> {
    let state = server.state.as_ref()?;
    let Recipe::Stdio(program) = recipe(config, server) else { return None };
    let run = |words: &Option<Vec<String>>| {
        let (command, args) = words.as_ref()?.split_first()?;
        Some(Program { command: command.clone(), args: args.to_vec(), ..program.clone() })
    };
    let (timeout, most_bytes) = (state.plan.timeout, state.plan.most_bytes);
    Some(StatePrograms {
        save: run(&state.save),
        restore: run(&state.restore),
        timeout,
        most_bytes,
    })
}

/// The operator's choices of entries; `None` if the server is shown unchanged.
fn selection(config: &Config, server: &Server) -> Option<Arc<Selection>> {
    let prefixes = Prefixes::of(server.name.as_str(), &config.names.separator);
    let selection = Selection {
        tools: prefixes.spelled_out(choices(&server.tools)),
        prompts: prefixes.spelled_out(choices(&server.prompts)),
        resources: choices(&server.resources),
    };
    (!selection.is_empty()).then(|| Arc::new(selection))
}

fn choices(selections: &crate::config::Selections) -> Choices {
    let choice = |(name, selection): (&String, &crate::config::EntrySettings)| {
        let description = selection.description.clone();
        (name.clone(), Choice { enabled: selection.enabled, description })
    };
    selections.iter().map(choice).collect()
}

/// The groups of the file, as the edge shows them.
pub(super) fn groups(config: &Config) -> Vec<Group> {
    let names = |chosen: &GroupEntries| match chosen {
        GroupEntries::All => None,
        GroupEntries::Only(names) => Some(names.clone()),
    };
    config
        .groups
        .iter()
        .map(|group| Group {
            // If false, URLs reach the group by its id alone.
            by_name: config.access.enable_group_name_route,
            name: group.name.clone(),
            id: group.id.clone(),
            members: group
                .servers
                .iter()
                .map(|server| Member {
                    server: server.name.clone(),
                    alias: server.alias.clone(),
                    tools: names(&server.tools),
                    prompts: names(&server.prompts),
                    resources: names(&server.resources),
                    rights: None,
                })
                .collect(),
        })
        .collect()
}

/// This node's replicas, with the catalog digests that discovery knows now.
pub(super) fn local_servers(
    runner: &runner::SharedRunner,
    replicas: &BTreeMap<ServerName, Replica>,
) -> BTreeMap<ServerName, Replica> {
    let known = |(server, replica): (&ServerName, &Replica)| {
        let digest = runner.discovery.digest(server);
        (server.clone(), Replica { digest, ..replica.clone() })
    };
    replicas.iter().map(known).collect()
}
