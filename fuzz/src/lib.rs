//! The fuzzed part of `mooring::protocol`: the same files, without those that link wasmtime.

#![forbid(unsafe_code)]

pub mod model;
pub mod protocol;
