//! A load harness that speaks MCP from outside, and the fixtures it needs.
//!
//! `load.rs` is the wiring page: [`options`] says what to measure, one of the [`targets`] starts
//! it in a [`sandbox`], a [`generator`] puts it under load, one [`session`] a [`connection`],
//! [`drive`] reads [`usage`] at both ends of the window, and [`report`] turns the rounds into one
//! [`table`].
//! [`echo`], [`listen`] and [`minted`] belong to the fixture servers in `bin/`.
//!
//! What keeps the figures honest:
//!
//! - Targets take turns (A B C, A B C), so that a slow minute of the machine hits all of them,
//!   and ratios are taken inside a round before their median is.
//! - Every answer is checked for its id and for the text that this very call sent; a back end
//!   answers 404 to a session id that it did not mint. Wrong routing cannot look fast.
//! - CPU is that of the gateway's own processes, read at the instants at which calls are counted.

#![forbid(unsafe_code)]

pub mod connection;
pub mod drive;
pub mod echo;
pub mod generator;
pub mod listen;
pub mod minted;
pub mod options;
pub mod report;
pub mod sandbox;
pub mod session;
pub mod table;
pub mod targets;
pub mod usage;
