//! Steps 1 and 8: connections, their limits and silence; what is counted when a request ends.

pub mod activity;
pub mod listener;
pub mod server;
pub mod settle;
pub mod wire;
