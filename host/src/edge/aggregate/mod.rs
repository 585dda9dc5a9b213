//! Step 4 for several servers behind one URL: which of them owns what a request names, and how the
//! owner names it.

pub mod addressed;
pub mod batch;
pub mod event_mark;
pub mod found_owners;
pub mod get_stream;
pub mod hidden;
pub mod links;
pub mod list;
pub mod listener;
mod question_links;
pub mod reply;
pub mod requested;
pub mod requests;
pub mod rewrite;
pub mod server_ids;
mod shown_uris;
mod skills;
pub mod tasks;
pub mod unlisted;
