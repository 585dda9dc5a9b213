//! Other servers for a runner that goes on: tried first, then put in the place of those before, which
//! are retired.

pub(super) mod adopt;
pub(super) mod retire;
pub mod trial;
