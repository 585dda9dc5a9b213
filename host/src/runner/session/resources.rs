//! What all servers of this process are run with.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::ServerName;
use crate::runner::admission::starts::Starts;
use crate::runner::channel::pipe::SessionLimits;
use crate::runner::process::child::Children;
use crate::runner::shared_process::process::SharedProcesses;
use crate::runner::stderr::journal::Journal;
use crate::runner::stdio::spares::Spares;
use crate::sync::Locked;

/// What every server of a host is run with.
#[derive(Debug, Clone)]
pub struct Resources {
    /// But for the timeouts, which are the server's.
    pub rules: SessionLimits,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub spares: Arc<Spares>,
    /// What children write to stderr.
    pub journal: Journal,
    /// Servers of unknown transport that have been found to speak HTTP+SSE.
    pub old_transport: Arc<Locked<HashSet<ServerName>>>,
    /// The processes that sessions share.
    pub shared_processes: SharedProcesses,
}
