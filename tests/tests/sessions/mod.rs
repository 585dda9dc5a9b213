//! Sessions: how they begin, what they survive, and what clients are notified of.

pub mod beginning;
pub mod kept_texts;
pub mod long_calls;
pub mod losing;
pub mod lost_sessions;
pub mod opened;
pub mod quotas;
pub mod repeats;
pub mod restart;
pub mod resuming;
pub mod revisions;
pub mod state_comes_along;
pub mod state_planned;
pub mod state_unusable;
pub mod state_working_directory;
pub mod timeouts;
pub mod unread;
