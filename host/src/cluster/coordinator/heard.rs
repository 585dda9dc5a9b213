//! What a coordinator tells the others of nodes.

use crate::model::NodeId;

/// What a coordinator hears of a node by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has registered or sent a heartbeat.
    From(NodeId),
    /// Its start with this incarnation has signed off.
    Left(NodeId, String),
}
