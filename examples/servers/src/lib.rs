//! The common part of the example servers: MCP over stdio, in plain threads.
//!
//! A server is a type that implements [`Example`]: a name, a table of tools and, if it has any,
//! resources and prompts. [`serve`] does the rest.
//!
//! ```text
//!  stdin ── line ──► serve ──► quick tool: answered at once, in order
//!                      │
//!                      ├─────► slow tool: on its own thread, so nothing waits for it
//!                      │
//!  stdin ── EOF ───────┴─────► every slow call is cancelled, and serve returns
//! ```
//!
//! The servers are stricter than most: a request before `initialize`, or a second `initialize`, is
//! an error. This exposes a gateway that lets two sessions share one process.
//!
//! Environment: `MOORING_EXAMPLE_LABEL` becomes the title in `serverInfo`;
//! `MOORING_EXAMPLE_PAGE` is the number of entries on a page of a list (all if unset).
#![forbid(unsafe_code)]

mod call;
mod example;
mod jsonrpc;
mod serve;
mod tool;

pub use call::{Call, Waited};
pub use example::{Example, Reply, Settings};
pub use jsonrpc::{Failure, INVALID_PARAMS, RESOURCE_NOT_FOUND};
pub use serve::{run, serve};
pub use tool::{Answer, Arguments, Pace, Refusal, Tool};
