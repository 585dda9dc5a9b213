//! `header`: the node that the client names in a header that a response gave it.

use crate::affinity::keep_or_pin;
use crate::rendezvous::Rendezvous;
use crate::session;
use crate::settings::Settings;
use crate::vocabulary::{Carrier, Decision, Plan, Request, RouteError, Strategy, Topology};

#[derive(Debug, Clone, Default)]
pub struct Header {
    rendezvous: Rendezvous,
}

impl Strategy for Header {
    const NAME: &'static str = "header";

    fn configure(config_json: &str) -> Result<(Self, Plan), String> {
        let settings = Settings::parse(config_json)?;
        let carrier = Carrier::Header(settings.header_name.clone());
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
