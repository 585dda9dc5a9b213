//! Steps 1 and 8: accepts connections within their bounds, closes the silent and the slow, and
//! accounts for each request.

pub mod accept;
pub mod activity;
pub mod base_path;
pub mod client_certificates;
pub mod counts;
mod lame_duck;
pub mod listener;
pub mod not_here;
mod pace;
pub mod raw_head;
pub mod server;
pub mod settle;
mod socket_file;
pub mod streams;
pub mod table;
pub mod tls;
mod tracked;
pub mod unread;
pub mod wire;
