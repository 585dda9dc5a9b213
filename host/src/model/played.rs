//! Time and chance of a simulated process: where a test has set them, they stand in for the
//! system's clock and its random numbers on the test's thread.

use std::cell::Cell;

/// What stands in for clock and chance.
#[derive(Clone, Copy)]
pub struct PlayedWorld {
    /// Milliseconds since 1970.
    pub now: fn() -> u64,
    /// Random bits.
    pub random: fn() -> u128,
}

thread_local! {
    static WORLD: Cell<Option<PlayedWorld>> = const { Cell::new(None) };
}

/// Sets what this thread's clock and chance are; `None` for those of the system.
pub fn play(world: Option<PlayedWorld>) {
    WORLD.set(world);
}

/// Whether something stands in for them: then the machine counts for nothing.
pub fn is_played() -> bool {
    WORLD.get().is_some()
}

pub(super) fn now() -> Option<u64> {
    WORLD.get().map(|world| (world.now)())
}

pub(super) fn random() -> Option<u128> {
    WORLD.get().map(|world| (world.random)())
}
