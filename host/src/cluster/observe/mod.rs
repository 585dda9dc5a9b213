//! Instances and logs of all nodes at once.

pub mod conditions;
pub mod instances;
pub mod log_event;
pub mod logs;
pub mod overview;
