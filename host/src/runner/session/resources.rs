//! What all servers of this process have in common.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::ServerName;
use crate::runner::admission::starts::Starts;
use crate::runner::channel::terms::SessionLimits;
use crate::runner::process::child::Children;
use crate::runner::shared_process::process::SharedProcesses;
use crate::runner::stderr::journal::Journal;
use crate::runner::stdio::spares::Spares;
use crate::streams::KeptAnswers;
use crate::sync::Locked;

/// What is needed to start any server of this runner. A clone is another handle.
#[derive(Debug, Clone)]
pub struct Resources {
    /// The limits of every session. The timeouts are replaced by the server's own.
    pub rules: SessionLimits,
    /// What the streams of all sessions keep.
    pub kept: Arc<KeptAnswers>,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub spares: Arc<Spares>,
    /// What processes of servers write to stderr.
    pub journal: Journal,
    /// Servers of unknown transport that turned out to speak HTTP+SSE.
    pub old_transport: Arc<Locked<HashSet<ServerName>>>,
    /// The processes that sessions share.
    pub shared_processes: SharedProcesses,
}
