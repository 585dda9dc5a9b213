//! Looking at all nodes at once: instances, and logs.

pub mod instances;
pub mod log_event;
pub mod logs;
