//! Mooring, seen from outside: processes, settings files, sockets.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod access;
mod aggregate;
mod bad_input;
mod catalogue;
mod children;
mod cli;
mod cluster_api;
mod config;
mod deployment;
mod examples;
mod failover;
mod floors;
mod groups;
mod liveness;
mod plugins;
mod registration;
mod restart;
mod routing;
mod sessions;
mod slow_servers;
mod strategies;
mod trust;
