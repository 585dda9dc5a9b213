//! Processes that speak MCP over pipes: their readers, their writers and how they end.

pub mod lifetime;
pub mod own_process;
pub mod running;
pub mod spares;
