//! `consistent-hash`: the session's id alone decides.
//!
//! The server's name is no part of the key: a session's servers land on one
//! node where they can, and its calls share that node's connections.

use crate::rendezvous::Rendezvous;
use crate::session;
use crate::settings::Settings;
use crate::vocabulary::{
    AffinityAction, Carrier, Decision, Plan, Request, RouteError, Strategy, Topology,
};

#[derive(Debug, Clone, Default)]
pub struct ConsistentHash {
    rendezvous: Rendezvous,
}

impl Strategy for ConsistentHash {
    const NAME: &'static str = "consistent-hash";

    fn configure(config_json: &str) -> Result<(Self, Plan), String> {
        let settings = Settings::parse(config_json)?;
        let plan = session::plan(&settings, Carrier::Session);
        Ok((Self::default(), plan))
    }

    fn update(&mut self, topology: &Topology) -> Result<(), String> {
        self.rendezvous = Rendezvous::build(topology)?;
        Ok(())
    }

    fn route(&self, request: &Request<'_>) -> Result<Decision, RouteError> {
        let key = session::key(request);
        let node = self
            .rendezvous
            .choose(request.server, key, request.attempt, None);
        Ok(Decision {
            node: node.ok_or(RouteError::NoCandidate)?,
            affinity: AffinityAction::Keep,
        })
    }
}
