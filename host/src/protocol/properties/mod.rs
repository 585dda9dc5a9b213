//! Properties that hold for every input, written once: `fuzz/` searches for inputs that break them,
//! and the tests here try the same seeds with some thousand changes each on every run.
//!
//! A property takes any bytes, and panics if it does not hold for them.

pub mod envelope;
pub mod http1;
pub mod meaning;
pub mod sse;

/// Not in `fuzz/` yet, whose workspace has neither base64 nor the headers.
#[cfg(test)]
mod era;
#[cfg(test)]
mod mutation;
