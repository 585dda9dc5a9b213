//! Several servers behind one URL.

pub mod asking;
pub mod catalog;
pub mod collisions;
pub mod groups;
pub mod hidden;
pub mod merged;
pub mod offered;
pub mod one_meaning;
pub mod pages;
pub mod prefixed;
pub mod spellings;
pub mod tasks;
