//! What each server offers, found out by asking it.

pub mod discovery;
pub mod own_call;
pub mod read_lists;
