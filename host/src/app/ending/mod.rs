//! The end of the process: what asks for it, the drain, and the next process that takes over.

pub mod drain;
pub mod hand_over;
pub mod shutdown;
pub mod signals;
