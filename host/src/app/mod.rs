//! The wiring: configuration → parts → run until a signal → drain.
//!
//! All parts meet here and nowhere else. Threads: one for the control runtime (this
//! one), and one worker per core, each with its own accept socket, connections and
//! strategy instances.

mod capacity;
mod differences;
mod identity;
mod node_side;
mod notices;
mod parts;
mod routes;
mod strategy_view;
mod summary;
mod translate;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cluster::{self, LeaseChange};
use crate::config::{Loaded, Mode};
use crate::edge;
use crate::sync::{Signal, Watcher};

use self::parts::Parts;

pub use notices::of as notices;

/// Longest wait for requests in progress at shutdown. Open streams never end by
/// themselves.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest wait for server processes at shutdown: 2 s from the end of their input to
/// SIGTERM, 2 s from there to SIGKILL, and 2 s to spare.
const CHILDREN: Duration = Duration::from_secs(6);
/// Time between two checks of the nodes' leases: a dead node must be marked within
/// 1 s of its timeout.
const LEASE_TICK: Duration = Duration::from_millis(200);
/// Time between two sweeps of idle sessions, unless `cleanupInterval` is in effect.
const SWEEP: Duration = Duration::from_secs(30);
/// Time between two sweeps of the files of sessions whose ids have expired.
const FILE_SWEEP: Duration = Duration::from_secs(3600);

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// File that the port is written into once the gateway accepts requests.
    pub port_file: Option<PathBuf>,
    /// Number of data-plane threads; `None` means one per core.
    pub workers: Option<usize>,
}

/// Runs the gateway until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// If it cannot start: for example, the port is taken or the strategy is refused.
pub fn run(loaded: &Loaded, options: &RunOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control runtime")?;
    runtime.block_on(control(loaded, options))
}

async fn control(loaded: &Loaded, options: &RunOptions) -> anyhow::Result<()> {
    let config = &loaded.config;
    for notice in notices::of(config).into_iter().chain(notices::open_cluster(config)) {
        tracing::warn!("{notice}");
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = options.workers.unwrap_or(cores).max(1);
    let listeners =
        edge::listen(&config.listen.host, config.listen.port, workers).with_context(|| {
            format!("cannot listen on {}:{}", config.listen.host, config.listen.port)
        })?;
    let address = listeners.address;
    let parts = Arc::new(Parts::build(config, address, workers)?);
    let supervised = parts
        .host
        .children()
        .supervise()
        .context("cannot start the supervisor of the servers' processes")?;
    let draining = Signal::default();
    let is_draining = draining.watch();
    let threads = worker::start(&parts, listeners, &is_draining)?;
    let leaving = Signal::default();
    let is_leaving = leaving.watch();
    let background = background(&parts, config, &is_leaving);
    print!("{}", summary::of(config, &parts, address, workers));
    if let Some(file) = &options.port_file {
        write_port(file, address.port())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    signalled().await?;
    tracing::info!(
        "shutting down: new connections are refused, requests in progress get {} s to finish",
        DRAIN.as_secs()
    );
    // A node deregisters first, so that its coordinator sends no more sessions.
    leaving.raise();
    background.await;
    draining.raise();
    threads.join(DRAIN).await;
    parts.host.close_all(parts.control_link.pool()).await;
    let _ = tokio::time::timeout(CHILDREN, parts.host.children().all_ended()).await;
    supervised.end().await;
    Ok(())
}

/// Starts the tasks beside the data plane. The future resolves once the node, if
/// this is one, has deregistered after `leaving`.
fn background(
    parts: &Arc<Parts>,
    config: &crate::config::Config,
    leaving: &Watcher,
) -> impl Future<Output = ()> + use<> {
    parts.host.discovery.start(parts.control_link.pool());
    tokio::spawn(publish_topology(Arc::clone(parts)));
    tokio::spawn(publish_catalogs(Arc::clone(parts)));
    tokio::spawn(
        Arc::clone(&parts.gauge).watch(Arc::clone(&parts.registry), parts.node_id.clone()),
    );
    tokio::spawn(mark_suspects(Arc::clone(parts)));
    let between_sweeps = match &config.mode {
        Mode::Coordinator(coordinator) => coordinator.cleanup_interval,
        Mode::Standalone | Mode::Node(_) => SWEEP,
    };
    tokio::spawn(sweep(Arc::clone(parts), between_sweeps));
    parts.host.keep_spares();
    let host = Arc::clone(&parts.host);
    tokio::spawn(host.sweep(between_sweeps, parts.control_link.pool().clone()));
    if let Mode::Coordinator(_) = &config.mode {
        tokio::spawn(watch_leases(Arc::clone(parts)));
        let (control, link) = (Arc::clone(&parts.control), parts.control_link.clone());
        tokio::spawn(cluster::recall(control, parts.folder.clone(), link));
    }
    let agent = parts
        .take_agent()
        .map(|(agent, at_once)| tokio::spawn(agent.run(at_once, leaving.clone())));
    async move {
        if let Some(agent) = agent {
            // It deregisters and ends once `leaving` is raised.
            let _ = agent.await;
        }
    }
}

async fn publish_topology(parts: Arc<Parts>) {
    let mut changes = parts.registry.topology();
    let mut differences = differences::Differences::default();
    loop {
        let topology = Arc::clone(&changes.borrow_and_update());
        differences.warn_of(&topology);
        parts.edge.catalogs.look_at(&topology);
        let (strategy, zone) = (parts.edge.strategy.clone(), parts.zone.clone());
        // Building instances takes milliseconds, which would block the runtime.
        let built = tokio::task::spawn_blocking(move || {
            strategy.publish(Arc::new(strategy_view::of(&topology, &zone)));
        });
        if let Err(error) = built.await {
            tracing::error!(
                "the routing strategy was not updated with the new topology and goes on with the \
                 previous one: {error}"
            );
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Writes the catalogs that discovery finds into this node's own entry.
async fn publish_catalogs(parts: Arc<Parts>) {
    let mut changes = parts.host.discovery.changes();
    while changes.changed().await.is_ok() {
        parts.registry.set_local_servers(&parts.node_id, parts.local_servers());
    }
}

async fn mark_suspects(parts: Arc<Parts>) {
    let Some(mut suspects) = parts.mark_suspects() else { return };
    while let Some((node, why)) = suspects.recv().await {
        if parts.registry.get(&node).is_some_and(|entry| !entry.suspect) {
            tracing::warn!(
                node = %node,
                "the node did not answer and is avoided until its next heartbeat: {why}"
            );
        }
        parts.registry.suspect(&node);
    }
}

async fn watch_leases(parts: Arc<Parts>) {
    let mut timer = tokio::time::interval(LEASE_TICK);
    loop {
        timer.tick().await;
        for event in parts.registry.expire(Instant::now()) {
            if let LeaseChange::Unhealthy { id, last_heartbeat } = event {
                tracing::warn!(
                    "Marking node {id} as unhealthy (last heartbeat: {})",
                    last_heartbeat.iso8601()
                );
            }
        }
    }
}

async fn sweep(parts: Arc<Parts>, interval: Duration) {
    let mut timer = tokio::time::interval(interval);
    timer.tick().await;
    let mut files_swept = Instant::now();
    parts.edge.records.sweep_files().await;
    loop {
        timer.tick().await;
        if files_swept.elapsed() > FILE_SWEEP {
            files_swept = Instant::now();
            parts.edge.records.sweep_files().await;
        }
        let removed = parts.registry.clean_up(Instant::now());
        for event in &removed {
            if let LeaseChange::Removed { id } = event {
                tracing::info!("Removed node {id}: gone for ten node timeouts");
            }
        }
        if !removed.is_empty() {
            // The next start must not wait for the removed nodes.
            parts.control.save().await;
        }
        let expired = parts.edge.bindings.sweep(parts.affinity_timeout);
        if expired > 0 {
            tracing::info!(expired, "idle session affinities removed");
        }
        parts.edge.records.sweep();
    }
}

async fn signalled() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    // Sent when the terminal closes: without a handler the process would end at once.
    let mut hang_up = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// Writes the port atomically: a program that waits for the file never reads half a
/// number.
fn write_port(file: &std::path::Path, port: u16) -> std::io::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, format!("{port}\n"))?;
    std::fs::rename(draft, file)
}
