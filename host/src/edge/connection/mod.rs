//! Steps 1 and 8: accepts connections, closes silent ones, and accounts for each request.

pub mod activity;
pub mod listener;
pub mod server;
pub mod settle;
pub mod wire;
