//! What may stand in a settings file, section by section.

pub mod access;
pub mod cluster;
pub mod confinement;
pub mod groups;
pub mod limits;
pub mod listen;
pub mod names;
pub mod servers;
pub mod sticky;
pub mod transport;
