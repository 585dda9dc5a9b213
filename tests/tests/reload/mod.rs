//! Settings that are replaced while the gateway runs.

mod applied;
mod cluster;
mod other_settings;
mod refused;
mod triggers;
mod under_load;
