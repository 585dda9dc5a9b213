//! `mooring::protocol`, as far as it is fuzzed: the same files, without what links wasmtime.

#![forbid(unsafe_code)]

pub mod protocol;
