//! Never comes back.

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, RouteError};

struct Loops;

impl Fault for Loops {
    const NAME: &'static str = "loops";

    fn misbehave() -> Result<Decision, RouteError> {
        loop {
            std::hint::black_box(());
        }
    }
}

mooring_plugin::export_strategy!(Faulty<Loops>);
