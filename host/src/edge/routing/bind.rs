//! The node of a session's server: the one that it is bound to, or the strategy's choice.

use std::sync::Arc;

use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Edge;
use crate::model::{Node, NodeId, Room, Topology};
use crate::protocol::era::field;
use crate::protocol::headers;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::splice::{self, RequestTarget};
use crate::store::Bound;
use crate::wasm::{Question, Trace, vocabulary};

use super::affinity::{self, Carrier, Token};
use super::decision::{Attempt, AttemptOutcome, ChosenBy};
use super::decisions::Deciding;
use super::shown_inputs::{AffinityNames, shown};

/// The binding of a session's server.
#[derive(Debug, Default)]
pub struct Holding {
    /// The node that it is bound to, if the session can go on there.
    pub node: Option<Arc<Node>>,
    /// Whether it has been open at the node that it is bound to.
    pub was_open: bool,
    /// Whether it has to be opened there first, since the node may hold an instance that the session
    /// has left.
    pub must_open: bool,
}

/// The chosen node, and the affinity token for the client, if it changes.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub node: NodeId,
    pub token: Option<Token>,
}

impl Call<'_> {
    /// The node that the server is bound to, if the session can go on there as it is.
    pub fn bound(&self, topology: &Topology, failed: &[NodeId]) -> Option<Arc<Node>> {
        let Holding { node, must_open, .. } = self.holding(topology, failed);
        node.filter(|_| !must_open)
    }

    /// The same, and whether the server has been open there.
    pub fn holding(&self, topology: &Topology, failed: &[NodeId]) -> Holding {
        let Self { worker, session, server, .. } = *self;
        let Some(bound) = worker.edge.bindings.get(session.id, server) else {
            return Holding::default();
        };
        let node = topology.node(&bound.node).filter(|node| {
            let lives = node.health.serves() && node.servers.contains_key(server);
            lives && !failed.contains(&bound.node)
        });
        let Bound { was_open, must_open, .. } = bound;
        Holding { node: node.map(Arc::clone), was_open, must_open }
    }

    /// Chooses a node by the strategy, or the least loaded one if sticky sessions are disabled or
    /// the strategy has no choice. `None` if no node is left.
    pub fn choose(
        &self,
        message: &[u8],
        failed: &[NodeId],
        deciding: &mut Deciding<'_>,
    ) -> Option<Chosen> {
        let edge = &self.worker.edge;
        deciding.sees(&edge.topology.load(), |node| edge.bindings.load(node));
        let mut attempt = Attempt {
            generation: edge.topology.load().generation,
            asked: None,
            by: ChosenBy::Strategy,
            excluded: failed.to_vec(),
            node: None,
            token: vocabulary::AffinityAction::Keep,
            outcome: AttemptOutcome::UnderWay,
        };
        let chosen = if edge.config.sticky {
            self.ask_strategy(message, failed, deciding, &mut attempt)
        } else {
            attempt.by = ChosenBy::LeastLoaded("sticky sessions are disabled");
            self.least_loaded(failed)
        };
        attempt.node = chosen.as_ref().map(|chosen| chosen.node.clone());
        deciding.chooses(attempt);
        chosen
    }

    /// The only node that has the server, if a strategy could choose no other, and would tell the
    /// client nothing.
    #[must_use]
    pub fn only_node(&self) -> Option<Arc<Node>> {
        let edge = &self.worker.edge;
        let topology = edge.topology.load();
        let mut replicas = topology.replicas(self.server);
        let only = replicas.next().filter(|node| node.health.accepts())?;
        let is_told = || edge.config.sticky && !matches!(edge.carrier(), Carrier::None);
        (replicas.next().is_none() && !is_told()).then(|| Arc::clone(only))
    }

    fn ask_strategy(
        &self,
        message: &[u8],
        failed: &[NodeId],
        deciding: &mut Deciding<'_>,
        attempt: &mut Attempt,
    ) -> Option<Chosen> {
        let Self { worker, context, session, server } = *self;
        let Some(crowded) = self.crowded(failed) else {
            attempt.by = ChosenBy::LeastLoaded("all nodes that have the server are full");
            return self.least_loaded(failed);
        };
        let config = &worker.edge.config;
        let strategy = &worker.edge.strategy;
        let plan = strategy.plan();
        let values = inputs(&plan, context, session, message, &config.key_header);
        let borrowed: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        let carrier = carrier(&plan);
        let key = worker.edge.signing_key();
        let affinity = context.and_then(|client| affinity::read(&carrier, &client.headers, key));
        let load = |node: &str| worker.edge.bindings.load(node);
        let excluded: Vec<&str> = failed.iter().chain(&crowded).map(NodeId::as_str).collect();
        let mut trace = Box::<Trace>::default();
        let choice = strategy.choose_traced(
            &Question {
                worker: worker.index,
                server: server.as_str(),
                plan: &plan,
                inputs: &borrowed,
                affinity: affinity.as_ref().map(NodeId::as_str),
                seed: seed(session),
                loads: Some(&load),
                excluded: &excluded,
            },
            &mut trace,
        );
        let names =
            AffinityNames { cookie: &config.affinity_cookie, header: &config.affinity_header };
        deciding.shows(shown(&plan.inputs, &values, session.id, names), affinity);
        if trace.fallback.is_some() {
            attempt.by = ChosenBy::Fallback;
        }
        attempt.asked = Some(trace);
        attempt.excluded.extend(crowded);
        let Some(choice) = choice else {
            attempt.by = ChosenBy::LeastLoaded("the strategy knows no node that can take it");
            // A node that has just registered is in the topology before the strategy knows it.
            return self.least_loaded(failed);
        };
        let node = NodeId::parse(&choice.node).ok()?;
        // The id that all bindings to the node share, instead of one for each.
        let topology = worker.edge.topology.load();
        let node = topology.node(&node).map_or(node, |known| known.id.clone());
        attempt.token = choice.affinity;
        let token = match choice.affinity {
            vocabulary::AffinityAction::Keep => None,
            vocabulary::AffinityAction::Pin => Some(Token::Pin(node.clone())),
            vocabulary::AffinityAction::Clear => Some(Token::Clear),
        };
        Some(Chosen { node, token })
    }

    /// Full nodes, excluded while others have room. `None` if all are full: a node then refuses by
    /// itself.
    fn crowded(&self, failed: &[NodeId]) -> Option<Vec<NodeId>> {
        let topology = self.worker.edge.topology.load();
        let (free, crowded): (Vec<&Arc<Node>>, Vec<&Arc<Node>>) = topology
            .replicas(self.server)
            .filter(|node| node.health.accepts() && !failed.contains(&node.id))
            .partition(|node| node.room == Room::Free);
        if free.is_empty() && !crowded.is_empty() {
            return None;
        }
        Some(crowded.into_iter().map(|node| node.id.clone()).collect())
    }

    fn least_loaded(&self, failed: &[NodeId]) -> Option<Chosen> {
        let topology = self.worker.edge.topology.load();
        let candidates = topology
            .replicas(self.server)
            .filter(|node| node.health.accepts() && !failed.contains(&node.id));
        let node = candidates.min_by_key(|node| {
            let suspect = node.health == crate::model::Health::Suspect;
            (node.room != Room::Free, suspect, self.worker.edge.bindings.load(node.id.as_str()))
        })?;
        Some(Chosen { node: node.id.clone(), token: None })
    }

    /// The node that holds the session. After a restart of the gateway, an older session waits
    /// until its node has reported which sessions it holds.
    pub async fn holder(&self, failed: &[NodeId]) -> Holding {
        let edge = &self.worker.edge;
        let look = || self.holding(&edge.topology.load(), failed);
        let mut found = look();
        if found.node.is_none() && edge.sharing.is_some() {
            Box::pin(self.learn()).await;
            found = look();
        }
        if found.node.is_some() || !edge.cold_start.concerns(self.session.minted_at) {
            return found;
        }
        let bound = edge.cold_start.until(|| {
            let found = look();
            found.node.is_some().then_some(found)
        });
        bound.await.unwrap_or_else(look)
    }

    /// Learns from other coordinators where the session is, if this one does not know.
    async fn learn(&self) {
        let Self { worker, session, server, .. } = *self;
        if let Some(sharing) = &worker.edge.sharing {
            sharing.learn(session.id).await;
        }
        if let Some(node) = worker.edge.bindings.look(session.id, server) {
            self.meet(&node).await;
        }
    }
}

impl Edge {
    /// The key that signs affinity tokens, if they are signed.
    pub(in crate::edge) fn signing_key(&self) -> Option<&[u8]> {
        self.config.signed.then_some(self.signing_key.as_slice())
    }

    /// Where the strategy wants affinity tokens carried.
    pub(in crate::edge) fn carrier(&self) -> Carrier {
        carrier(&self.strategy.plan())
    }

    /// The header in which a response has a token for its client, if it has one.
    #[must_use]
    pub(in crate::edge) fn token_in(
        &self,
        headers: &HeaderMap,
    ) -> Option<(HeaderName, HeaderValue)> {
        let name = match self.carrier() {
            Carrier::None => return None,
            Carrier::Cookie { .. } => SET_COOKIE,
            Carrier::Header(name) => name,
        };
        let value = headers.get(&name)?.clone();
        Some((name, value))
    }

    /// Puts the token of a decision onto a response.
    pub(in crate::edge) fn write_token(&self, token: Option<&Token>, headers: &mut HeaderMap) {
        if let Some(token) = token {
            let base = &self.config.base_path;
            affinity::write(&self.carrier(), token, headers, self.signing_key(), base);
        }
    }
}

fn carrier(plan: &vocabulary::Plan) -> Carrier {
    match &plan.carrier {
        vocabulary::Carrier::None | vocabulary::Carrier::Session => Carrier::None,
        vocabulary::Carrier::Cookie(name) => {
            Carrier::Cookie { name: name.clone(), max_age: plan.affinity_ttl_seconds }
        }
        vocabulary::Carrier::Header(name) => name.parse().map_or(Carrier::None, Carrier::Header),
    }
}

fn seed(session: &Session) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *session.id.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn inputs(
    plan: &vocabulary::Plan,
    context: Option<&ClientRequest>,
    session: &Session,
    message: &[u8],
    key_header: &HeaderName,
) -> Vec<Option<String>> {
    // The name of the header with the gateway's key may be any, so that no rule for names knows it.
    // `Authorization` is shown where the operator allows it.
    let is_key = |input: &&vocabulary::Input| {
        let vocabulary::Input::Header(name) = input else { return false };
        *key_header != AUTHORIZATION && name.eq_ignore_ascii_case(key_header.as_str())
    };
    let value = |input: &vocabulary::Input| {
        (!is_key(&input)).then(|| value_of(input, context, session, message)).flatten()
    };
    plan.inputs.iter().map(value).collect()
}

fn value_of(
    input: &vocabulary::Input,
    context: Option<&ClientRequest>,
    session: &Session,
    message: &[u8],
) -> Option<String> {
    use vocabulary::Input;
    match input {
        Input::SessionId => Some(session.id.to_string()),
        Input::Header(name) => {
            let name: HeaderName = name.parse().ok()?;
            field::text(&name, context?.headers.get(&name)?.as_bytes())
        }
        Input::Cookie(name) => headers::cookie(&context?.headers, name).map(str::to_owned),
        Input::Query(name) => query(&context?.uri, name),
        Input::RpcMethod => Some(Envelope::parse(message).ok()?.method().to_owned()),
        Input::RpcTarget => {
            let target = RequestTarget::of(Envelope::parse(message).ok()?.params)?;
            splice::string(target.name.or(target.uri)?)
        }
        Input::Body(pointer) => {
            let value: serde_json::Value = serde_json::from_slice(message).ok()?;
            match value.pointer(pointer)? {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => {
                    Some(number.to_string())
                }
                _ => None,
            }
        }
        Input::Principal => Some(session.principal.as_str().to_owned()),
        Input::ClientAddress => Some(context?.peer.to_canonical().to_string()),
    }
}

/// The decoded value of a query parameter.
pub(in crate::edge) fn query(uri: &Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (crate::net::percent_decoded(key)? == name)
            .then(|| crate::net::percent_decoded(&value.replace('+', " ")))?
    })
}
