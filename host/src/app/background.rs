//! The tasks beside the data plane: what each publishes, checks or removes, and how often.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use crate::admin;
use crate::cluster::{self, Fellows, LeaseChange};
use crate::config::{Config, Mode};
use crate::edge;
use crate::model::Health;
use crate::store::shared::SharedEvent;
use crate::store::sharing::Left;
use crate::store::{FolderState, Forgotten};
use crate::sync::{Watcher, now};

use super::advice::unmatched::{WrittenNames, warn_of_unmatched};
use super::advice::{differences, slow_starts};
use super::ending::drain;
use super::parts::{Background, Parts};
use super::presence::{self, Presence};
use super::strategy_view;

/// Time between two sweeps of idle sessions, unless `cleanupInterval` is in effect.
const SWEEP: Duration = Duration::from_secs(30);
/// Time between two sweeps of the files of sessions whose ids have expired.
const FILE_SWEEP: Duration = Duration::from_secs(3600);
/// Time between two checks of the data folder: a full disk shows though nothing is to be written.
const FOLDER_CHECK: Duration = Duration::from_secs(30);
/// The same while it cannot be written.
const FOLDER_RETRY: Duration = Duration::from_secs(2);
/// How long a session without a second message is remembered.
const UNUSED: Duration = Duration::from_secs(60);
/// Time between two searches for such sessions.
const UNUSED_SWEEP: Duration = Duration::from_secs(5);
/// Forgotten sessions that are closed at their servers at the same time.
const CLOSED_AT_ONCE: usize = 32;
/// Longest time for that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long changes of catalogs are collected before they are written.
const KEEP_CATALOGS: Duration = Duration::from_millis(500);

impl Background {
    /// Starts the tasks. The future resolves once the node, if this is one, has deregistered
    /// after `leaving`.
    pub fn start(
        self,
        parts: &Arc<Parts>,
        config: &Config,
        leaving: &Watcher,
    ) -> impl Future<Output = ()> + use<> {
        let (runner, pool) = (&parts.runner, parts.control_link.pool());
        runner.discovery.start(pool);
        tokio::spawn(publish_topology(Arc::clone(parts)));
        tokio::spawn(publish_catalogs(Arc::clone(parts)));
        for exporter in self.exports.tasks {
            exporter.start(pool.clone());
        }
        if let Some(exporter) = self.exports.metrics {
            tokio::spawn(admin::tell_metrics(Arc::clone(&self.admin), exporter, pool.clone()));
        }
        let names = WrittenNames::of(config);
        tokio::spawn(warn_of_unmatched(names, Arc::clone(runner), Arc::clone(&parts.edge)));
        let capacity = Arc::clone(&parts.capacity);
        tokio::spawn(capacity.watch(Arc::clone(&parts.registry), parts.node_id.clone()));
        let troubles = Arc::clone(&parts.troubles);
        tokio::spawn(troubles.watch(Arc::clone(&parts.registry), parts.node_id.clone()));
        let between_sweeps = match &config.mode {
            Mode::Coordinator(coordinator) => coordinator.cleanup_interval,
            Mode::Standalone | Mode::Node(_) => SWEEP,
        };
        tokio::spawn(sweep(Arc::clone(parts), between_sweeps));
        tokio::spawn(forget_unused(Arc::clone(parts)));
        let is_coordinator = matches!(config.mode, Mode::Coordinator(_));
        tokio::spawn(tend_folder(Arc::clone(parts), is_coordinator));
        tokio::spawn(slow_starts::keep(Arc::clone(parts)));
        tokio::spawn(close_forgotten(Arc::clone(parts), self.forgotten));
        tokio::spawn(drain::carry_out(Arc::clone(parts)));
        tokio::spawn(admin::watch_for_readers(self.admin, parts.control_link.clone()));
        let (edge, folder) = (Arc::clone(&parts.edge), parts.folder.clone());
        tokio::spawn(edge::keep_keys(edge, pool.clone(), folder));
        if matches!(config.mode, Mode::Node(_)) {
            tokio::spawn(Arc::clone(runner).watch_streams(pool.clone()));
        }
        runner.keep_spares();
        tokio::spawn(Arc::clone(runner).retire_outdated(config.drain_deadline, pool.clone()));
        tokio::spawn(Arc::clone(runner).sweep(between_sweeps, pool.clone()));
        if let Mode::Coordinator(coordinator) = &config.mode {
            tokio::spawn(keep_catalogs(Arc::clone(parts)));
            let (control, link) = (Arc::clone(&parts.control), parts.control_link.clone());
            let streams = cluster::OwnStreams {
                start: parts.edge.start,
                returned: {
                    let sessions = Arc::clone(&parts.edge.sse_sessions);
                    Box::new(move || sessions.returned())
                },
                changes: parts.edge.sse_sessions.changes(),
            };
            let (registry, timeout) = (Arc::clone(&parts.registry), coordinator.node_timeout);
            tokio::spawn(cluster::tell_streams(registry, streams, link.clone(), timeout));
            let watch = cluster::watch_leases(Arc::clone(&control), link.clone(), self.doubted);
            let mut retired = parts.retired.watch();
            tokio::spawn(async move {
                tokio::select! {
                    () = watch => {}
                    // Heartbeats go to the next process.
                    () = retired.raised() => {}
                }
            });
            match (parts.edge.sharing.clone(), self.told) {
                (Some(sharing), Some(told)) => {
                    let heard = control.share(Arc::clone(&sharing));
                    let kept = (parts.folder.clone(), link);
                    let timeout = coordinator.node_timeout;
                    let fellows = Fellows::new(control, Arc::clone(&sharing), kept, timeout);
                    tokio::spawn(fellows.run(told.notices, heard));
                    tokio::spawn(take_notes(Arc::clone(&parts.edge), told.sessions));
                    tokio::spawn(close_left(Arc::clone(parts), told.left));
                    tokio::spawn(presence::keep(Arc::clone(&sharing), Presence::of(config)));
                    tokio::spawn(sharing.run(parts.affinity_timeout));
                }
                _ => drop(tokio::spawn(cluster::recall(control, parts.folder.clone(), link))),
            }
        }
        let agents = self.agents.map(|(agents, at_once)| {
            let (leaving, mut retired) = (leaving.clone(), parts.retired.watch());
            tokio::spawn(async move {
                tokio::select! {
                    () = agents.run(at_once, leaving) => {}
                    () = retired.raised() => {}
                }
            })
        });
        async move {
            if let Some(agents) = agents {
                // They deregister and end once `leaving` is raised.
                let _ = agents.await;
            }
        }
    }
}

async fn publish_topology(parts: Arc<Parts>) {
    let mut changes = parts.registry.topology();
    let mut differences = differences::Differences::default();
    loop {
        let topology = Arc::clone(&changes.borrow_and_update());
        differences.warn_of(&topology);
        differences.warn_of_withheld(&topology, &parts.edge.now().config);
        parts.edge.catalogs.note_digests(&topology);
        let drains = topology.nodes.iter().any(|node| node.health == Health::Draining);
        parts.edge.state.note_drains(drains);
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

/// Writes the catalogs of other nodes to the data folder, for the next start.
async fn keep_catalogs(parts: Arc<Parts>) {
    let mut changes = parts.edge.catalogs.changes();
    let mut written = 0;
    while changes.changed().await.is_ok() {
        // Of many changes at one time only few are written.
        tokio::time::sleep(KEEP_CATALOGS).await;
        changes.borrow_and_update();
        let parts = Arc::clone(&parts);
        let writing = tokio::task::spawn_blocking(move || {
            let text = parts.edge.catalogs.to_keep(&parts.edge.topology.load());
            // The folder logs a failure, once in a while.
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            let now = hasher.finish();
            if now != written && parts.folder.write(edge::CATALOGS, &text).is_ok() {
                written = now;
            }
            written
        });
        let Ok(now) = writing.await else { return };
        written = now;
    }
}

/// Writes the catalogs that discovery finds into this node's own entry.
async fn publish_catalogs(parts: Arc<Parts>) {
    let mut changes = parts.runner.discovery.changes();
    while changes.changed().await.is_ok() {
        parts.registry.set_local_servers(&parts.node_id, parts.local_servers());
    }
}

/// Forgets sessions whose clients have sent nothing after `initialize`. Their ids stay good.
async fn forget_unused(parts: Arc<Parts>) {
    let mut timer = tokio::time::interval(UNUSED_SWEEP);
    loop {
        timer.tick().await;
        let count = parts.edge.bindings.sweep_unused(UNUSED);
        if count > 0 {
            tracing::debug!(count, "sessions forgotten that were not used after initialize");
        }
    }
}

/// Finds out whether the data folder can be written, and writes what could not be written before.
async fn tend_folder(parts: Arc<Parts>, is_coordinator: bool) {
    let mut timer = tokio::time::interval(FOLDER_RETRY);
    let mut checked = Instant::now();
    loop {
        timer.tick().await;
        let is_well = parts.folder.state().0 == FolderState::Fine;
        if is_well && checked.elapsed() < FOLDER_CHECK {
            continue;
        }
        checked = Instant::now();
        parts.edge.records.tend_folder().await;
        if is_coordinator {
            parts.control.save_if_renewed().await;
        }
    }
}

/// Closes sessions at their servers that were forgotten to make room.
pub(super) async fn close_forgotten(parts: Arc<Parts>, mut forgotten: mpsc::Receiver<Forgotten>) {
    let at_once = Arc::new(Semaphore::new(CLOSED_AT_ONCE));
    while let Some((session, servers)) = forgotten.recv().await {
        let topology = parts.edge.topology.load_full();
        for (server, binding) in servers {
            let Some(reach) = topology.node(&binding.node).map(|node| node.reach.clone()) else {
                continue;
            };
            let Ok(turn) = Arc::clone(&at_once).acquire_owned().await else { return };
            let parts = Arc::clone(&parts);
            tokio::spawn(async move {
                // Its client may have come back meanwhile.
                if parts.edge.bindings.look(session, &server).is_none() {
                    let link = &parts.control_link;
                    let closing = cluster::close(link, &reach, session, &server, binding.epoch);
                    // What does not answer ends when it is idle.
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
                }
                drop(turn);
            });
        }
    }
}

/// Takes note of what other coordinators tell of sessions.
async fn take_notes(edge: Arc<edge::Edge>, mut told: mpsc::Receiver<SharedEvent>) {
    while let Some(event) = told.recv().await {
        edge.told(&event);
    }
}

/// Closes instances that sessions have left, as other coordinators have decided.
async fn close_left(parts: Arc<Parts>, mut left: mpsc::Receiver<Left>) {
    let at_once = Arc::new(Semaphore::new(CLOSED_AT_ONCE));
    while let Some((session, server, instance)) = left.recv().await {
        let topology = parts.edge.topology.load_full();
        let Some(reach) = topology.node(&instance.node).map(|node| node.reach.clone()) else {
            continue;
        };
        let Ok(turn) = Arc::clone(&at_once).acquire_owned().await else { return };
        let link = parts.control_link.clone();
        tokio::spawn(async move {
            let closing = cluster::close(&link, &reach, session, &server, instance.epoch);
            // What does not answer ends when it is idle.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
            drop(turn);
        });
    }
}

async fn sweep(parts: Arc<Parts>, interval: Duration) {
    let mut timer = tokio::time::interval(interval);
    timer.tick().await;
    let mut files_swept = Instant::now();
    parts.edge.records.sweep_files().await;
    parts.edge.state.states.sweep_files().await;
    loop {
        timer.tick().await;
        if files_swept.elapsed() > FILE_SWEEP {
            files_swept = Instant::now();
            parts.edge.records.sweep_files().await;
            parts.edge.state.states.sweep_files().await;
        }
        if parts.retired.is_raised() {
            return;
        }
        let removed = parts.registry.clean_up(now());
        for event in &removed {
            if let LeaseChange::Removed { id } = event {
                tracing::info!(node = %id, "Removed node {id}: gone for ten node timeouts");
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
        parts.edge.records.sweep().await;
    }
}
