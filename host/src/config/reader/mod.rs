//! How a settings file is read: text, tree, objects and values, each with its place.

pub mod document;
pub mod dot_env;
pub mod expand;
pub mod finding;
pub mod headers;
pub mod item;
pub mod json;
pub mod keys;
pub mod known_keys;
pub mod place;
pub mod reading;
pub mod secret;
pub mod secret_file;
pub mod secret_files;
pub mod section;
pub mod shown;
pub mod source;
pub mod unclosed;
pub mod urls;
pub mod words;
