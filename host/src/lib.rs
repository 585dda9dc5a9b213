//! Mooring: a WebAssembly-extensible routing gateway for the Model Context
//! Protocol. ARCHITECTURE.md describes how the parts fit together.

pub mod admin;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod edge;
pub mod model;
pub mod net;
pub mod oauth;
pub mod protocol;
pub mod runner;
pub mod seam;
pub mod store;
pub mod streams;
pub mod sync;
pub mod telemetry;
pub mod tls;
pub mod wasm;
