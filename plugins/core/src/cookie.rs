//! `cookie`: the node that the client's cookie names.

use crate::affinity::keep_or_pin;
use crate::rendezvous::Rendezvous;
use crate::session;
use crate::settings::Settings;
use crate::vocabulary::{Carrier, Decision, Plan, Request, RouteError, Strategy, Topology};

#[derive(Debug, Clone, Default)]
pub struct Cookie {
    rendezvous: Rendezvous,
}

impl Strategy for Cookie {
    const NAME: &'static str = "cookie";

    fn configure(config_json: &str) -> Result<(Self, Plan), String> {
        let settings = Settings::parse(config_json)?;
        let carrier = Carrier::Cookie(settings.cookie_name.clone());
        Ok((Self::default(), session::plan(&settings, carrier)))
    }

    fn update(&mut self, topology: &Topology) -> Result<(), String> {
        self.rendezvous = Rendezvous::build(topology)?;
        Ok(())
    }

    fn route(&self, request: &Request<'_>) -> Result<Decision, RouteError> {
        keep_or_pin(&self.rendezvous, request)
    }
}
