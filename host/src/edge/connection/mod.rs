//! Steps 1 and 8: accepts connections within their bounds, closes the silent and the slow, and
//! accounts for each request.

pub mod activity;
pub mod base_path;
pub mod counts;
mod lame_duck;
pub mod listener;
pub mod not_here;
mod pace;
pub mod server;
pub mod settle;
pub mod table;
mod tracked;
pub mod unread;
pub mod wire;
