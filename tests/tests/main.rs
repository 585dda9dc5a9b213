//! Mooring, seen from outside: processes, settings files, sockets.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod access;
mod aggregate;
mod asking;
mod bad_input;
mod batches;
mod borrowed;
mod browsers;
mod catalogue;
mod chaos;
mod children;
mod cli;
mod cluster_api;
mod collisions;
mod config;
mod conformance;
mod conformance_client;
mod containment;
mod crowds;
mod deployment;
mod examples;
mod failing_servers;
mod failover;
mod fidelity;
mod floors;
mod get_stream;
mod groups;
mod headers;
mod hidden;
mod inspector;
mod instances;
mod isolation;
mod leftovers;
mod legacy_sse;
mod legacy_sse_cluster;
mod lifecycle;
mod limits;
mod listening;
mod liveness;
mod logs;
mod long_calls;
mod losing;
mod lost_sessions;
mod many_children;
mod odd_values;
mod old_upstreams;
mod orders;
mod pages;
mod placement;
mod plugins;
mod real_servers;
mod registration;
mod repeats;
mod restart;
mod resuming;
mod routing;
mod running;
mod sdk;
mod sdk_examples;
mod sdk_over_sse;
mod sent_along;
mod sessions;
mod slow_servers;
mod spread;
mod strategies;
mod streams;
mod tasks;
mod timeouts;
mod trust;
mod unruly;
mod upstreams;
mod witness;
