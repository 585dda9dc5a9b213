//! Tests of Mooring from outside: through processes, settings files and sockets.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod aggregate;
mod cluster;
mod failures;
mod http;
mod looking;
mod modern;
mod processes;
mod product;
mod reload;
mod remote;
mod sessions;
mod streams;
mod tolerance;
mod witnesses;
