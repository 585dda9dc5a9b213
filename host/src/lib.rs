//! Mooring: a WebAssembly-extensible routing gateway for the Model Context
//! Protocol. ARCHITECTURE.md says how the parts fit.

pub mod model;
pub mod protocol;
pub mod host;
pub mod seam;
pub mod store;
