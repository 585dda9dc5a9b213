//! The operators' views: instances and logs.

pub mod instances;
pub mod local_key;
pub mod logs;
