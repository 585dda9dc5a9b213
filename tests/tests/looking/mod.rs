//! What operators see.

pub mod instances;
pub mod logs;
