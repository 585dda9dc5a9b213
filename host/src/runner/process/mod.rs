//! Child processes: how they are started and confined, what they use, and that none is left
//! over.

pub mod child;
pub mod machine;
pub mod program;
#[cfg(target_os = "linux")]
pub mod supervisor;
#[cfg(not(target_os = "linux"))]
pub mod unsupervised;
pub mod usage;
