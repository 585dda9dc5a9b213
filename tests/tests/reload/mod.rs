//! Settings that are replaced while the gateway runs.

mod applied;
mod as_at_start;
mod cluster;
mod other_settings;
mod refused;
mod rules;
mod streams;
mod triggers;
mod under_load;
