//! A plugin with its configuration, from which ready instances are made.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::conversing::ConversationInput;
use super::guest_text::plain;
use super::instance::{Blueprint, Fault, PluginInstance};
use super::line_rate::LineRate;
use super::quarantine::Quarantine;
use super::vocabulary::{Input, Plan, Topology};

/// Bytes of a plugin's name or version; the rest is cut off.
const NAME_BYTES: usize = 64;

/// Bytes of a plugin's error text: room for several mistakes with their reasons.
const COMPLAINT_BYTES: usize = 2000;

pub(super) struct Plugin {
    /// As the plugin states it.
    pub(super) name: String,
    pub(super) version: String,
    pub(super) plan: Arc<Plan>,
    /// By what it tells conversations apart, if it does.
    pub(super) conversations: Option<Arc<[ConversationInput]>>,
    config_json: String,
    blueprint: Blueprint,
    quarantine: Quarantine,
    complaints: LineRate,
}

/// Why there is no ready instance.
#[derive(Debug)]
pub(super) enum Unready {
    Start(Fault),
    Configure(Fault),
    /// With the plugin's own text, for the operator.
    ConfigureRefused(String),
    /// In `plan` of conversations.
    Plan(Fault),
    Update(Fault),
    UpdateRefused(String),
}

impl Plugin {
    /// Starts a first instance to learn the plugin's name, version and plan.
    pub(super) fn meet(blueprint: Blueprint, config_json: &str) -> Result<Self, Unready> {
        let mut instance = blueprint.start().map_err(Unready::Start)?;
        let (name, version) = instance.describe().map_err(Unready::Start)?;
        let plan = configure(&mut instance, config_json)?;
        let conversations = plan_conversations(&mut instance, config_json)?;
        let now = Instant::now();
        Ok(Self {
            quarantine: Quarantine::new(now),
            complaints: LineRate::new(now),
            name: plain(&name, NAME_BYTES),
            version: plain(&version, NAME_BYTES),
            plan: Arc::new(plan),
            conversations: conversations.map(Into::into),
            config_json: config_json.to_owned(),
            blueprint,
        })
    }

    /// Starts an instance that can decide on this topology.
    pub(super) fn ready(&self, topology: &Topology) -> Result<PluginInstance, Unready> {
        let mut instance = self.blueprint.start().map_err(Unready::Start)?;
        configure(&mut instance, &self.config_json)?;
        plan_conversations(&mut instance, &self.config_json)?;
        let updated = instance.update(topology).map_err(Unready::Update)?;
        updated.map_err(|text| Unready::UpdateRefused(plain(&text, COMPLAINT_BYTES)))?;
        Ok(instance)
    }

    pub(super) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Whether the plugin is bypassed after its many faults; ends the bypass when its time is over.
    pub(super) fn check_bypass(&self, now: impl FnOnce() -> Instant) -> bool {
        self.quarantine.check_bypass(now)
    }

    /// Records a fault. Returns whether it starts a bypass.
    pub(super) fn blame(&self, fault: impl fmt::Display, now: Instant) -> bool {
        let plugin = &*self.name;
        if let Some(dropped) = self.complaints.admit(now) {
            tracing::warn!(plugin, %fault, dropped, "the routing plugin failed");
        }
        let bypass = self.quarantine.fault(now);
        if let Some(bypass) = bypass {
            tracing::error!(
                plugin,
                ?bypass,
                "the routing plugin fails too often; the gateway decides without it"
            );
        }
        bypass.is_some()
    }

    /// What the fallback hashes: the session's id if the plan asks for it, else the
    /// first input that the request has.
    pub(super) fn fallback_key<'a>(&self, inputs: &[Option<&'a str>]) -> Option<&'a str> {
        let mut asked = self.plan.inputs.iter();
        let session = asked.position(|input| *input == Input::SessionId);
        let session = session.and_then(|position| inputs.get(position).copied().flatten());
        session.or_else(|| inputs.iter().copied().flatten().next())
    }
}

fn configure(instance: &mut PluginInstance, config_json: &str) -> Result<Plan, Unready> {
    let plan = instance.configure(config_json).map_err(Unready::Configure)?;
    plan.map_err(|text| Unready::ConfigureRefused(plain(&text, COMPLAINT_BYTES)))
}

/// `None` if the plugin does not tell conversations apart.
fn plan_conversations(
    instance: &mut PluginInstance,
    config_json: &str,
) -> Result<Option<Vec<ConversationInput>>, Unready> {
    let Some(plan) = instance.plan_conversations(config_json) else { return Ok(None) };
    let plan = plan.map_err(Unready::Plan)?;
    plan.map(Some).map_err(|text| Unready::ConfigureRefused(plain(&text, COMPLAINT_BYTES)))
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(fault) => write!(f, "it does not start: {fault}"),
            Self::Configure(fault) => write!(f, "it fails in configure: {fault}"),
            Self::Plan(fault) => write!(f, "it fails in plan: {fault}"),
            Self::ConfigureRefused(text) => write!(f, "it refuses its configuration: {text}"),
            Self::Update(fault) => write!(f, "it fails in update: {fault}"),
            Self::UpdateRefused(text) => write!(f, "it refuses the topology: {text}"),
        }
    }
}
