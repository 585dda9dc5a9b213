//! State of sessions that comes along to a new instance: what is kept of it, and where.

pub mod joined;
mod known_file;
pub mod session_states;
pub mod state_log;
pub mod state_text;
