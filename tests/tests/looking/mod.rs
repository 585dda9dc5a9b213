//! The operators' views: instances and logs.

pub mod commands;
pub mod errors;
pub mod explain;
pub mod foreign_text;
pub mod instances;
pub mod local_key;
pub mod log_lines;
pub mod logs;
pub mod outage;
pub mod page;
