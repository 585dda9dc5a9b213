//! The network between the simulated processes. It loses and delays messages, and doubles those
//! that are not part of a conversation.
//!
//! What TCP rules out does not happen: on one connection nothing is doubled, and a request that was
//! lost is a connection that broke. A call of a node's agent has a connection for itself, which
//! somebody on the way may repeat.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};

use crate::net::played::{PlayedNetwork, PlayedTarget};
use crate::net::{Body, Failure, Unreached, collect, is_event_stream};
use crate::protocol::headers;

use super::plan::{COORDINATOR, Plant};
use super::server;
use super::world::{CLIENTS, ProcessStart, World};

/// Bytes of a message.
const MOST: usize = 4 << 20;
/// How long a connection and a handshake may take, as `net` and `cluster` have it.
const CONNECT: Duration = Duration::from_secs(3);
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Before the host of the servers that run beside a node.
pub const SERVER: &str = "server-of-";

/// The way out of one start of a process. It keeps no world alive that keeps it.
pub struct WayOut {
    pub world: Weak<World>,
    pub start: ProcessStart,
}

impl PlayedNetwork for WayOut {
    fn send(
        &self,
        to: PlayedTarget,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Failure>> {
        let (world, start) = (self.world.clone(), self.start);
        Box::pin(async move {
            let gone = || Failure::NotSent("the simulation is over".to_owned());
            let world = world.upgrade().ok_or_else(gone)?;
            world.until_awake(Some(start)).await;
            if let Some(node) = to.host.strip_prefix(SERVER).and_then(|host| world.at(host)) {
                let answered = server::answer(&world, node, request).await;
                world.until_awake(Some(start)).await;
                return answered;
            }
            // Each conversation has its own luck.
            let session = request.headers().get(headers::seam::SESSION).cloned();
            let (host, path) = (&to.host, request.uri().path());
            let way = format!("{} to {host}{path} {session:?}", start.process);
            exchange(&world, Some(start), &way, &to, request).await
        })
    }

    fn reach(&self, to: PlayedTarget) -> BoxFuture<'static, Result<(), Unreached>> {
        let (world, start) = (self.world.clone(), self.start);
        Box::pin(async move {
            let gone = || Unreached::gone("the simulation is over".to_owned());
            let world = world.upgrade().ok_or_else(gone)?;
            world.until_awake(Some(start)).await;
            connect(&world, Some(start), &to, true).await.map(|_| ())
        })
    }
}

/// One request, from a process or a client, and its answer.
pub async fn exchange(
    world: &Arc<World>,
    from: Option<ProcessStart>,
    way: &str,
    to: &PlayedTarget,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    // Between processes, one that has rested is asked about first.
    let is_inner = to.expected.is_some();
    let is_new = world.chance(way, |chance| chance.one_in(4) || is_inner && !chance.one_in(6));
    let there = connect(world, from, to, is_new).await?;
    let (sender, receiver) = (from.map_or(CLIENTS, |from| from.process), there.process);
    tokio::time::sleep(world.latency(way)).await;
    passage(world, from, sender, there).await?;
    let fate = Fate::of(world, from, way, to);
    if fate == Fate::LostOnTheWay {
        world.witness.fails_once(receiver);
        world.trace(|| format!("lost on its way to {}", to.host));
        return Err(broken("the connection broke"));
    }
    let (head, body) = request.into_parts();
    let body = collect(body, MOST).await.map_err(|error| broken(&error.to_string()))?;
    let whole = || Request::from_parts(head.clone(), Body::from(body.clone()));
    if fate == Fate::Doubled {
        let (again, world, to) = (whole(), Arc::clone(world), to.clone());
        let later = world.chance(way, |chance| chance.millis(1, 3000));
        tokio::spawn(async move {
            tokio::time::sleep(later).await;
            world.trace(|| format!("{} arrives at {} again", again.uri(), to.host));
            let _ = serve(&world, there, &to, again).await;
        });
    }
    let answered = serve(world, there, to, whole()).await?;
    tokio::time::sleep(world.latency(way)).await;
    passage(world, from, sender, there).await?;
    if fate == Fate::AnswerLost {
        world.witness.fails_once(receiver);
        world.trace(|| format!("the answer of {} is lost", to.host));
        // The planted fault: who has sent it is told that nothing was sent.
        return Err(if world.plant == Plant::SentIsCalledUnsent {
            Failure::NotSent("the connection broke".to_owned())
        } else {
            broken("the connection broke")
        });
    }
    Ok(answered)
}

/// Finds the process that has to be there.
async fn connect(
    world: &Arc<World>,
    from: Option<ProcessStart>,
    to: &PlayedTarget,
    is_new: bool,
) -> Result<ProcessStart, Unreached> {
    let process = world.at(&to.host).ok_or_else(|| Unreached::gone("no such host".to_owned()))?;
    let sender = from.map_or(CLIENTS, |from| from.process);
    let is_open = || !world.is_cut(sender, process) && !world.is_cut(process, sender);
    if tokio::time::timeout(CONNECT, world.until(is_open)).await.is_err() {
        world.until_awake(from).await;
        return Err(Unreached::silent("no connection within 3 s".to_owned()));
    }
    let refused = || Unreached::gone("connection refused".to_owned());
    let is_shaken = is_new && to.expected.is_some();
    let answers = || !is_shaken || !world.is_paused(process);
    if tokio::time::timeout(HANDSHAKE, world.until(answers)).await.is_err() {
        return Err(Unreached::silent("no handshake within 3 s".to_owned()));
    }
    let Some((start, _, party)) = world.running(process) else {
        world.pause_a_little(&to.host).await;
        return Err(refused());
    };
    match &to.expected {
        Some(expected) if *expected != party => {
            Err(Unreached::gone("another start of the node is there".to_owned()))
        }
        _ => Ok(start),
    }
}

/// Waits until a message passes between two processes. A connection ends with either.
async fn passage(
    world: &World,
    from: Option<ProcessStart>,
    sender: usize,
    there: ProcessStart,
) -> Result<(), Failure> {
    let is_open = || !world.is_cut(sender, there.process) && !world.is_cut(there.process, sender);
    world.until(|| is_open() || !world.is_running(there)).await;
    world.until_awake(from).await;
    if world.is_running(there) { Ok(()) } else { Err(broken("the process has ended")) }
}

/// Lets the process answer, once it is awake. Its work ends with the connection.
async fn serve(
    world: &Arc<World>,
    there: ProcessStart,
    to: &PlayedTarget,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let now = world.running(there.process).filter(|(start, ..)| *start == there);
    let Some((_, serve, _)) = now else { return Err(broken("the process has ended")) };
    let answering = world.within(there, serve(request, to.expected.is_some()));
    let response = tokio::select! {
        biased;
        () = world.until_ended(there) => return Err(broken("the process has ended")),
        response = answering => response,
    };
    let ending = {
        let world = Arc::downgrade(world);
        async move {
            if let Some(world) = world.upgrade() {
                world.until_ended(there).await;
            }
        }
    };
    if is_event_stream(&response) {
        return Ok(response.map(|body| body.broken_when(ending)));
    }
    let (head, body) = response.into_parts();
    let body: Bytes = collect(body, MOST).await.map_err(|error| broken(&error.to_string()))?;
    Ok(Response::from_parts(head, Body::from(body)))
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    LostOnTheWay,
    AnswerLost,
    Doubled,
}

impl Fate {
    fn of(world: &World, from: Option<ProcessStart>, way: &str, to: &PlayedTarget) -> Self {
        // What clients send is not the cluster's to lose.
        if from.is_none() || !world.is_stormy.load(Ordering::Relaxed) {
            return Self::Arrives;
        }
        let is_agents = to.expected.is_none() && world.at(&to.host) == Some(COORDINATOR);
        world.chance(way, |chance| match chance.below(24) {
            0 => Self::LostOnTheWay,
            1 | 2 => Self::AnswerLost,
            3..6 if is_agents => Self::Doubled,
            _ => Self::Arrives,
        })
    }
}

fn broken(why: &str) -> Failure {
    Failure::Broken(why.to_owned())
}
