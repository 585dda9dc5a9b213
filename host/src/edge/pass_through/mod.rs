//! Step 4 for one server behind the URL: bytes pass.

pub mod get_stream;
pub mod pass;
