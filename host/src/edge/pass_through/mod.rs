//! Step 4 for one server behind the URL: bytes pass unchanged.

pub mod counted;
pub mod event_ends;
pub mod following;
pub mod get_stream;
pub mod listened;
pub mod merged;
pub mod node_listening;
pub mod pass;
pub mod prefixed_names;
pub mod stateless;
pub mod told_loss;
