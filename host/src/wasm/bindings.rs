//! wasmtime's bindings of `wit/routing.wit`, and the translation to and from the
//! plain types in [`vocabulary`].
//!
//! One contract is bound twice: with plain calls for ordinary plugins, and with
//! fiber calls for those in the WASI sandbox, whose host functions are futures.
//! Both bindings share their types.

use super::conversing::{ConversationAnswer, ConversationInput};
use super::vocabulary;

pub(super) mod direct {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(super) mod sandboxed {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        ownership: Borrowing { duplicate_if_necessary: false },
        exports: { default: async },
        with: {
            "mooring:routing/types": super::direct::mooring::routing::types,
            "mooring:routing/log": super::direct::mooring::routing::log,
        },
    });
}

/// The optional part of the contract, which has no host functions.
pub(super) mod conversing {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "conversing",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

pub(super) mod conversing_sandboxed {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "conversing",
        ownership: Borrowing { duplicate_if_necessary: false },
        exports: { default: async },
        with: {
            "mooring:routing/conversation-types":
                super::conversing::mooring::routing::conversation_types,
        },
    });
}

pub(super) use conversing::mooring::routing::conversation_types;
pub(super) use direct::mooring::routing::{log, types};

/// The plugin's answer from a call to `route` that did not fault.
pub(super) type Answer = Result<vocabulary::Decision, vocabulary::RouteError>;

/// Borrows everything: the only copy is the one into the guest's memory.
pub(super) fn request<'a>(request: &vocabulary::Request<'a>) -> types::Request<'a> {
    types::Request {
        server: request.server,
        inputs: request.inputs,
        affinity: request.affinity,
        attempt: request.attempt,
        seed: request.seed,
        loads: request.loads,
    }
}

pub(super) fn answer(answer: Result<types::Decision, types::RouteError>) -> Answer {
    use types::{AffinityAction as Action, RouteError as Error};
    match answer {
        Ok(decision) => Ok(vocabulary::Decision {
            node: decision.node,
            affinity: match decision.affinity {
                Action::Keep => vocabulary::AffinityAction::Keep,
                Action::Pin => vocabulary::AffinityAction::Pin,
                Action::Clear => vocabulary::AffinityAction::Clear,
            },
        }),
        Err(Error::NoCandidate) => Err(vocabulary::RouteError::NoCandidate),
        Err(Error::Abstain) => Err(vocabulary::RouteError::Abstain),
        Err(Error::MissingInput) => Err(vocabulary::RouteError::MissingInput),
    }
}

pub(super) fn plan(plan: types::Plan) -> vocabulary::Plan {
    vocabulary::Plan {
        inputs: plan.inputs.into_iter().map(input).collect(),
        carrier: match plan.carrier {
            types::Carrier::None => vocabulary::Carrier::None,
            types::Carrier::Session => vocabulary::Carrier::Session,
            types::Carrier::Cookie(name) => vocabulary::Carrier::Cookie(name),
            types::Carrier::Header(name) => vocabulary::Carrier::Header(name),
        },
        affinity_ttl_seconds: plan.affinity_ttl_seconds,
        wants_loads: plan.wants_loads,
    }
}

fn input(input: types::Input) -> vocabulary::Input {
    match input {
        types::Input::SessionId => vocabulary::Input::SessionId,
        types::Input::Header(name) => vocabulary::Input::Header(name),
        types::Input::Cookie(name) => vocabulary::Input::Cookie(name),
        types::Input::Query(name) => vocabulary::Input::Query(name),
        types::Input::RpcMethod => vocabulary::Input::RpcMethod,
        types::Input::RpcTarget => vocabulary::Input::RpcTarget,
        types::Input::Body(pointer) => vocabulary::Input::Body(pointer),
        types::Input::Principal => vocabulary::Input::Principal,
        types::Input::ClientAddress => vocabulary::Input::ClientAddress,
    }
}

pub(super) fn conversation_input(
    input: conversation_types::ConversationInput,
) -> ConversationInput {
    use conversation_types::ConversationInput as Input;
    match input {
        Input::Principal => ConversationInput::Principal,
        Input::Header(name) => ConversationInput::Header(name),
        Input::Cookie(name) => ConversationInput::Cookie(name),
        Input::Query(name) => ConversationInput::Query(name),
        Input::RpcMethod => ConversationInput::RpcMethod,
        Input::RpcTarget => ConversationInput::RpcTarget,
        Input::Body(pointer) => ConversationInput::Body(pointer),
        Input::ClientName => ConversationInput::ClientName,
        Input::ClientAddress => ConversationInput::ClientAddress,
        Input::Connection => ConversationInput::Connection,
        Input::Handle => ConversationInput::Handle,
    }
}

pub(super) fn conversation_answer(
    answer: conversation_types::ConversationAnswer,
) -> ConversationAnswer {
    use conversation_types::ConversationAnswer as Answer;
    match answer {
        Answer::Abstain => ConversationAnswer::Abstain,
        Answer::Named(name) => ConversationAnswer::Named(name),
        Answer::Alone => ConversationAnswer::Alone,
    }
}

/// Lists that the borrowed topology of a call points into.
pub(super) struct TopologyLists<'a> {
    topology: &'a vocabulary::Topology,
    labels: Vec<Vec<(&'a str, &'a str)>>,
    replicas: Vec<Vec<types::Replica>>,
}

impl<'a> TopologyLists<'a> {
    pub(super) fn new(topology: &'a vocabulary::Topology) -> Self {
        let labels = topology.nodes.iter().map(|node| {
            let labels = node.labels.iter();
            labels.map(|(key, value)| (&**key, &**value)).collect()
        });
        let replicas = topology.servers.iter().map(|server| {
            let replicas = server.replicas.iter();
            replicas
                .map(|replica| types::Replica { node: replica.node, weight: replica.weight })
                .collect()
        });
        Self { topology, labels: labels.collect(), replicas: replicas.collect() }
    }

    pub(super) fn nodes(&self) -> Vec<types::Node<'_>> {
        let nodes = self.topology.nodes.iter().zip(&self.labels);
        nodes
            .map(|(node, labels)| types::Node {
                id: &node.id,
                health: health(node.health),
                priority: node.priority,
                zone: &node.zone,
                labels,
            })
            .collect()
    }

    pub(super) fn servers(&self) -> Vec<types::Server<'_>> {
        let servers = self.topology.servers.iter().zip(&self.replicas);
        servers.map(|(server, replicas)| types::Server { name: &server.name, replicas }).collect()
    }

    pub(super) fn topology<'b>(
        &'b self,
        nodes: &'b [types::Node<'b>],
        servers: &'b [types::Server<'b>],
    ) -> types::Topology<'b> {
        types::Topology {
            generation: self.topology.generation,
            local_zone: &self.topology.local_zone,
            nodes,
            servers,
        }
    }
}

fn health(health: vocabulary::Health) -> types::Health {
    match health {
        vocabulary::Health::Healthy => types::Health::Healthy,
        vocabulary::Health::Degraded => types::Health::Degraded,
        vocabulary::Health::Draining => types::Health::Draining,
        vocabulary::Health::Unhealthy => types::Health::Unhealthy,
    }
}
