//! One process for several sessions, which know nothing of each other (`isolation`).

pub mod id_map;
pub mod lists;
pub mod mux;
pub mod process;
pub mod seat;
