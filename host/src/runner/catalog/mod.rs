//! The tools, prompts and resources that each server offers.

pub mod discover;
pub mod discovery;
pub mod gathered;
mod mended;
pub mod own_call;
pub mod probe;
pub mod read_list;
pub mod read_lists;
