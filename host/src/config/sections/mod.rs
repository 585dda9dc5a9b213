//! The sections of a settings file: their keys, defaults and limits.

pub mod access;
pub mod bearer_keys;
pub mod children;
pub mod cluster;
pub mod cluster_tls;
pub mod collectors;
pub mod eras;
mod foreign_locks;
pub mod groups;
pub mod limits;
pub mod listen;
pub mod listen_tls;
pub mod lists;
pub mod lock;
pub mod mcphub_variables;
pub mod names;
pub mod policy;
pub mod proxy;
pub mod rates;
pub mod server_lists;
pub mod servers;
pub mod state;
pub mod sticky;
pub mod store;
pub mod telemetry;
pub mod token_issuers;
