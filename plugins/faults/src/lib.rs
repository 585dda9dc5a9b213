//! Strategies that misbehave on purpose: the gateway's tests load them to see
//! that a fault costs one decision and never a request.
//!
//! Each is sound until a session's id, or the header `x-fault`, starts with
//! "fault", so that it passes admission first. Those that cannot get past
//! admission say so in their file.
#![forbid(unsafe_code)]

use std::marker::PhantomData;

use mooring_strategies::{
    ConsistentHash, Decision, Input, Plan, Request, RouteError, Strategy, Topology,
};

/// How a strategy goes wrong.
pub trait Fault {
    const NAME: &'static str;

    /// What it does instead of routing.
    fn misbehave() -> Result<Decision, RouteError>;

    fn is_due(request: &Request<'_>) -> bool {
        let mut inputs = request.inputs.iter().flatten();
        inputs.any(|input| input.starts_with("fault"))
    }
}

/// `consistent-hash` with a fault in it.
pub struct Faulty<F> {
    sound: ConsistentHash,
    fault: PhantomData<F>,
}

impl<F: Fault> Strategy for Faulty<F> {
    const NAME: &'static str = F::NAME;

    fn configure(config_json: &str) -> Result<(Self, Plan), String> {
        let (sound, mut plan) = ConsistentHash::configure(config_json)?;
        plan.inputs.push(Input::Header("x-fault".to_owned()));
        let fault = PhantomData;
        Ok((Self { sound, fault }, plan))
    }

    fn update(&mut self, topology: &Topology) -> Result<(), String> {
        self.sound.update(topology)
    }

    fn route(&self, request: &Request<'_>) -> Result<Decision, RouteError> {
        if F::is_due(request) {
            F::misbehave()
        } else {
            self.sound.route(request)
        }
    }
}
