//! Between the generated types and those of `mooring_strategies`: the same
//! words twice. Strings move, nothing is copied.

use mooring_strategies as core;

use crate::bindings::mooring::routing::types;

/// Inputs that need no allocation; a plan rarely asks for more than two.
const INLINE_INPUTS: usize = 8;

/// Lends the owned strings of a request to a strategy.
pub fn with_borrowed<R>(request: &types::Request, act: impl FnOnce(&core::Request<'_>) -> R) -> R {
    let mut inline = [None; INLINE_INPUTS];
    let more: Vec<_>;
    let inputs = match inline.get_mut(..request.inputs.len()) {
        Some(slots) => {
            for (slot, input) in slots.iter_mut().zip(&request.inputs) {
                *slot = input.as_deref();
            }
            &*slots
        }
        None => {
            more = request.inputs.iter().map(Option::as_deref).collect();
            more.as_slice()
        }
    };
    act(&core::Request {
        server: request.server,
        inputs,
        affinity: request.affinity,
        attempt: request.attempt,
        seed: request.seed,
        loads: request.loads.as_deref(),
    })
}

impl From<types::Topology> for core::Topology {
    fn from(topology: types::Topology) -> Self {
        Self {
            generation: topology.generation,
            local_zone: topology.local_zone,
            nodes: topology.nodes.into_iter().map(Into::into).collect(),
            servers: topology.servers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<types::Node> for core::Node {
    fn from(node: types::Node) -> Self {
        Self {
            id: node.id,
            health: match node.health {
                types::Health::Healthy => core::Health::Healthy,
                types::Health::Degraded => core::Health::Degraded,
                types::Health::Draining => core::Health::Draining,
                types::Health::Unhealthy => core::Health::Unhealthy,
            },
            priority: node.priority,
            zone: node.zone,
            labels: node.labels,
        }
    }
}

impl From<types::Server> for core::Server {
    fn from(server: types::Server) -> Self {
        let replicas = server.replicas.into_iter();
        Self {
            name: server.name,
            replicas: replicas
                .map(|replica| core::Replica {
                    node: replica.node,
                    weight: replica.weight,
                })
                .collect(),
        }
    }
}

impl From<core::Plan> for types::Plan {
    fn from(plan: core::Plan) -> Self {
        Self {
            inputs: plan.inputs.into_iter().map(Into::into).collect(),
            carrier: plan.carrier.into(),
            affinity_ttl_seconds: plan.affinity_ttl_seconds,
            wants_loads: plan.wants_loads,
        }
    }
}

impl From<core::Input> for types::Input {
    fn from(input: core::Input) -> Self {
        match input {
            core::Input::SessionId => Self::SessionId,
            core::Input::Header(name) => Self::Header(name),
            core::Input::Cookie(name) => Self::Cookie(name),
            core::Input::Query(name) => Self::Query(name),
            core::Input::RpcMethod => Self::RpcMethod,
            core::Input::RpcTarget => Self::RpcTarget,
            core::Input::Body(pointer) => Self::Body(pointer),
            core::Input::Principal => Self::Principal,
            core::Input::ClientAddress => Self::ClientAddress,
        }
    }
}

impl From<core::Carrier> for types::Carrier {
    fn from(carrier: core::Carrier) -> Self {
        match carrier {
            core::Carrier::None => Self::None,
            core::Carrier::Session => Self::Session,
            core::Carrier::Cookie(name) => Self::Cookie(name),
            core::Carrier::Header(name) => Self::Header(name),
        }
    }
}

impl From<core::Decision> for types::Decision {
    fn from(decision: core::Decision) -> Self {
        Self {
            node: decision.node,
            affinity: match decision.affinity {
                core::AffinityAction::Keep => types::AffinityAction::Keep,
                core::AffinityAction::Pin => types::AffinityAction::Pin,
                core::AffinityAction::Clear => types::AffinityAction::Clear,
            },
        }
    }
}

impl From<core::RouteError> for types::RouteError {
    fn from(error: core::RouteError) -> Self {
        match error {
            core::RouteError::NoCandidate => Self::NoCandidate,
            core::RouteError::Abstain => Self::Abstain,
            core::RouteError::MissingInput => Self::MissingInput,
        }
    }
}
