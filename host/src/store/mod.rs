//! What the edge remembers: bindings and tombstones in memory, large
//! `initialize` parameters and tombstones in the data folder.
//!
//! None of it is needed to recognise a session (its id says what it is); losing
//! the memory costs a node the question which sessions it holds.

mod bindings;
mod data;
mod record;
mod records;

pub use bindings::Bindings;
pub use data::DataFolder;
pub use record::{Binding, Bound, Record, Report};
pub use records::Records;
