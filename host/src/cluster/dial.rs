//! The caller's side of the handshake: what a coordinator says on each new connection to a node.
//!
//! It is an HTTP upgrade, so that proxies with TLS in front of nodes let it pass. What follows the
//! last proof is HTTP again, on the same connection: no proxy can mix another one's requests in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;

use crate::config::Secret;
use crate::net::{Introduce, Introduced, Sign, Socket, Target, Unreached};
use crate::protocol::headers::seam::{ALIVE_PATH, LINK, LINK_PATH, LINK_PROTOCOL, REFUSED};
use crate::protocol::proof::handshake::{
    Caller, Challenge, Expected, MAX_MESSAGE, Party, Proof, Refusal,
};
use crate::tls::ClusterTls;

use super::certified;

/// Longest time for a handshake to which answers come, once the connection is there.
const DEADLINE: Duration = Duration::from_secs(3);
/// Longest silence within the handshake of a question, and before the answer to one: more than two
/// ways that take half a second each.
const SILENCE: Duration = Duration::from_millis(1100);
const NO_NODE: &str = "it does not answer as a mooring node";
/// Longest wait for a node that has been started again to register: it does so at once.
const RESTART: Duration = Duration::from_secs(1);
/// Pause between two looks for that.
const LOOK: Duration = Duration::from_millis(20);
/// The most headers of an answer.
const MAX_HEADERS: usize = 32;

/// A node, as far as a handshake with it needs to know it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub party: Party,
    /// The cluster's token, or the secret that the node has registered with.
    pub key: Secret,
}

/// Finds the node that is expected at a base URL.
type Lookup = Box<dyn Fn(&str) -> Option<Peer> + Send + Sync>;

/// Counts the starts of nodes that have registered.
type Starts = Box<dyn Fn() -> u64 + Send + Sync>;

/// Introduces this process to nodes.
pub struct Dialer {
    own: Party,
    lookup: Lookup,
    starts: Starts,
    /// Longest wait for a node that has been started again.
    patience: Duration,
    /// Longest silence within a handshake.
    silence: Duration,
    /// What the cluster speaks TLS with.
    tls: Option<Arc<ClusterTls>>,
}

/// Why a handshake has failed.
enum Unshaken {
    /// What is there is not what was expected, perhaps another start of it.
    Other(Unreached),
    Failed(Unreached),
}

impl From<Unreached> for Unshaken {
    fn from(why: Unreached) -> Self {
        Self::Failed(why)
    }
}

impl From<String> for Unshaken {
    fn from(why: String) -> Self {
        Self::Failed(why.into())
    }
}

impl Dialer {
    /// For nodes that are registered. One that has been started again is not known for a moment:
    /// its requests wait until it has registered.
    #[must_use]
    pub fn to_registered(
        own: Party,
        lookup: impl Fn(&str) -> Option<Peer> + Send + Sync + 'static,
        starts: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            own,
            lookup: Box::new(lookup),
            starts: Box::new(starts),
            patience: RESTART,
            silence: DEADLINE,
            tls: None,
        }
    }

    /// For one start of one node.
    #[must_use]
    pub fn to(own: Party, peer: Peer) -> Self {
        let (lookup, starts) = (Box::new(move |_: &str| Some(peer.clone())), Box::new(|| 0));
        Self { own, lookup, starts, patience: Duration::ZERO, silence: DEADLINE, tls: None }
    }

    /// The same, in a cluster that speaks TLS with this.
    #[must_use]
    pub fn over(self, tls: Option<Arc<ClusterTls>>) -> Self {
        Self { tls, ..self }
    }

    /// The same, to find out whether it is there.
    #[must_use]
    pub fn asking(self) -> Self {
        Self { silence: SILENCE, ..self }
    }

    /// Waits until another start of the node is known than that.
    async fn other_start(&self, target: &Target, than: &Peer) -> bool {
        let looking = async {
            let is_same = |peer: Option<Peer>| peer.is_none_or(|peer| peer.party == than.party);
            while is_same((self.lookup)(target.node())) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let patience = self.patience;
        !patience.is_zero() && tokio::time::timeout(patience, looking).await.is_ok()
    }

    async fn shake(
        &self,
        peer: &Peer,
        target: &Target,
        socket: &mut Socket,
    ) -> Result<(), Unshaken> {
        let (waiting, hello) = Caller::begin(&self.own, &peer.party, target.node());
        let no_url = || "its URL is not valid".to_owned();
        let request = request(target, &hello.to_string()).ok_or_else(no_url)?;
        socket.send(request.as_bytes()).await.map_err(broken)?;
        let head = until(socket, b"\r\n\r\n", self.silence).await?;
        let challenge = challenge_in(&head, target)?;
        is_waiting(socket)?;
        let (proof, expected) = waiting.answer(peer.key.expose().as_bytes(), &challenge);
        socket.send(proof.line().as_bytes()).await.map_err(broken)?;
        let answer = until(socket, b"\n", self.silence).await?;
        check(&answer, &expected, target).map_err(Unshaken::Other)?;
        Ok(is_waiting(socket)?)
    }
}

impl Introduce for Dialer {
    fn epoch(&self) -> u64 {
        (self.starts)() + self.tls.as_ref().map_or(0, |tls| tls.epoch())
    }

    #[cfg(test)]
    fn expects(&self, target: &Target) -> Option<(String, String)> {
        let Party { id, incarnation } = (self.lookup)(target.node())?.party;
        Some((id, incarnation))
    }

    fn introduce<'a>(
        &'a self,
        target: &'a Target,
        socket: &'a mut Socket,
    ) -> BoxFuture<'a, Result<Introduced, Unreached>> {
        Box::pin(async move {
            let peer = (self.lookup)(target.node());
            let peer = peer.ok_or_else(|| "no node is registered with this URL".to_owned())?;
            if let Some(tls) = &self.tls {
                certified::check_node(tls, &peer.party.id, target, socket)?;
            }
            let shaking = self.shake(&peer, target, socket);
            match tokio::time::timeout(DEADLINE, shaking).await {
                Ok(Ok(())) => Ok(Introduced::Ready),
                Ok(Err(Unshaken::Failed(why))) => Err(why),
                Ok(Err(Unshaken::Other(why))) => {
                    let again = self.other_start(target, &peer).await;
                    if again { Ok(Introduced::Again) } else { Err(why) }
                }
                Err(_) => {
                    let why = format!("no handshake within {} s", DEADLINE.as_secs());
                    Err(Unreached::silent(why))
                }
            }
        })
    }

    fn ask<'a>(
        &'a self,
        target: &'a Target,
        socket: &'a mut Socket,
    ) -> BoxFuture<'a, Result<(), Unreached>> {
        Box::pin(async move {
            let question = question(target).ok_or_else(|| "its URL is not valid".to_owned())?;
            socket.send(question.as_bytes()).await.map_err(broken)?;
            let head = until(socket, b"\r\n\r\n", SILENCE).await?;
            // A node of an earlier version does not know the path, and answers with a body.
            if !head.starts_with(b"HTTP/1.1 204 ") {
                return Err("it is not clear whether the connection can be used".to_owned().into());
            }
            Ok(is_waiting(socket)?)
        })
    }
}

/// `None` if the base URL is not valid.
fn request(target: &Target, hello: &str) -> Option<String> {
    let base: Uri = target.node().parse().ok()?;
    let prefix = base.path().trim_end_matches('/');
    let host = target.host_header().to_str().ok()?;
    Some(format!(
        "GET {prefix}{LINK_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: {LINK_PROTOCOL}\r\n{LINK}: {hello}\r\n\r\n"
    ))
}

/// `None` if the base URL is not valid.
fn question(target: &Target) -> Option<String> {
    let base: Uri = target.node().parse().ok()?;
    let prefix = base.path().trim_end_matches('/');
    let host = target.host_header().to_str().ok()?;
    Some(format!("GET {prefix}{ALIVE_PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

/// What arrives up to `end`, with it. Silence ends the wait.
async fn until(socket: &mut Socket, end: &[u8], silence: Duration) -> Result<Vec<u8>, Unreached> {
    loop {
        if let Some(at) = memchr::memmem::find(&socket.read, end) {
            return Ok(socket.read.split_to(at + end.len()).to_vec());
        }
        if socket.read.len() > MAX_MESSAGE {
            return Err(NO_NODE.to_owned().into());
        }
        let Ok(received) = tokio::time::timeout(silence, socket.receive()).await else {
            let why = format!("no answer within {} s", silence.as_secs_f32());
            return Err(Unreached::silent(why));
        };
        if !received.map_err(broken)? {
            let why = "the connection was closed during the handshake".to_owned();
            return Err(Unreached::gone(why));
        }
    }
}

/// Nothing more may have come: it is this side's turn.
fn is_waiting(socket: &Socket) -> Result<(), String> {
    if socket.read.is_empty() { Ok(()) } else { Err(NO_NODE.to_owned()) }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: std::io::Error) -> Unreached {
    Unreached::broken(&error, format!("the connection broke during the handshake: {error}"))
}

/// Nothing that the other side writes is repeated: it has not proved itself.
fn challenge_in(head: &[u8], target: &Target) -> Result<Challenge, Unreached> {
    let no_node = || Unreached::from(NO_NODE.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let whole = response.parse(head).is_ok_and(|parsed| parsed.is_complete());
    let code = response.code.filter(|_| whole).ok_or_else(no_node)?;
    let is_link = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(LINK.as_str());
    let message = response.headers.iter().find(is_link).map(|header| header.value);
    match (code, message) {
        (101, Some(message)) => Challenge::parse(message).ok_or_else(no_node),
        (_, Some(message)) => Err(refused(message, target).unwrap_or_else(no_node)),
        (401 | 403 | 404, None) => Err(format!(
            "it answered {code} instead of a handshake: it is no mooring node, or one of an \
             earlier version, which has to be upgraded"
        )
        .into()),
        _ => Err(format!("it answered {code} instead of a handshake").into()),
    }
}

fn check(line: &[u8], expected: &Expected, target: &Target) -> Result<(), Unreached> {
    if let Some(why) = refused(line.trim_ascii_end(), target) {
        return Err(why);
    }
    let is_right = Proof::parse(line).is_some_and(|proof| expected.is(&proof));
    is_right.then_some(()).ok_or_else(|| "it does not know the cluster token".to_owned().into())
}

/// This side's text for a refusal.
fn refused(message: &[u8], target: &Target) -> Option<Unreached> {
    let word = message.strip_prefix(REFUSED.as_bytes())?;
    let refusal = Refusal::parse(std::str::from_utf8(word).ok()?)?;
    let why = match refusal {
        Refusal::Message => "it speaks another version of the cluster's messages: run one version \
                             of mooring on all"
            .to_owned(),
        Refusal::Node => "another node is there".to_owned(),
        Refusal::Address => format!(
            "the process there does not know that address as its own: set \
             systemConfig.cluster.node.advertiseUrl to {} on the node that is meant to be there",
            target.node()
        ),
        Refusal::Peer => "it serves only the address of its coordinatorUrl, and this coordinator \
                          calls from another one: set a cluster token on both sides"
            .to_owned(),
        Refusal::Certificate => "it is called over TLS alone, by a coordinator's certificate: set \
                                 systemConfig.cluster.tls on this coordinator, with the certificate \
                                 of mooring:coordinator"
            .to_owned(),
        Refusal::Proof => {
            "it has another cluster token, or is another start of the node".to_owned()
        }
    };
    // Another node answers, or another start of this one.
    // Who answers, but not at this address, is elsewhere: something relays to it.
    let is_other = matches!(refusal, Refusal::Node | Refusal::Proof | Refusal::Address);
    Some(Unreached { why, sign: if is_other { Sign::Other } else { Sign::Unclear } })
}
