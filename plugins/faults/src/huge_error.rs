//! Refuses its configuration with 8 MiB of text: admission must not copy that.

use mooring_strategies::{Decision, Plan, Request, RouteError, Strategy, Topology};

struct HugeError;

impl Strategy for HugeError {
    const NAME: &'static str = "huge-error";

    fn configure(_config_json: &str) -> Result<(Self, Plan), String> {
        Err("too much ".repeat(8 * 1024 * 1024 / 9))
    }

    fn update(&mut self, _topology: &Topology) -> Result<(), String> {
        Ok(())
    }

    fn route(&self, _request: &Request<'_>) -> Result<Decision, RouteError> {
        Err(RouteError::Abstain)
    }
}

mooring_plugin::export_strategy!(HugeError);
