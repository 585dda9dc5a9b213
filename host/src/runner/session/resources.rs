//! What all servers of this process have in common.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::model::{QuotaKey, ServerName};
use crate::runner::admission::starts::Starts;
use crate::runner::bridge::eras::Eras;
use crate::runner::bridge::process::ModernProcesses;
use crate::runner::channel::error_counts::ErrorCounts;
use crate::runner::channel::terms::{SessionLimits, SessionTerms};
use crate::runner::process::child::Children;
use crate::runner::remote::left_calls::{LeftCalls, LeftOfKey};
use crate::runner::shared_process::process::SharedProcesses;
use crate::runner::stderr::journal::Journal;
use crate::runner::stdio::spares::Spares;
use crate::streams::KeptAnswers;
use crate::sync::{Locked, Seldom};

use super::revision::Revisions;
use super::slow_starts::SlowStarts;
use super::wanting_tokens::WantingTokens;

/// The errors that clients got, by server. A reload keeps those of the servers that stay.
pub type ServerErrors = BTreeMap<ServerName, Arc<ErrorCounts>>;

/// What is needed to start any server of this runner. A clone is another handle.
#[derive(Debug, Clone)]
pub struct Resources {
    /// The limits of every session. The timeouts are replaced by the server's own.
    pub rules: SessionLimits,
    /// What the streams of all sessions keep.
    pub kept: Arc<KeptAnswers>,
    /// Calls that run at remote servers without a client.
    pub left_calls: Arc<LeftCalls>,
    /// Notes to remote servers that were not accepted yet.
    pub left_notes: Arc<LeftCalls>,
    pub children: Children,
    pub starts: Arc<Starts>,
    pub spares: Arc<Spares>,
    /// What processes of servers write to stderr.
    pub journal: Journal,
    /// Servers of unknown transport that turned out to speak HTTP+SSE.
    pub old_transport: Arc<Locked<HashSet<ServerName>>>,
    /// Remote servers that want a token.
    pub wanting_tokens: Arc<WantingTokens>,
    /// The revision that a server is asked for, since it has refused newer ones.
    pub revisions: Revisions,
    /// What is known of the servers' eras.
    pub eras: Arc<Eras>,
    /// The processes of servers without sessions.
    pub modern_processes: ModernProcesses,
    /// The processes that sessions share.
    pub shared_processes: SharedProcesses,
    /// The errors that clients got, by server.
    pub errors: Arc<ArcSwap<ServerErrors>>,
    /// Servers that take long to start.
    pub slow_starts: Arc<SlowStarts>,
    /// Lines of the log about processes that make room.
    pub evictions: Arc<Seldom>,
    /// Turns of the programs that write and read state.
    pub state_programs: Arc<Semaphore>,
}

impl Resources {
    /// The terms of a session of this key. `None`: one of the gateway's own.
    #[must_use]
    pub fn terms(&self, key: Option<&QuotaKey>) -> SessionTerms {
        let left = LeftOfKey {
            calls: Arc::clone(&self.left_calls),
            notes: Arc::clone(&self.left_notes),
            key: key.cloned(),
        };
        let has_client = key.is_some();
        let kept = self.kept.of(key);
        let (readings, errors) = (Arc::default(), Arc::default());
        let (limits, asks_in_calls) = (self.rules, false);
        SessionTerms { limits, kept, left, has_client, asks_in_calls, readings, errors }
    }
}
