//! A node that a test writes: it speaks the cluster's messages, and says what the test wants.

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::Response;
use crate::mcp::REVISION;
use crate::played::{Onward, PlayedNode};
use crate::proofs::Party;
use crate::scripted::{Asked, Out, Scripted};
use crate::settings;

/// Returns the page of held sessions after a place in the list.
type Held = dyn Fn(&str) -> Value + Send + Sync;

/// Returns status and headers of the refusal of an open, or nothing.
type Refuses = dyn Fn(&Asked) -> Option<(&'static str, Vec<String>)> + Send + Sync;

/// What a node answers on the seam, by the path below `/cluster/`.
#[derive(Default)]
pub struct Says {
    held: Option<Box<Held>>,
    /// The catalog of every server, as JSON.
    catalog: Option<Vec<u8>>,
    refuses: Option<Box<Refuses>>,
    /// What runs there, as `/cluster/instances` says it.
    instances: Option<Value>,
    token: Option<String>,
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

    /// Says this of what runs there.
    #[must_use]
    pub fn instances(mut self, instances: Value) -> Self {
        self.instances = Some(instances);
        self
    }

    /// Refuses opens with what this returns.
    #[must_use]
    pub fn refuses(
        mut self,
        refuses: impl Fn(&Asked) -> Option<(&'static str, Vec<String>)> + Send + Sync + 'static,
    ) -> Self {
        self.refuses = Some(Box::new(refuses));
        self
    }

    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Starts a node with these answers; it is not registered yet.
    #[must_use]
    pub fn start(self, id: &str) -> FakeNode {
        let token = self.token.clone();
        let scripted = Scripted::start(move |asked, out| {
            self.answer(asked, out);
            None
        });
        let onward = Onward::Plain(scripted.address());
        let played = PlayedNode::at(0, Party::new(id), token.as_deref(), Some(onward));
        FakeNode { played, scripted }
    }

    fn answer(&self, asked: &Asked, out: Out) {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next();
            found.unwrap_or("").replace("%2F", "/")
        };
        match path {
            "/cluster/bindings" => {
                let none = || json!({"bindings": []});
                out.json(&self.held.as_ref().map_or_else(none, |held| held(&value("after"))));
            }
            "/cluster/instances" if self.instances.is_some() => {
                out.json(self.instances.as_ref().unwrap_or(&Value::Null));
            }
            path if path.ends_with("/catalog") => {
                let usual = || json!({"initialize": initialized()}).to_string().into_bytes();
                let catalog = self.catalog.clone().unwrap_or_else(usual);
                out.reply("200 OK", &["Content-Type: application/json"], &catalog);
            }
            _ if asked.header("mooring-open").is_some() => {
                match self.refuses.as_ref().and_then(|refuses| refuses(asked)) {
                    Some((status, headers)) => {
                        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
                        out.reply(status, &headers, b"{}");
                    }
                    None => out.json(&initialized()),
                }
            }
            _ => out.as_usual(asked),
        }
    }
}

pub struct FakeNode {
    played: PlayedNode,
    scripted: Scripted,
}

impl FakeNode {
    /// Registers it with these servers; `more` is merged into the message.
    #[must_use]
    pub fn register(&self, coordinator: &Gateway, servers: Value, more: Value) -> Response {
        let registration = self.played.registration(json!({"servers": servers}));
        self.send(coordinator, "register", settings::merged(registration, more))
    }

    /// Sends a heartbeat; `more` is merged into the message.
    #[must_use]
    pub fn heartbeat(&self, coordinator: &Gateway, more: Value) -> Response {
        self.send(coordinator, "heartbeat", self.played.heartbeat(more))
    }

    /// Deregisters it.
    #[must_use]
    pub fn deregister(&self, coordinator: &Gateway) -> Response {
        self.send(coordinator, "deregister", self.played.heartbeat(json!({})))
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
        self.played.send(coordinator, what, &message)
    }
}

fn initialized() -> Value {
    json!({
        "protocolVersion": REVISION,
        "capabilities": {"tools": {}, "logging": {}},
        "serverInfo": {"name": "fake", "version": "1"},
    })
}
