//! What clients see when something goes wrong: faults × states of sessions, as numbers.

mod cable;
mod cell;
mod client;
mod faults;
mod ground;
mod matrix;
mod moment;
mod over_sse;
mod proxy;
mod states;
mod trial;
