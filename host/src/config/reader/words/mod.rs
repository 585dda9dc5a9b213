//! What words of a settings file mean: those of other clients, misspelt ones, names of strategies.

pub mod nearest;
pub mod server_like;
pub mod server_words;
pub mod spellings;
pub mod strategies;
pub mod switches;
pub mod tool_lists;
