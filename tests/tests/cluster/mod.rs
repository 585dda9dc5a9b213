//! A coordinator and its nodes.

pub mod cluster_api;
pub mod failover;
pub mod fair_shares;
pub mod placement;
pub mod registration;
pub mod routing;
pub mod spread;
pub mod strategies;
pub mod trust;
