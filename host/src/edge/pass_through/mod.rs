//! Step 4 for one server behind the URL: bytes pass unchanged.

pub mod counted;
pub mod get_stream;
pub mod listened;
pub mod pass;
pub mod prefixed_names;
pub mod stateless;
