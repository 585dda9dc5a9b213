//! The instances of servers that sessions use: how they are opened, kept and replaced.

pub mod complaints;
pub mod hold;
pub mod instance;
pub mod launch;
pub mod modern_opening;
pub mod open;
pub mod opening;
pub mod owner;
pub mod recycling;
pub mod remote_opening;
pub mod renewals;
pub mod resources;
pub mod revision;
pub mod served;
mod server_start;
pub mod settings_note;
pub mod slow_starts;
pub mod state_program;
pub mod stream_leases;
pub mod table;
pub mod unsaved;
pub mod wanting_tokens;
pub mod withheld;
