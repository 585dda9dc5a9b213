//! Panics, which is a trap.

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, RouteError};

struct Traps;

impl Fault for Traps {
    const NAME: &'static str = "traps";

    fn misbehave() -> Result<Decision, RouteError> {
        panic!("this strategy traps on purpose")
    }
}

mooring_plugin::export_strategy!(Faulty<Traps>);
