//! What must hold for every input, written once: `fuzz/` looks for inputs that break it, and the
//! tests here try the same seeds with some thousand changes each on every run.
//!
//! A property takes any bytes and panics where it does not hold.

pub mod envelope;
pub mod http1;
pub mod sse;

#[cfg(test)]
mod mutation;
