//! Checks that a request of a node comes from that node.
//!
//! With a token, whoever knows it may register, and the incarnation tells nodes apart from then
//! on. Without one, a node registers with a secret of its own and proves its requests by that, and
//! they have to come from the address that has registered.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::cluster::certified::complaint_on_node;
use crate::cluster::gate::Gate;
use crate::cluster::messages::{Heartbeat, Registration};
use crate::config::Secret;
use crate::model::{NodeId, UnixMillis};
use crate::protocol::headers::seam;
use crate::protocol::proof::request_proof::{Proved, RequestProof};
use crate::sync::Seldom;
use crate::tls::{ClusterPeer, ClusterTls};

use super::node_entry::NodeEntry;
use super::registry::Registry;
use super::rejected::Rejected;
use super::replays::{OwnReplays, Replay, WINDOW, is_near};

const NO_PROOF: &str = "it proves nothing: it is not mooring, or an earlier version, which has to \
                        be upgraded";

/// A node's request, as it has arrived.
#[derive(Clone, Copy)]
pub struct NodeRequest<'a> {
    pub headers: &'a HeaderMap,
    pub method: &'a str,
    pub path: &'a str,
    pub body: &'a [u8],
    /// Where its connection comes from.
    pub peer: IpAddr,
    /// By whose certificate its connection has come.
    pub certified: Option<&'a ClusterPeer>,
}

/// A message that nodes send.
pub trait NodeMessage: DeserializeOwned {
    /// The node that it speaks of.
    fn id(&self) -> &str;

    /// The secret that the message itself brings.
    fn secret(&self) -> Option<&str>;
}

impl NodeMessage for Registration {
    fn id(&self) -> &str {
        &self.id
    }

    fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }
}

impl NodeMessage for Heartbeat {
    fn id(&self) -> &str {
        &self.id
    }

    fn secret(&self) -> Option<&str> {
        None
    }
}

/// A message with its proof, which was found to hold. There is none for a message of an unknown
/// node where no token is configured: nothing could prove it. Such a node is told to register.
pub struct ProvedMessage<T> {
    pub message: T,
    pub proof: Option<RequestProof>,
    pub peer: IpAddr,
}

/// What requests are checked against.
pub struct Proofs {
    token: Option<Secret>,
    gate: Gate,
    registry: Arc<Registry>,
    /// The lines about requests that prove nothing.
    unproved: Seldom,
    /// What the cluster speaks TLS with.
    tls: Option<Arc<ClusterTls>>,
}

impl Proofs {
    #[must_use]
    pub fn new(token: Option<Secret>, registry: Arc<Registry>) -> Self {
        let gate = Gate::for_nodes(token.is_some());
        Self { token, gate, registry, unproved: Seldom::default(), tls: None }
    }

    /// The same, in a cluster that speaks TLS with this.
    #[must_use]
    pub fn over(self, tls: Option<Arc<ClusterTls>>) -> Self {
        Self { tls, ..self }
    }

    /// Refuses, before their bodies are read, requests from addresses that are not served, and
    /// those whose proof cannot hold.
    ///
    /// # Errors
    /// If this is one.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        certified: Option<&ClusterPeer>,
    ) -> Result<(), Rejected> {
        self.check_certificate(certified, None, peer)?;
        self.gate.check(headers, peer).await.map_err(Rejected::Denied)?;
        if self.token.is_none() {
            // A registration brings its secret in its body.
            return Ok(());
        }
        let proof = proof_in(headers).ok_or_else(|| self.deny(headers, peer.to_canonical()))?;
        if is_near(proof.time, UnixMillis::now()) { Ok(()) } else { Err(out_of_time(&proof)) }
    }

    /// Reads a message whose proof holds.
    ///
    /// # Errors
    /// If it proves nothing, comes from another node than it says, or is no message.
    pub fn open<T: NodeMessage>(
        &self,
        request: NodeRequest<'_>,
    ) -> Result<ProvedMessage<T>, Rejected> {
        let NodeRequest { headers, method, path, body, peer, certified } = request;
        let peer = peer.to_canonical();
        let proof = proof_in(headers);
        let proved = Proved { method, path, body };
        let holds = |key: &Secret| {
            let proof = proof.as_ref();
            proof.is_some_and(|proof| proof.holds(key.expose().as_bytes(), &proved))
        };
        // Of a body without a proof nothing is read.
        if let Some(token) = &self.token
            && !holds(token)
        {
            return Err(self.deny(headers, peer));
        }
        let message: T = serde_json::from_slice(body).map_err(|error| {
            Rejected::BadRequest(format!("the body is not a valid message: {error}"))
        })?;
        self.check_certificate(certified, Some(message.id()), peer)?;
        if self.token.is_none() {
            let Some(key) = self.key(&message, peer) else {
                if !headers.contains_key(seam::PROOF) {
                    self.unproved_by(peer, NO_PROOF);
                }
                return Ok(ProvedMessage { message, proof: None, peer });
            };
            if !holds(&key) {
                return Err(self.deny(headers, peer));
            }
        }
        let proof = proof.filter(|proof| proof.id == message.id());
        let Some(proof) = proof else {
            let text = "the proof is that of another node than the message's".to_owned();
            return Err(Rejected::BadRequest(text));
        };
        if !is_near(proof.time, UnixMillis::now()) {
            return Err(out_of_time(&proof));
        }
        Ok(ProvedMessage { message, proof: Some(proof), peer })
    }

    /// Refuses what has come without the certificate of the node, where the cluster speaks TLS.
    fn check_certificate(
        &self,
        certified: Option<&ClusterPeer>,
        id: Option<&str>,
        peer: IpAddr,
    ) -> Result<(), Rejected> {
        let Some(why) = complaint_on_node(self.tls.as_deref(), certified, id) else {
            return Ok(());
        };
        self.unproved_by(peer.to_canonical(), &why);
        Err(Rejected::Certificate(why))
    }

    /// The secret that proves a message where there is no token.
    fn key(&self, message: &impl NodeMessage, peer: IpAddr) -> Option<Secret> {
        if let Some(secret) = message.secret() {
            return Some(Secret::new(secret));
        }
        let id = NodeId::parse(message.id()).ok()?;
        // A node whose address has changed registers again, from there.
        let secret = |entry: &NodeEntry| entry.secret.clone().filter(|_| entry.from == Some(peer));
        self.registry.read(&id, secret).flatten()
    }

    fn deny(&self, headers: &HeaderMap, peer: IpAddr) -> Rejected {
        let why = match (&self.token, headers.contains_key(seam::PROOF)) {
            (Some(_), true) => "it has another cluster token, or none",
            (None, true) => "its secret is not the one that the node has registered with",
            (_, false) if headers.contains_key(header::AUTHORIZATION) => {
                "it sends the cluster token itself, as earlier versions of mooring do: upgrade it"
            }
            (_, false) => NO_PROOF,
        };
        self.unproved_by(peer, why);
        Rejected::Denied(self.gate.unproved())
    }

    fn unproved_by(&self, peer: IpAddr, why: &str) {
        self.unproved.warn(|| format!("a node's request from {peer} was refused: {why}"));
    }
}

fn proof_in(headers: &HeaderMap) -> Option<RequestProof> {
    RequestProof::parse(headers.get(seam::PROOF)?.as_bytes())
}

/// Takes a proved request that is otherwise right, unless it was here before.
///
/// # Errors
/// If it was, or may have been.
pub fn once(proof: &RequestProof, replays: &OwnReplays) -> Result<(), Rejected> {
    let taken = replays.lock().take(proof.time, proof.nonce, UnixMillis::now());
    taken.map_err(|replay| match replay {
        Replay::Time => out_of_time(proof),
        Replay::Seen => Rejected::BadRequest("this very request was here before".to_owned()),
    })
}

fn out_of_time(proof: &RequestProof) -> Rejected {
    Rejected::BadRequest(format!(
        "the request is of {}, by the node's clock, and the coordinator's clock says {}: a request \
         may be {} s away at most; set both clocks, for example by NTP",
        proof.time.iso8601(),
        UnixMillis::now().iso8601(),
        WINDOW.as_secs()
    ))
}
