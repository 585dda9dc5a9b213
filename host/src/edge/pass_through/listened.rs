//! `subscriptions/listen` at servers without sessions, at all nodes that have one: each has a process of
//! its own, and any of them may take the request that changes something.
//!
//! A node that comes later is not listened to until the client listens anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::edge::bridge::call::CallOutput;
use crate::edge::bridge::source::{CallMessages, Told};
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;
use crate::model::{Node, Principal, Scope, ServerName};
use crate::protocol::era::methods::{ACKNOWLEDGED, LISTEN};
use crate::protocol::jsonrpc::{Envelope, Kind};

use super::stateless::StatelessPass;

/// Messages that wait for a client which reads slowly.
const AHEAD: usize = 64;
/// How long all nodes are waited for before the client is told what it gets.
const ACKNOWLEDGES: Duration = Duration::from_secs(2);

/// A client's request for what a server tells.
pub struct ListenedServer {
    pub worker: Worker,
    pub context: ClientRequest,
    pub scope: Scope,
    pub principal: Principal,
    pub server: ServerName,
    /// The request, as the server gets it.
    pub message: Bytes,
}

/// What the server at one node says.
pub enum NodeSaid {
    Note(Bytes),
    /// The answer, after which nothing comes, and its status.
    End(StatusCode, Bytes),
}

impl NodeSaid {
    /// Whether it is the acknowledgement of the request.
    #[must_use]
    pub fn is_acknowledgement(&self) -> bool {
        let Self::Note(note) = self else { return false };
        Envelope::parse(note).is_ok_and(|note| note.method() == ACKNOWLEDGED)
    }
}

impl ListenedServer {
    /// The nodes that take requests for the server.
    #[must_use]
    pub fn nodes(worker: &Worker, server: &ServerName) -> Vec<Arc<Node>> {
        let topology = worker.edge.topology.load();
        let taking = topology.replicas(server).filter(|node| node.health.accepts());
        taking.map(Arc::clone).collect()
    }

    /// Asks the server at all of its nodes. Returns how many they are.
    pub fn ask(self, sender: &mpsc::Sender<NodeSaid>) -> usize {
        let this = Arc::new(self);
        let nodes = Self::nodes(&this.worker, &this.server);
        let count = nodes.len();
        for node in nodes {
            let (this, sender) = (Arc::clone(&this), sender.clone());
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    // Dropping the response cancels the request.
                    () = sender.closed() => {}
                    () = this.hear(&node, &sender) => {}
                }
            });
        }
        count
    }

    async fn hear(&self, node: &Node, sender: &mpsc::Sender<NodeSaid>) {
        let Self { worker, context, scope, principal, server, message } = self;
        let (method, named, trace) = (LISTEN, None, None);
        let pass = StatelessPass {
            worker,
            context,
            scope,
            principal,
            server,
            message,
            method,
            named,
            trace,
            read: None,
        };
        let Some(response) = pass.at(node).await else { return };
        let status = response.status();
        let mut messages = CallMessages::of(response, worker.edge.config.line).await;
        while let Some(Told { message, .. }) = messages.next().await {
            let kind = Envelope::parse(&message).map(|said| said.kind());
            let said = match kind {
                Ok(Kind::Response) => NodeSaid::End(status, message),
                Ok(Kind::Notification) => NodeSaid::Note(message),
                Ok(Kind::Request) | Err(_) => continue,
            };
            let is_end = matches!(said, NodeSaid::End(..));
            if sender.send(said).await.is_err() || is_end {
                return;
            }
        }
    }

    /// What all nodes say, as one stream for the client: it is acknowledged once, with all that any of
    /// them grants, and ends when the last of them does.
    #[must_use]
    pub fn merged(self) -> mpsc::Receiver<CallOutput> {
        let (sender, said) = mpsc::channel(AHEAD);
        let (out, receiver) = mpsc::channel(AHEAD);
        let server = self.server.clone();
        let awaited = self.ask(&sender);
        let merging = Merging { said, awaited, notes: Vec::new(), granted: Vec::new(), last: None };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = out.closed() => {}
                () = merging.run(&server, &out) => {}
            }
        });
        receiver
    }
}

struct Merging {
    said: mpsc::Receiver<NodeSaid>,
    /// Nodes that have not said anything yet.
    awaited: usize,
    /// What came before all acknowledgements.
    notes: Vec<Bytes>,
    granted: Vec<Bytes>,
    /// The last answer.
    last: Option<(StatusCode, Bytes)>,
}

impl Merging {
    async fn run(mut self, server: &ServerName, out: &mpsc::Sender<CallOutput>) {
        let until = Instant::now() + ACKNOWLEDGES;
        while self.awaited > 0 && self.notes.len() < AHEAD {
            match tokio::time::timeout_at(until, self.said.recv()).await {
                Ok(Some(told)) => self.take(told),
                Ok(None) | Err(_) => break,
            }
        }
        // A node that is slow to start its server is waited for if no other has said anything.
        while self.granted.is_empty()
            && let Some(told) = self.said.recv().await
        {
            self.take(told);
        }
        let first = union(&self.granted).into_iter();
        for note in first.chain(std::mem::take(&mut self.notes)) {
            if out.send(CallOutput::Note(note)).await.is_err() {
                return;
            }
        }
        while let Some(told) = self.said.recv().await {
            match told {
                told if told.is_acknowledgement() => {}
                NodeSaid::Note(note) => {
                    if out.send(CallOutput::Note(note)).await.is_err() {
                        return;
                    }
                }
                NodeSaid::End(status, answer) => self.last = Some((status, answer)),
            }
        }
        let end = match self.last {
            Some((status, answer)) => CallOutput::Answer(status, answer),
            None => CallOutput::Refused(Refusal::Unavailable {
                server: server.clone(),
                why: "no node that hosts it has answered".to_owned(),
                retry_after: None,
                by_node: false,
            }),
        };
        let _ = out.send(end).await;
    }

    fn take(&mut self, told: NodeSaid) {
        let is_first_word = told.is_acknowledgement() || matches!(told, NodeSaid::End(..));
        self.awaited -= usize::from(is_first_word && self.awaited > 0);
        match told {
            NodeSaid::Note(note) if is_first_word => self.granted.push(note),
            NodeSaid::Note(note) => self.notes.push(note),
            NodeSaid::End(status, answer) => self.last = Some((status, answer)),
        }
    }
}

/// One acknowledgement with all that these grant. `None` if there is none.
fn union(granted: &[Bytes]) -> Option<Bytes> {
    let mut said = granted.iter().filter_map(|said| serde_json::from_slice::<Value>(said).ok());
    let mut all = said.next()?;
    // What is no object grants nothing.
    let known = all.pointer_mut("/params/notifications").and_then(Value::as_object_mut);
    if let Some(known) = known {
        for said in said {
            let Some(more) = said["params"]["notifications"].as_object() else { continue };
            for (name, value) in more {
                let known = known.entry(name.clone()).or_insert(Value::Null);
                if known.is_null() || *known == false {
                    *known = value.clone();
                } else if let (Some(known), Some(more)) = (known.as_array_mut(), value.as_array()) {
                    for one in more {
                        if !known.contains(one) {
                            known.push(one.clone());
                        }
                    }
                }
            }
        }
    }
    Some(all.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_granted_what_any_node_grants() {
        let said = |granted: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"{ACKNOWLEDGED}","params":{{"notifications":{granted},"_meta":{{"x":1}}}}}}"#
            );
            Bytes::from(text)
        };
        let all = union(&[
            said(r#"{"toolsListChanged":true,"taskIds":["a"]}"#),
            Bytes::from_static(b"no JSON"),
            said(r#"{"promptsListChanged":true,"taskIds":["b","a"]}"#),
        ]);
        let all: Value = serde_json::from_slice(&all.unwrap()).unwrap();
        let expect = serde_json::json!({
            "toolsListChanged": true, "promptsListChanged": true, "taskIds": ["a", "b"],
        });
        assert_eq!(all["params"]["notifications"], expect);
        assert_eq!(all["params"]["_meta"]["x"], 1);
        assert!(union(&[]).is_none());
    }
}
