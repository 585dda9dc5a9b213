//! Third-party programs that speak MCP: SDKs, the conformance suite, the Inspector, browsers,
//! servers.

pub mod asked_aside;
pub mod browsers;
pub mod clients;
pub mod conformance;
pub mod conformance_client;
pub mod inspector;
pub mod manual_scenario;
pub mod page;
pub mod real_servers;
pub mod rolling_restart;
pub mod sdk;
pub mod sdk_examples;
pub mod sdk_over_sse;
