//! What the fuzzed files need of `mooring::model`.

#[path = "../../host/src/model/visible.rs"]
pub mod visible;
