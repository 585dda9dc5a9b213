//! Keeps a node registered with one coordinator: registration, heartbeats,
//! deregistration.
//!
//! ```text
//! Waiting ── join ──► Registering ──► Registered ── stop ──► deregistered
//!                      ▲  │ refused,      │
//!                      │  ▼ unreachable   │ 404: not known to the coordinator
//!                      backoff ◄──────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use tokio::sync::watch;

use crate::cluster::messages::{
    Heartbeat, HeartbeatAnswer, LoadReport, ProtocolReport, Registration, ServerReport,
};
use crate::cluster::own_drain::OwnDrain;
use crate::cluster::trouble::ServerNotes;
use crate::config::Secret;
use crate::model::{NodeId, Room, ServerName, SessionId, UnixMillis};
use crate::net::{Body, collect};
use crate::protocol::headers::{self, seam};
use crate::protocol::objects::object_only;
use crate::protocol::proof::request_proof::{Proved, RequestProof};
use crate::seam::Link;
use crate::sync::Watcher;

use super::heard::Heard;

use super::complaint::Complaint;

use super::membership::{Joined, Membership};

/// Longest wait for an answer of the coordinator, which may call the node back first.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a heartbeat, which comes at once: an eighth of the usual lease,
/// and less for nodes whose heartbeats follow each other sooner.
const BEAT_TIMEOUT: Duration = Duration::from_secs(2);
const LEAST_BEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// First pause after a failed registration. It doubles up to the heartbeat interval or
/// [`LONGEST_PAUSE`], so that a node is registered soon after its coordinator's start.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Least time between two heartbeats that are sent because the node's room, or what is wrong with
/// its servers, changed.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Least time between two heartbeats that are sent because a drain has come further.
const DRAIN_PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for the coordinator when the node stops.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// Silence of the coordinator after which the streams of its clients are over: none of them can be
/// answered, and none waits for so long. It covers a restart on another machine.
const STREAMS_OVER: Duration = Duration::from_secs(60);
/// Bytes of an answer, whose error text goes into the log; a longer one is ignored. The names of all
/// servers that a node may have fit.
const ANSWER: usize = 256 * 1024;

/// What identifies this node to the coordinator.
#[derive(Clone)]
pub struct Identity {
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// Random at each start, so that two starts of a node can be told apart. Only the coordinator
    /// learns it.
    pub incarnation: String,
    /// What the node proves itself by: the cluster's token, or a secret of its own, random at each
    /// start, which it sends along when it registers.
    pub key: Key,
    pub zone: String,
    pub labels: Vec<(String, String)>,
}

/// What a node and its coordinator prove themselves by.
#[derive(Clone)]
pub enum Key {
    /// The operator has given it to both.
    Token(Secret),
    /// The node has made it up.
    Own(Secret),
}

impl Key {
    /// The token, or without one a new secret.
    #[must_use]
    pub fn of(token: Option<Secret>) -> Self {
        token.map_or_else(|| Self::Own(Secret::new(random())), Self::Token)
    }

    #[must_use]
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Token(secret) | Self::Own(secret) => secret,
        }
    }
}

/// 244 random bits.
fn random() -> String {
    let [a, b] = [SessionId::mint(), SessionId::mint()].map(|half| half.to_string());
    format!("{a}{b}").replace('-', "")
}

impl Identity {
    /// With a new incarnation, and without a token with a new secret.
    #[must_use]
    pub fn new(
        id: NodeId,
        name: String,
        zone: String,
        labels: Vec<(String, String)>,
        token: Option<Secret>,
    ) -> Self {
        Self { id, name, incarnation: random(), key: Key::of(token), zone, labels }
    }
}

/// The parts that the node's side of the registration works with.
pub struct Agent {
    pub identity: Arc<Identity>,
    /// URL of the coordinator.
    pub coordinator: String,
    /// URL at which the coordinator is to reach this node.
    pub url: String,
    /// Whether the operator set `url`. If not, the coordinator replaces its host by the
    /// peer's address.
    pub advertised: bool,
    pub port: u16,
    /// Time between two heartbeats.
    pub interval: Duration,
    /// Returns the hosted servers as they are now.
    pub servers: Box<dyn Fn() -> Vec<ServerReport> + Send + Sync>,
    /// Marked as changed when `servers` would return something else.
    pub changes: watch::Receiver<u64>,
    /// Returns the node's load as it is now.
    pub load: Box<dyn Fn() -> LoadReport + Send + Sync>,
    /// Marked as changed when the node becomes full or has room again.
    pub room: watch::Receiver<Room>,
    /// What is wrong with the servers here now.
    pub notes: watch::Receiver<ServerNotes>,
    pub membership: Membership,
    /// Whether there are other coordinators.
    pub several: bool,
    pub drain: Arc<OwnDrain>,
    /// Closes the sessions whose streams were open at a coordinator, and says how many there were.
    pub close_of_streams: Box<dyn Fn() -> usize + Send + Sync>,
    /// When a coordinator was heard of; that of all agents of this node.
    pub heard: Arc<Heard>,
    pub link: Link,
}

enum JoinAnswer {
    /// With the body of the answer.
    Taken(Bytes),
    /// The coordinator does not know this node.
    Unknown,
    /// Nothing came in time.
    Silent(String),
    Failed(String),
}

impl Agent {
    /// Keeps the node registered until `stop`, then deregisters it.
    pub async fn run(mut self, mut stop: Watcher) {
        let joining = async {
            let mut apart = None;
            loop {
                self.register(apart).await;
                apart = self.keep_lease().await;
            }
        };
        tokio::select! {
            () = joining => {}
            () = stop.raised() => {}
        }
        // Also while registering: the coordinator may have accepted a registration
        // whose answer has not arrived yet.
        let _ = tokio::time::timeout(GOOD_BYE, self.deregister()).await;
    }

    /// Tries until the coordinator accepts the registration. `apart` is since when it has not
    /// answered.
    async fn register(&self, apart: Option<Instant>) {
        self.membership.set(Joined::Registering);
        let mut pause = FIRST_PAUSE;
        let mut complaint = Complaint::default();
        loop {
            let registration = self.registration();
            match self.call("/api/cluster/register", &registration).await {
                JoinAnswer::Taken(_) => {
                    self.say_back(apart);
                    tracing::info!("registered with {}", self.coordinator);
                    self.membership.set(Joined::Registered);
                    return;
                }
                JoinAnswer::Unknown => complaint.say(
                    &self.coordinator,
                    "it is not a coordinator (404); check cluster.node.coordinatorUrl",
                ),
                JoinAnswer::Failed(why) | JoinAnswer::Silent(why) => {
                    complaint.say(&self.coordinator, &why);
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(self.interval).min(LONGEST_PAUSE);
        }
    }

    /// Says that the coordinator has answered again.
    fn say_back(&self, apart: Option<Instant>) {
        if let Some(since) = apart {
            let seconds = since.elapsed().as_secs_f32();
            tracing::info!(
                coordinator = self.coordinator,
                "the coordinator is back: it did not answer for {seconds:.1} s"
            );
        }
    }

    /// Sends heartbeats until the coordinator no longer knows this node. Returns since when it has
    /// not answered, if it had not before that.
    async fn keep_lease(&mut self) -> Option<Instant> {
        let mut timer = tokio::time::interval(self.interval);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        timer.tick().await;
        let mut apart: Option<Instant> = None;
        let mut sent = tokio::time::Instant::now();
        let mut drain = self.drain.watch();
        if self.drain.is_ordered() {
            // The answer to the registration says nothing of it.
            drain.mark_changed();
        }
        loop {
            tokio::select! {
                biased;
                _ = timer.tick() => {}
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        // No more changes can come; only the timer is left.
                        timer.tick().await;
                    }
                }
                changed = drain.changed() => {
                    if changed.is_err() {
                        timer.tick().await;
                    }
                    // The order goes at once; of the progress there is much.
                    if drain.borrow_and_update().waits.is_some() {
                        tokio::time::sleep_until(sent + DRAIN_PAUSE).await;
                    }
                }
                changed = self.room.changed() => {
                    if changed.is_err() {
                        timer.tick().await;
                    }
                    // Limits the rate if the node is full and not full in turn.
                    tokio::time::sleep_until(sent + ROOM_PAUSE).await;
                    self.room.borrow_and_update();
                }
                changed = self.notes.changed() => {
                    if changed.is_err() {
                        timer.tick().await;
                    }
                    tokio::time::sleep_until(sent + ROOM_PAUSE).await;
                }
            }
            drain.borrow_and_update();
            sent = tokio::time::Instant::now();
            let ServerNotes { troubles, flaws } = self.notes.borrow_and_update().clone();
            let heartbeat = Heartbeat {
                id: self.identity.id.to_string(),
                incarnation: self.identity.incarnation.clone(),
                servers: Some((self.servers)()),
                draining: self.drain.is_ordered(),
                load: Some((self.load)()),
                drain: self.drain.report(),
                troubles,
                flaws,
            };
            match self.beat(&heartbeat).await {
                JoinAnswer::Taken(answer) => {
                    self.say_back(apart.take());
                    if heartbeat.drain.is_some() {
                        self.drain.known(only_here(&answer));
                    }
                }
                JoinAnswer::Unknown => {
                    tracing::info!(
                        coordinator = self.coordinator,
                        "the coordinator does not know this node, which registers again"
                    );
                    return apart;
                }
                JoinAnswer::Failed(why) | JoinAnswer::Silent(why) => {
                    if apart.is_none() {
                        apart = Some(Instant::now());
                        tracing::warn!(
                            coordinator = self.coordinator,
                            "the coordinator does not answer, and is tried again: {why}"
                        );
                    }
                }
            }
        }
    }

    /// Sends a heartbeat. If it is not answered soon, its connection is taken for dead, and it is
    /// sent once more at once, on another one.
    async fn beat(&self, heartbeat: &Heartbeat) -> JoinAnswer {
        const PATH: &str = "/api/cluster/heartbeat";
        let patience = self.interval.clamp(LEAST_BEAT_TIMEOUT, BEAT_TIMEOUT);
        match self.call_within(patience, PATH, heartbeat).await {
            JoinAnswer::Silent(_) => self.call_within(patience, PATH, heartbeat).await,
            answer => answer,
        }
    }

    async fn deregister(&self) {
        let good_bye = Heartbeat {
            id: self.identity.id.to_string(),
            incarnation: self.identity.incarnation.clone(),
            servers: None,
            draining: true,
            load: None,
            drain: None,
            troubles: Vec::new(),
            flaws: Vec::new(),
        };
        if let JoinAnswer::Failed(why) | JoinAnswer::Silent(why) =
            self.call("/api/cluster/deregister", &good_bye).await
        {
            tracing::warn!("could not deregister: {why}");
        }
    }

    fn registration(&self) -> Registration {
        let ServerNotes { troubles, flaws } = self.notes.borrow().clone();
        Registration {
            id: self.identity.id.to_string(),
            name: self.identity.name.clone(),
            url: self.url.clone(),
            host: None,
            port: Some(self.port),
            servers: (self.servers)(),
            incarnation: self.identity.incarnation.clone(),
            secret: match &self.identity.key {
                Key::Token(_) => None,
                Key::Own(secret) => Some(secret.expose().to_owned()),
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: Some(ProtocolReport::own()),
            advertised: self.advertised,
            zone: self.identity.zone.clone(),
            several: self.several,
            labels: self.identity.labels.iter().cloned().collect(),
            heartbeat_interval: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
            load: Some((self.load)()),
            drain: self.drain.report(),
            troubles,
            flaws,
        }
    }

    async fn call(&self, path: &str, message: &impl serde::Serialize) -> JoinAnswer {
        self.call_within(CALL_TIMEOUT, path, message).await
    }

    async fn call_within(
        &self,
        patience: Duration,
        path: &str,
        message: &impl serde::Serialize,
    ) -> JoinAnswer {
        let Ok(text) = serde_json::to_vec(message) else {
            return JoinAnswer::Failed("the message cannot be written as JSON".into());
        };
        let answer = match tokio::time::timeout(patience, self.exchange(path, text.into())).await {
            Ok(answer) => answer,
            Err(_) => JoinAnswer::Silent(format!("no answer within {} s", patience.as_secs_f32())),
        };
        self.note_heard(!matches!(answer, JoinAnswer::Failed(_) | JoinAnswer::Silent(_)));
        answer
    }

    fn note_heard(&self, is_heard: bool) {
        if is_heard {
            self.heard.now();
        } else if self.heard.silence() > STREAMS_OVER {
            let count = (self.close_of_streams)();
            if count > 0 {
                tracing::warn!(
                    sessions = count,
                    "{} is silent: sessions of HTTP+SSE whose streams it had are closed",
                    self.coordinator
                );
            }
        }
    }

    async fn exchange(&self, path: &str, text: Bytes) -> JoinAnswer {
        let request = match self.request(path, text) {
            Ok(request) => request,
            Err(error) => return JoinAnswer::Failed(error.to_string()),
        };
        let response = match self.link.unproved(&self.coordinator, path, request).await {
            Ok(response) => response,
            Err(failure) => return JoinAnswer::Failed(failure.to_string()),
        };
        let status = response.status();
        let is_older = !response.headers().contains_key(seam::REVISION);
        let body = collect(response.into_body(), ANSWER).await.unwrap_or_default();
        match status {
            status if status.is_success() => JoinAnswer::Taken(body),
            StatusCode::NOT_FOUND => JoinAnswer::Unknown,
            status if is_older => JoinAnswer::Failed(format!(
                "{status}: {}; what answers is no coordinator, or one of an earlier version of \
                 mooring, which has to be upgraded first: this node never sends the cluster token",
                message_of(&body)
            )),
            status => JoinAnswer::Failed(format!("{status}: {}", message_of(&body))),
        }
    }

    /// A request with its proof.
    fn request(&self, path: &str, text: Bytes) -> Result<Request<Body>, http::Error> {
        let Identity { id, key, .. } = &*self.identity;
        let proved = Proved { method: Method::POST.as_str(), path, body: &text };
        let key = key.secret().expose().as_bytes();
        let now = UnixMillis::now();
        let proof = RequestProof::make(key, id.as_str(), &self.coordinator, now, &proved);
        Request::builder()
            .method(Method::POST)
            .header(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON))
            .header(seam::PROOF, proof.to_string())
            .body(Body::from(text))
    }
}

/// The servers that no other node takes sessions of, as the answer to a heartbeat says. A coordinator
/// of an earlier version says nothing.
fn only_here(answer: &[u8]) -> BTreeSet<ServerName> {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Beaten {
        data: HeartbeatAnswer,
    }
    object_only!(Beaten);
    let names = serde_json::from_slice::<Beaten>(answer).map(|answer| answer.data.only_here);
    let names = names.unwrap_or_default().into_iter();
    names.filter_map(|name| ServerName::parse(&name).ok()).collect()
}

/// Half to all of the pause, so that nodes do not register in step.
fn jittered(pause: Duration) -> Duration {
    let [byte, ..] = *SessionId::mint().as_bytes();
    pause.mul_f64(0.5 + f64::from(byte) / 512.0)
}

/// The `message` in an answer of the management API, else the body's beginning.
fn message_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct JoinFailure {
        message: String,
    }
    object_only!(JoinFailure);
    serde_json::from_slice::<JoinFailure>(body)
        .map(|failure| failure.message)
        .unwrap_or_else(|_| String::from_utf8_lossy(body).chars().take(200).collect())
}
