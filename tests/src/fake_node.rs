//! A node that a test writes: it speaks the cluster's messages, and says what the test wants.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::gateway::Gateway;
use crate::http::{Request, Response};
use crate::mcp::REVISION;
use crate::scripted::{Asked, Out, Scripted};
use crate::settings;

/// The secret of its start.
const INCARNATION: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

/// Returns the page of held sessions after a place in the list.
type Held = dyn Fn(&str) -> Value + Send + Sync;

/// What a node answers on the seam, by the path below `/cluster/`.
#[derive(Default)]
pub struct Says {
    held: Option<Box<Held>>,
    /// The catalog of every server, as JSON.
    catalog: Option<Vec<u8>>,
    token: String,
}

impl Says {
    #[must_use]
    pub fn held(mut self, held: impl Fn(&str) -> Value + Send + Sync + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    #[must_use]
    pub fn catalog(mut self, catalog: Vec<u8>) -> Self {
        self.catalog = Some(catalog);
        self
    }

    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// Starts a node with these answers; it is not registered yet.
    #[must_use]
    pub fn start(self, id: &str) -> FakeNode {
        let (own, token) = (id.to_owned(), self.token.clone());
        let scripted = Scripted::start(move |asked, out| {
            self.answer(&own, asked, out);
            None
        });
        FakeNode { id: id.to_owned(), token, scripted }
    }

    fn answer(&self, id: &str, asked: &Asked, out: Out) {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next();
            found.unwrap_or("").replace("%2F", "/")
        };
        match path {
            "/cluster/proof" => {
                let proof = proof(&self.token, &value("nonce"), id);
                out.json(&json!({"id": id, "incarnation": INCARNATION, "proof": proof}));
            }
            "/cluster/bindings" => {
                let none = || json!({"bindings": []});
                out.json(&self.held.as_ref().map_or_else(none, |held| held(&value("after"))));
            }
            path if path.ends_with("/catalog") => {
                let usual = || json!({"initialize": initialized()}).to_string().into_bytes();
                let catalog = self.catalog.clone().unwrap_or_else(usual);
                out.reply("200 OK", &["Content-Type: application/json"], &catalog);
            }
            _ if asked.header("mooring-open").is_some() => out.json(&initialized()),
            _ => out.as_usual(asked),
        }
    }
}

pub struct FakeNode {
    id: String,
    token: String,
    scripted: Scripted,
}

impl FakeNode {
    /// Registers it with these servers; `more` is merged into the message.
    #[must_use]
    pub fn register(&self, coordinator: &Gateway, servers: Value, more: Value) -> Response {
        let registration = json!({
            "id": self.id,
            "name": self.id,
            "url": self.scripted.url(""),
            "servers": servers,
            "incarnation": INCARNATION,
            "heartbeatInterval": 60_000,
        });
        self.send(coordinator, "register", settings::merged(registration, more))
    }

    /// Sends a heartbeat; `more` is merged into the message.
    #[must_use]
    pub fn heartbeat(&self, coordinator: &Gateway, more: Value) -> Response {
        let heartbeat = json!({"id": self.id, "incarnation": INCARNATION});
        self.send(coordinator, "heartbeat", settings::merged(heartbeat, more))
    }

    /// Deregisters it.
    #[must_use]
    pub fn deregister(&self, coordinator: &Gateway) -> Response {
        let bye = json!({"id": self.id, "incarnation": INCARNATION});
        self.send(coordinator, "deregister", bye)
    }

    /// Every request that it has received.
    #[must_use]
    pub fn seen(&self) -> Vec<Asked> {
        self.scripted.all()
    }

    /// Waits for a request.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_meant: impl Fn(&Asked) -> bool) -> Asked {
        self.scripted.wait_for(what, is_meant)
    }

    fn send(&self, coordinator: &Gateway, what: &str, message: Value) -> Response {
        let request = Request::post(&format!("/api/cluster/{what}")).json(&message);
        let bearer = format!("Bearer {}", self.token);
        let request = match self.token.as_str() {
            "" => request,
            _ => request.header("Authorization", &bearer),
        };
        request.send(coordinator.address())
    }
}

fn initialized() -> Value {
    json!({
        "protocolVersion": REVISION,
        "capabilities": {"tools": {}, "logging": {}},
        "serverInfo": {"name": "fake", "version": "1"},
    })
}

/// The proof that a node with this token is who it says.
fn proof(token: &str, nonce: &str, id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("a key of any length");
    for part in ["mooring proof", nonce, id, INCARNATION] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
