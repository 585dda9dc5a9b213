//! Allocates until it is refused, which aborts it.

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, RouteError};

struct EatsMemory;

impl Fault for EatsMemory {
    const NAME: &'static str = "eats-memory";

    fn misbehave() -> Result<Decision, RouteError> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&hoard);
        }
    }
}

mooring_plugin::export_strategy!(Faulty<EatsMemory>);
