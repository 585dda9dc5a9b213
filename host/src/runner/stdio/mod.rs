//! A process with pipes that speaks MCP: its reader, its writer and its end.

pub mod lifetime;
pub mod own_process;
pub mod running;
pub mod spares;
