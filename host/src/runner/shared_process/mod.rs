//! One process shared by several sessions that do not see each other (setting `isolation`).

pub mod id_map;
pub mod lists;
pub mod mux;
pub mod process;
pub mod seat;
pub mod subscriptions;
pub mod tasks;
