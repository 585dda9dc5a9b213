//! The operators' views: instances and logs.

pub mod instances;
pub mod logs;
