//! What a node does about its coordinator: register, keep the lease, say
//! good-bye.
//!
//! ```text
//! Waiting ── join ──► Registering ──► Registered ── stop ──► deregistered
//!                      ▲  │ refused,      │
//!                      │  ▼ unreachable   │ 404: the coordinator does not know us
//!                      backoff ◄──────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use tokio::sync::{Notify, watch};

use crate::cluster::messages::{Heartbeat, LoadReport, ProtocolReport, Registration, ServerReport};
use crate::model::{NodeId, Room, SessionId};
use crate::net::{Body, collect};
use crate::protocol::headers;
use crate::seam::Link;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause after a failed registration; it doubles up to the heartbeat
/// interval, so that a node is in within one step of its coordinator's start.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between two heartbeats that are sent because there is room again or no more.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for the coordinator at the end.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// The answer's text that goes into the log.
const ANSWER: usize = 64 * 1024;

/// Who this node is. The incarnation is new at every start.
#[derive(Debug, Clone)]
pub struct Identity {
    pub id: NodeId,
    pub name: String,
    pub incarnation: String,
    pub zone: String,
    pub labels: Vec<(String, String)>,
}

impl Identity {
    #[must_use]
    pub fn new(id: NodeId, name: String, zone: String, labels: Vec<(String, String)>) -> Self {
        Self { id, name, incarnation: SessionId::mint().to_string(), zone, labels }
    }
}

/// Whether the coordinator knows us, for `/health` and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    Waiting,
    Registering,
    Registered,
}

pub struct Agent {
    pub identity: Arc<Identity>,
    pub coordinator: String,
    /// The URL to be reached at, and whether the operator gave it.
    pub url: String,
    pub advertised: bool,
    pub port: u16,
    pub interval: Duration,
    /// Hosted servers, as they are now.
    pub servers: Box<dyn Fn() -> Vec<ServerReport> + Send + Sync>,
    /// Changes of what `servers` says.
    pub changes: watch::Receiver<u64>,
    /// What the node has to do now, and changes of its room.
    pub load: Box<dyn Fn() -> LoadReport + Send + Sync>,
    pub room: watch::Receiver<Room>,
    pub join: Arc<Notify>,
    pub joined: watch::Sender<Joined>,
    pub link: Link,
}

enum Answer {
    Taken,
    /// The coordinator does not know this node.
    Unknown,
    Failed(String),
}

impl Agent {
    /// Runs until `stop`; then tells the coordinator.
    pub async fn run(mut self, at_once: bool, mut stop: watch::Receiver<bool>) {
        let joining = async {
            if !at_once {
                tracing::info!("not registering until POST /api/cluster/join (or: mooring join)");
                self.join.notified().await;
            }
            loop {
                self.register().await;
                self.keep_lease().await;
            }
        };
        tokio::select! {
            () = joining => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        // The coordinator may have taken a registration whose answer is still on
        // its way.
        if *self.joined.borrow() != Joined::Waiting {
            let _ = tokio::time::timeout(GOOD_BYE, self.deregister()).await;
        }
    }

    /// Tries until it is in.
    async fn register(&self) {
        self.joined.send_replace(Joined::Registering);
        let mut pause = FIRST_PAUSE;
        loop {
            let registration = self.registration();
            match self.call("/api/cluster/register", &registration).await {
                Answer::Taken => {
                    tracing::info!("registered with {}", self.coordinator);
                    self.joined.send_replace(Joined::Registered);
                    return;
                }
                Answer::Unknown => tracing::warn!("{} is no coordinator", self.coordinator),
                Answer::Failed(why) => {
                    tracing::warn!("not registered with {}: {why}", self.coordinator);
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(self.interval).min(LONGEST_PAUSE);
        }
    }

    /// Sends heartbeats until the coordinator does not know us any more.
    async fn keep_lease(&mut self) {
        let mut timer = tokio::time::interval(self.interval);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        timer.tick().await;
        let mut failing = false;
        let mut sent = tokio::time::Instant::now();
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        // Nothing changes any more; heartbeats go on.
                        timer.tick().await;
                    }
                }
                changed = self.room.changed() => {
                    if changed.is_err() {
                        timer.tick().await;
                    }
                    // A node that is full and not in turn is no news each time.
                    tokio::time::sleep_until(sent + ROOM_PAUSE).await;
                    self.room.borrow_and_update();
                }
            }
            sent = tokio::time::Instant::now();
            let heartbeat = Heartbeat {
                id: self.identity.id.to_string(),
                incarnation: Some(self.identity.incarnation.clone()),
                servers: Some((self.servers)()),
                draining: false,
                load: Some((self.load)()),
            };
            match self.call("/api/cluster/heartbeat", &heartbeat).await {
                Answer::Taken => failing = false,
                Answer::Unknown => {
                    tracing::info!(
                        "{} does not know this node; registering again",
                        self.coordinator
                    );
                    return;
                }
                Answer::Failed(why) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "heartbeat to {} failed, trying on: {why}",
                            self.coordinator
                        );
                    }
                }
            }
        }
    }

    async fn deregister(&self) {
        let good_bye = Heartbeat {
            id: self.identity.id.to_string(),
            incarnation: Some(self.identity.incarnation.clone()),
            servers: None,
            draining: true,
            load: None,
        };
        if let Answer::Failed(why) = self.call("/api/cluster/deregister", &good_bye).await {
            tracing::warn!("could not deregister: {why}");
        }
    }

    fn registration(&self) -> Registration {
        Registration {
            id: self.identity.id.to_string(),
            name: self.identity.name.clone(),
            url: self.url.clone(),
            host: None,
            port: Some(self.port),
            servers: (self.servers)(),
            incarnation: self.identity.incarnation.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: Some(ProtocolReport::own()),
            advertised: self.advertised,
            zone: self.identity.zone.clone(),
            labels: self.identity.labels.iter().cloned().collect(),
            heartbeat_interval: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
            load: Some((self.load)()),
        }
    }

    async fn call(&self, path: &str, message: &impl serde::Serialize) -> Answer {
        let Ok(text) = serde_json::to_vec(message) else {
            return Answer::Failed("cannot write the message".into());
        };
        match tokio::time::timeout(CALL_TIMEOUT, self.exchange(path, text.into())).await {
            Ok(answer) => answer,
            Err(_) => Answer::Failed(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
        }
    }

    async fn exchange(&self, path: &str, text: Bytes) -> Answer {
        let mut request = Request::new(Body::from(text));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
        let response = match self.link.remote(&self.coordinator, path, request).await {
            Ok(response) => response,
            Err(failure) => return Answer::Failed(failure.to_string()),
        };
        let status = response.status();
        let body = collect(response.into_body(), ANSWER).await.unwrap_or_default();
        match status {
            status if status.is_success() => Answer::Taken,
            StatusCode::NOT_FOUND => Answer::Unknown,
            status => Answer::Failed(format!("{status}: {}", message_of(&body))),
        }
    }
}

/// Half to all of the pause, so that nodes do not come in step.
fn jittered(pause: Duration) -> Duration {
    let [byte, ..] = *SessionId::mint().as_bytes();
    pause.mul_f64(0.5 + f64::from(byte) / 512.0)
}

/// The `message` of the management API, or the body's beginning.
fn message_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Failure {
        message: String,
    }
    serde_json::from_slice::<Failure>(body)
        .map(|failure| failure.message)
        .unwrap_or_else(|_| String::from_utf8_lossy(body).chars().take(200).collect())
}
