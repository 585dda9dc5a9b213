//! The sections of a settings file: their keys, defaults and limits.

pub mod access;
pub mod children;
pub mod cluster;
pub mod confinement;
pub mod groups;
pub mod limits;
pub mod listen;
pub mod names;
pub mod proxy;
pub mod sandbox;
pub mod servers;
pub mod sticky;
pub mod transport;
