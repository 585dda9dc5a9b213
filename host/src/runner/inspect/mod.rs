//! What operators see of servers and instances.

pub mod instances;
pub mod servers;
