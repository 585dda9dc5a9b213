//! Panics at every decision: admission must refuse it.

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, Request, RouteError};

struct TrapsAlways;

impl Fault for TrapsAlways {
    const NAME: &'static str = "traps-always";

    fn misbehave() -> Result<Decision, RouteError> {
        panic!("this strategy always traps on purpose")
    }

    fn is_due(_request: &Request<'_>) -> bool {
        true
    }
}

mooring_plugin::export_strategy!(Faulty<TrapsAlways>);
