//! The part of the runner that all workers of this process share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

use crate::model::{Epoch, ServerName};
use crate::net::Pool;
use crate::streams::KeptAnswers;
use crate::sync::LimitCounts;
use crate::telemetry::Traces;

use super::admission::process_limits::ProcessCaps;
use super::admission::starts::Starts;
use super::bridge::process::ModernProcesses;
use super::catalog::discovery::Discovery;
use super::channel::terms::SessionLimits;
use super::process::child::Children;
use super::remote::left_calls::LeftCalls;
use super::session::complaints::Complaints;
use super::session::instance::Instance;
use super::session::resources::{Resources, ServerErrors};
use super::session::served::{CurrentServers, Servers};
use super::session::slow_starts::SlowStarts;
use super::session::stream_leases::StreamLeases;
use super::session::table::looking::Held;
use super::session::table::{InstanceKey, Table};
use super::shared_process::process::SharedProcesses;
use super::stderr::journal::Journal;
use super::stdio::spares::Spares;

/// Longest wait at the end of the process for messages that remote servers are to accept.
const FAREWELL: Duration = Duration::from_secs(2);
/// Programs that write or read state, at a time: they count against no limit of processes.
const STATE_PROGRAMS: usize = 8;

/// The settings of the runner.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Those of the start; a reload replaces them.
    pub servers: Servers,
    /// Largest message of a client, in bytes.
    pub message: usize,
    pub rules: SessionLimits,
    /// Bytes that the streams of all sessions may keep.
    pub kept: usize,
    /// A session that is unused for this long is closed, unless its server has an own
    /// time.
    pub idle: Duration,
    pub caps: ProcessCaps,
    /// A process that is unused for longer may be ended where a limit is reached.
    pub unused: Duration,
    /// Servers that may be started at the same time.
    pub starts: usize,
}

/// The instances of this process and everything they need. Each worker has a `Runner`
/// with a reference to it.
pub struct SharedRunner {
    pub(super) config: RunnerConfig,
    /// The servers as they are now.
    pub(super) servers: CurrentServers,
    /// Notified when they were replaced, for the sweep, and for what retires instances.
    pub(super) reloaded: Notify,
    pub(super) retiring: Notify,
    pub(super) traces: Option<Arc<Traces>>,
    pub(super) resources: Resources,
    pub(super) table: Table,
    pub discovery: Arc<Discovery>,
    pub(super) complaints: Complaints,
    /// The gateways that have streams of sessions of HTTP+SSE.
    pub(super) stream_leases: StreamLeases,
}

impl SharedRunner {
    #[must_use]
    pub fn new(config: RunnerConfig, traces: Option<Arc<Traces>>) -> Arc<Self> {
        let errors = config.servers.keys().map(|server| (server.clone(), Arc::default()));
        let resources = Resources {
            rules: config.rules,
            kept: KeptAnswers::new(config.kept),
            left_calls: LeftCalls::new("callsWithoutClient"),
            left_notes: LeftCalls::new("notesWithoutAnswer"),
            children: Children::default(),
            starts: Starts::new(config.servers.keys(), config.caps.clone(), config.starts),
            spares: Spares::none(),
            journal: Journal::default(),
            old_transport: Arc::default(),
            wanting_tokens: Arc::default(),
            revisions: Arc::default(),
            eras: Arc::default(),
            modern_processes: ModernProcesses::default(),
            shared_processes: SharedProcesses::default(),
            errors: Arc::new(ArcSwap::from_pointee(errors.collect())),
            slow_starts: Arc::default(),
            evictions: Arc::default(),
            state_programs: Arc::new(Semaphore::new(STATE_PROGRAMS)),
        };
        let servers = Arc::new(ArcSwap::from_pointee(config.servers.clone()));
        let discovery = Arc::new(Discovery::new(Arc::clone(&servers), resources.clone()));
        let (table, complaints) = (Table::default(), Complaints::default());
        let (reloaded, retiring) = (Notify::new(), Notify::new());
        Arc::new(Self {
            config,
            traces,
            servers,
            reloaded,
            retiring,
            resources,
            table,
            discovery,
            complaints,
            stream_leases: StreamLeases::default(),
        })
    }

    /// At most `limit` open sessions after a cursor, as reported to a coordinator.
    #[must_use]
    pub fn held(&self, after: Option<&InstanceKey>, limit: usize) -> Vec<Held> {
        self.table.page(after, limit)
    }

    /// The number of instances, including those that are being opened.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.table.len()
    }

    /// The child processes that have not ended.
    #[must_use]
    pub fn children(&self) -> &Children {
        &self.resources.children
    }

    /// Hides these files from servers that are started from now on.
    pub fn hide_files(&self, files: &[PathBuf]) {
        self.resources.children.hide(files);
    }

    /// The errors that clients got from servers, or from this runner in their place.
    #[must_use]
    pub fn errors(&self) -> Arc<ServerErrors> {
        self.resources.errors.load_full()
    }

    /// Servers without spares that took long to start.
    #[must_use]
    pub fn slow_starts(&self) -> &SlowStarts {
        &self.resources.slow_starts
    }

    /// What has happened at the limits on processes, answers and calls.
    pub fn limits_met(&self) -> impl Iterator<Item = &LimitCounts> {
        let starts = &self.resources.starts;
        let met = starts.caps.met();
        let of_processes = [&met.instances, &met.server, &met.node, &met.principal];
        let Resources { kept, left_calls, left_notes, .. } = &self.resources;
        let of_answers = [&starts.crowded, kept.met(), left_calls.met(), left_notes.met()];
        of_processes.into_iter().chain(of_answers)
    }

    /// The servers as they are now.
    #[must_use]
    pub fn current(&self) -> Arc<Servers> {
        self.servers.load_full()
    }

    #[must_use]
    pub fn has(&self, server: &ServerName) -> bool {
        self.servers.load().contains_key(server)
    }

    /// The names of the servers as they are now.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerName> {
        self.servers.load().keys().cloned().collect()
    }

    /// Closes the instance of one session at one server, unless its epoch is higher than `up_to`.
    pub async fn close(&self, key: &InstanceKey, up_to: Option<Epoch>, pool: &Pool) {
        if let Some(instance) = self.table.remove(key, up_to) {
            instance.close(pool).await;
        }
    }

    /// Closes the instances of sessions whose clients have their streams at gateways that are gone.
    /// Returns how many there were.
    pub fn close_of_streams(&self, pool: &Pool) -> usize {
        let left = self.table.take_of_streams();
        let count = left.len();
        self.close_left(left, pool);
        count
    }

    /// Closes instances that were taken out of the table, in the background.
    pub(super) fn close_left(&self, left: Vec<Arc<Instance>>, pool: &Pool) {
        let pool = pool.clone();
        tokio::spawn(async move {
            for instance in left {
                instance.close(&pool).await;
            }
        });
    }

    /// Closes all instances and ends discovery. Children have their usual time to end.
    pub async fn close_all(&self, pool: &Pool) {
        self.resources.spares.stop();
        self.discovery.stop();
        let closing = self.table.take_all().into_iter().map(|instance| async move {
            instance.close(pool).await;
        });
        futures_util::future::join_all(closing).await;
        self.resources.shared_processes.close();
        self.resources.modern_processes.close();
        // Sessions of discoveries that were broken off are left on tasks of their own.
        let left = self.resources.left_notes.over();
        if tokio::time::timeout(FAREWELL, left).await.is_err() {
            tracing::debug!("remote servers did not accept the last messages in time");
        }
    }
}
