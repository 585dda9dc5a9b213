//! Calls itself until the stack is used up.

use faults::{Fault, Faulty};
use mooring_strategies::{AffinityAction, Decision, RouteError};

struct OverflowsStack;

impl Fault for OverflowsStack {
    const NAME: &'static str = "overflows-stack";

    fn misbehave() -> Result<Decision, RouteError> {
        Ok(Decision {
            node: descend(0),
            affinity: AffinityAction::Keep,
        })
    }
}

mooring_plugin::export_strategy!(Faulty<OverflowsStack>);

#[expect(unconditional_recursion, reason = "this is the fault")]
fn descend(depth: u32) -> u32 {
    let frame = std::hint::black_box([depth; 16]);
    descend(frame[0] + 1) ^ frame[15]
}
