//! The revision without sessions, 2026-07-28: each request stands for itself.
//!
//! A request is classified by its body (`entry`), finds its conversation and inner session (`request`)
//! and is answered from the scope's catalog (`discover`, `lists`), by a server (`calls`; about one of its
//! tasks: `tasks`; `passed`, if that server has no sessions either), or for as long as the client listens
//! (`listen`, within its `listener_place`; for whom servers are subscribed to, `listened_resources`, and to
//! which again, `unheard`; what of it is the client's, where it may use only some, `own_view`; how tasks are
//! watched for it, `task_watch`; what is told once, `changed_lists`; who is asked for its lists itself,
//! `list_servers`). `respond` makes the response: JSON for as long as there is
//! nothing but the answer to say, else an event stream, which the client closes to cancel.

pub mod calls;
pub mod changed_lists;
pub mod discover;
pub mod entry;
pub mod list_servers;
pub mod listen;
pub mod listened_resources;
pub mod listener_place;
pub mod lists;
pub mod own_view;
pub mod passed;
pub mod request;
pub mod respond;
pub mod subscribed;
pub mod task_watch;
pub mod tasks;
pub mod unheard;
