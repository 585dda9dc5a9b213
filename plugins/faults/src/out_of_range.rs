//! Names a node that does not exist.

use faults::{Fault, Faulty};
use mooring_strategies::{AffinityAction, Decision, RouteError};

struct OutOfRange;

impl Fault for OutOfRange {
    const NAME: &'static str = "out-of-range";

    fn misbehave() -> Result<Decision, RouteError> {
        Ok(Decision {
            node: 9999,
            affinity: AffinityAction::Pin,
        })
    }
}

mooring_plugin::export_strategy!(Faulty<OutOfRange>);
