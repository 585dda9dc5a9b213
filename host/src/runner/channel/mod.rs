//! The messages between a session and its server: which answer belongs to which request, and
//! which stream each message goes to.

pub mod answer;
pub mod error_counts;
pub mod in_flight;
pub mod incoming;
pub mod judge;
pub mod list_changes;
pub mod long_line;
pub mod mailbox;
pub mod message_ids;
pub mod notices;
pub mod own_answers;
pub mod pipe;
pub mod queue;
pub mod responses;
pub mod sink;
pub mod spoilt;
pub mod terms;
pub mod timeout;
