//! The nodes that a delivery has tried in vain.

use std::time::Duration;

use http::Response;

use crate::edge::refusal::Refusal;
use crate::model::visible::visible;
use crate::model::{Epoch, Node, NodeId, ServerName};
use crate::net::{Body, collect};
use crate::protocol::headers;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::objects::object_only;
use crate::seam::{UserTokenRefused, is_token_refused};

/// Largest `InitializeResult` of a server, in bytes; long instructions fit.
pub const MAX_RESULT: usize = 4 << 20;
/// Bytes kept of another process's error.
const MAX_MESSAGE: usize = 2048;

/// Nodes that have failed, and why the last of them did.
#[derive(Debug, Default)]
pub struct Tried {
    pub nodes: Vec<NodeId>,
    /// The highest epoch of the bindings that were given up on the way.
    pub seen: Option<Epoch>,
    /// Those of them that gave no answer at all.
    pub unreached: Vec<NodeId>,
    why: Option<NotOpened>,
}

impl Tried {
    /// Adds a node that has failed. The shortest `Retry-After` of all nodes is kept.
    pub fn failed(&mut self, node: &NodeId, why: NotOpened) {
        self.nodes.push(node.clone());
        if why.from == RefusedBy::Nobody {
            self.unreached.push(node.clone());
        }
        let before = self.why.take().and_then(|before| before.retry_after);
        let soonest = before.into_iter().chain(why.retry_after).min();
        self.why = Some(NotOpened { retry_after: soonest, ..why });
    }

    /// The refusal when no node is left; `otherwise` is its reason if no node has given one.
    pub fn refusal(self, server: &ServerName, otherwise: &str) -> Refusal {
        let (server, otherwise) = (server.clone(), otherwise.to_owned());
        match self.why {
            Some(NotOpened { reason, retry_after, from, .. }) => Refusal::Unavailable {
                server,
                why: reason,
                retry_after,
                by_node: from == RefusedBy::Node,
            },
            None => {
                let retry_after = None;
                Refusal::Unavailable { server, why: otherwise, retry_after, by_node: false }
            }
        }
    }
}

/// Why a node has not opened a server, and when it may be asked again.
#[derive(Debug, Clone)]
pub struct NotOpened {
    pub reason: String,
    pub retry_after: Option<Duration>,
    pub from: RefusedBy,
    /// How the server refuses the token of the client's user, if it does.
    pub refused: UserTokenRefused,
}

/// Who has not opened a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// The node itself.
    Node,
    /// Nobody: the node gave no answer.
    Nobody,
    /// The server, by the token of the client's user. No other node is better.
    Server,
    /// This process, which is short of something that a connection takes. No other node is better.
    ThisProcess,
}

impl NotOpened {
    /// The refusal, if no other node is to be tried.
    #[must_use]
    pub fn ends_the_search(&self, server: &ServerName) -> Option<Refusal> {
        (self.from == RefusedBy::ThisProcess).then(|| Refusal::short(server, self.reason.clone()))
    }
}

/// Of a node that gave no answer.
impl From<String> for NotOpened {
    fn from(reason: String) -> Self {
        let (from, refused) = (RefusedBy::Nobody, UserTokenRefused::default());
        Self { reason, retry_after: None, from, refused }
    }
}

/// Reads the response of a node that has not opened a server.
pub async fn not_opened(node: &Node, response: Response<Body>) -> NotOpened {
    let retry_after = headers::retry_after(response.headers());
    let from = match is_token_refused(response.headers()) {
        true => RefusedBy::Server,
        false => RefusedBy::Node,
    };
    let mut refused = UserTokenRefused::default();
    let reason = match collect(response.into_body(), MAX_RESULT).await {
        Ok(body) if body.is_empty() => format!("node {} could not reach the server", node.id),
        Ok(body) => {
            if from == RefusedBy::Server {
                refused = UserTokenRefused::read(&body);
            }
            error_text(&body)
        }
        Err(error) => error.to_string(),
    };
    NotOpened { reason, retry_after, from, refused }
}

/// The message of the JSON-RPC error in a body, or else the body's first 300 characters.
pub fn error_text(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Error {
        message: String,
    }
    object_only!(Error);
    Envelope::parse(body)
        .ok()
        .and_then(|envelope| serde_json::from_str::<Error>(envelope.error?.get()).ok())
        .map_or_else(
            || visible(&String::from_utf8_lossy(body), 300).to_string(),
            |error| visible(&error.message, MAX_MESSAGE).to_string(),
        )
}
