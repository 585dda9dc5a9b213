//! One pipe each way with a server: which answer belongs to which request, and what is said to
//! whom.

pub mod answer;
pub mod incoming;
pub mod long_line;
pub mod mailbox;
pub mod message_ids;
pub mod pipe;
pub mod questions;
pub mod queue;
pub mod responses;
pub mod sink;
pub mod timeout;
