//! Step 2, admit: who may come in, from where, and how much at once.

pub mod admit;
pub mod cors;
pub mod quota;
