//! One line of a server's log, or why lines are missing.

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

/// One line of JSON in a log that nodes and the management API send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogEvent {
    /// What a process of the server wrote to stderr, without its line break.
    Line {
        /// Unix ms.
        at: u64,
        #[serde(default)]
        node: String,
        pid: u32,
        text: String,
        /// The line's number on its node, to continue there after an interruption. 0 in
        /// what is sent to clients.
        #[serde(default, skip_serializing_if = "is_zero")]
        number: u64,
    },
    /// Lines are missing because the reader was too slow.
    Lost {
        /// Number of missing lines.
        lost: u64,
        #[serde(default)]
        node: String,
    },
    /// A node cannot be followed at present; it is tried again every second.
    Unreachable {
        #[serde(default)]
        node: String,
        reason: String,
    },
}

impl LogEvent {
    /// The event with this node's id, whatever the node claimed, and without the number.
    pub fn told_by(mut self, id: &NodeId) -> Self {
        if let Self::Line { number, .. } = &mut self {
            *number = 0;
        }
        let (Self::Line { node, .. } | Self::Lost { node, .. } | Self::Unreachable { node, .. }) =
            &mut self;
        id.as_str().clone_into(node);
        self
    }

    /// Unix ms of a line, for sorting; 0 for other events.
    pub fn at(&self) -> u64 {
        match self {
            Self::Line { at, .. } => *at,
            Self::Lost { .. } | Self::Unreachable { .. } => 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
