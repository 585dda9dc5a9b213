//! The data folder: private files that must survive a restart, the secrets among them, and how far
//! the folder can be used.

pub mod data;
pub mod folder_state;
pub mod private;
pub mod secrets;
