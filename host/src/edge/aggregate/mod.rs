//! Step 4 for several servers behind one URL: who owns what is asked, and how it is named there.

pub mod batch;
pub mod get_stream;
pub mod list;
pub mod listener;
pub mod qualified;
pub mod reply;
pub mod requests;
pub mod rewrite;
pub mod tasks;
