//! The operators' views: instances and logs.

pub mod call_logs;
pub mod collectors;
pub mod commands;
pub mod counters_over_reloads;
pub mod errors;
pub mod explain;
pub mod foreign_text;
pub mod grpc_collectors;
pub mod instances;
pub mod local_key;
pub mod log_files;
pub mod log_level;
pub mod log_lines;
pub mod logs;
pub mod metrics_page;
pub mod outage;
pub mod outage_of_the_store;
pub mod page;
pub mod remote_outage;
pub mod told_calls;
pub mod traces;
