//! Servers on other machines.

pub mod old_upstreams;
pub mod sent_along;
pub mod upstreams;
