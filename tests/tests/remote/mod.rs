//! Servers on other machines.

pub mod old_upstreams;
pub mod proxies;
pub mod sent_along;
pub mod tokens;
pub mod upstreams;
