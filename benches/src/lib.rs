//! A load harness that speaks MCP from outside, and the fixtures it needs.
//!
//! `load.rs` connects the parts: [`options`] say what to measure, one of the [`targets`] is started
//! in a [`sandbox`], a [`generator`] puts it under load with one [`connection`] per [`session`] (or per
//! client that goes [`alone`], without one),
//! [`drive`] reads [`usage`] at both ends of the window, and [`report`] turns the rounds into one
//! [`table`].
//! An [`endpoint`] says where a target listens.
//! [`instructions`] counts with the same targets and sessions what a call takes, without a load.
//! [`echo`], [`listen`] and [`minted`] belong to the fixture servers in `bin/`.
//!
//! How the figures stay honest:
//!
//! - Targets take turns (A B C, A B C), so that a slow minute of the machine affects all of them.
//!   Ratios are taken within a round, and then their median.
//! - Every answer is checked for its id and for the text that its call has sent; a back end answers
//!   404 to a session id that it did not mint. So wrong routing cannot look fast.
//! - CPU time is that of the gateway's own processes, read when the calls are counted.

#![forbid(unsafe_code)]

pub mod alone;
pub mod connection;
pub mod drive;
pub mod echo;
pub mod endpoint;
pub mod generator;
pub mod instructions;
pub mod listen;
pub mod minted;
pub mod options;
pub mod report;
pub mod sandbox;
pub mod session;
pub mod table;
pub mod targets;
pub mod usage;
