//! Child processes: how they are started, confined and measured, and how all of them end.

pub mod child;
pub mod machine;
pub mod pressure;
pub mod program;
#[cfg(target_os = "linux")]
pub mod supervisor;
#[cfg(not(target_os = "linux"))]
pub mod unsupervised;
pub mod usage;
