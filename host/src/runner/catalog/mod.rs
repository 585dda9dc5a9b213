//! The tools, prompts and resources that each server offers.

pub mod discovery;
pub mod own_call;
pub mod probe;
pub mod read_lists;
