//! The operators' views: instances and logs.

pub mod explain;
pub mod foreign_text;
pub mod instances;
pub mod local_key;
pub mod logs;
pub mod page;
