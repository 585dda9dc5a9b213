//! A coordinator and its nodes.

pub mod absent;
pub mod claims;
pub mod cluster_api;
pub mod cold_names;
pub mod common_address;
pub mod doors;
pub mod drain;
pub mod earlier_version;
pub mod epochs;
pub mod failover;
pub mod fair_shares;
pub mod handshake;
pub mod node_requests;
pub mod other_coordinator;
pub mod placement;
pub mod registration;
pub mod routing;
pub mod several_coordinators;
pub mod silence;
pub mod spread;
pub mod store_away;
pub mod store_doors;
pub mod strategies;
pub mod streams_of_the_dead;
pub mod take_over;
pub mod trust;
