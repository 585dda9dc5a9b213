//! The sections of a settings file: their keys, defaults and limits.

pub mod access;
pub mod bearer_keys;
pub mod cluster;
pub mod confinement;
mod foreign_locks;
pub mod groups;
pub mod limits;
pub mod listen;
pub mod lock;
pub mod names;
pub mod sandbox;
pub mod servers;
pub mod sticky;
pub mod transport;
