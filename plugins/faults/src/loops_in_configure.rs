//! Never comes back from `configure`: admission must cut it off.

use mooring_strategies::{Decision, Plan, Request, RouteError, Strategy, Topology};

struct LoopsInConfigure;

impl Strategy for LoopsInConfigure {
    const NAME: &'static str = "loops-in-configure";

    fn configure(_config_json: &str) -> Result<(Self, Plan), String> {
        loop {
            std::hint::black_box(());
        }
    }

    fn update(&mut self, _topology: &Topology) -> Result<(), String> {
        Ok(())
    }

    fn route(&self, _request: &Request<'_>) -> Result<Decision, RouteError> {
        Err(RouteError::Abstain)
    }
}

mooring_plugin::export_strategy!(LoopsInConfigure);
