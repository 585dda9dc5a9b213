//! One line of a server's log, or why there is none.

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogEvent {
    Line {
        at: u64,
        #[serde(default)]
        node: String,
        pid: u32,
        text: String,
        /// Where a node's lines go on after a break; for nobody else.
        #[serde(default, skip_serializing_if = "is_zero")]
        number: u64,
    },
    /// The reader was too slow for so many lines.
    Lost {
        lost: u64,
        #[serde(default)]
        node: String,
    },
    /// A node cannot be followed; it is tried again.
    Unreachable {
        #[serde(default)]
        node: String,
        reason: String,
    },
}

impl LogEvent {
    /// A node speaks for itself only.
    pub fn told_by(mut self, id: &NodeId) -> Self {
        if let Self::Line { number, .. } = &mut self {
            *number = 0;
        }
        let (Self::Line { node, .. } | Self::Lost { node, .. } | Self::Unreachable { node, .. }) =
            &mut self;
        id.as_str().clone_into(node);
        self
    }

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
