//! What a server says to a client that listens, at all of its nodes, as one stream: it is acknowledged
//! once, with all that any of them grants, and ends when the last of them does, or this process leaves.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::edge::bridge::ahead;
use crate::edge::bridge::call::CallOutput;
use crate::edge::delivery::tried::Tried;
use crate::edge::front::modern::respond::respond;
use crate::edge::front::modern::subscribed::ended;
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::Refusal;
use crate::model::{NodeId, ServerName};
use crate::net::Body;
use crate::sync::Watcher;

use super::listened::{ListenedServer, NodeSaid};
use super::stateless::session_of;

/// How long all nodes are waited for before the client is told what it gets.
const ACKNOWLEDGES: Duration = Duration::from_secs(2);

impl ListenedServer {
    /// The response to the client.
    ///
    /// # Errors
    /// If no node takes the request, or the client holds too much by such requests.
    pub async fn respond(self) -> Result<Response<Body>, Refusal> {
        let worker = self.worker.clone();
        let (context, scope) = (self.context.clone(), self.scope.clone());
        let place = worker.listener_place(&context, self.message.len())?;
        let (principal, id) = (self.principal.clone(), self.id());
        let session = session_of(&principal);
        let origin = CallOrigin { context: Some(&context), session: &session, scope: &scope };
        let observed = ObservedCall::begin(&worker, origin, &self.message);
        observed.is_for(&self.server, &self.message);
        if let [node] = &*Self::nodes(&worker, &self.server) {
            observed.was_at(&node.id);
        }
        match respond(self.merged(), &id, worker.edge.config.keep_alive).await {
            Ok(response) => {
                let response = observed.answered(response.map(|body| body.with_guard(place)));
                let client = (&principal, context.identity.as_ref());
                Ok(worker.while_let_in(response, &scope, client))
            }
            Err(refusal) => {
                observed.refused(&refusal, Some(&id));
                Err(refusal)
            }
        }
    }

    fn merged(self) -> mpsc::Receiver<CallOutput> {
        let (sender, said) = mpsc::channel(ahead::AHEAD);
        let (out, receiver) = mpsc::channel(ahead::AHEAD);
        let (server, id) = (self.server.clone(), self.id());
        let leaving = self.worker.edge.leaving.watch();
        let (awaited, _) = self.ask(&sender, false);
        let (notes, granted, last) = (Vec::new(), Vec::new(), None);
        let tried = Tried::default();
        let merging = Merging { said, awaited, notes, granted, last, tried, leaving, id };
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
    said: mpsc::Receiver<(NodeId, NodeSaid)>,
    /// Nodes that have not said anything yet.
    awaited: usize,
    /// What came before all acknowledgements.
    notes: Vec<Bytes>,
    granted: Vec<Bytes>,
    /// The last answer.
    last: Option<(StatusCode, Bytes)>,
    tried: Tried,
    leaving: Watcher,
    /// The client's id of the request, as JSON.
    id: String,
}

impl Merging {
    async fn run(mut self, server: &ServerName, out: &mpsc::Sender<CallOutput>) {
        let until = Instant::now() + ACKNOWLEDGES;
        while self.awaited > 0 && self.notes.len() < ahead::AHEAD {
            match tokio::time::timeout_at(until, self.said.recv()).await {
                Ok(Some((node, told))) => self.take(&node, told),
                Ok(None) | Err(_) => break,
            }
        }
        // A node that is slow to start its server is waited for if no other has said anything.
        while self.granted.is_empty()
            && self.notes.is_empty()
            && self.awaited > 0
            && let Some((node, told)) = self.said.recv().await
        {
            self.take(&node, told);
        }
        if self.granted.is_empty() && self.notes.is_empty() {
            let _ = out.send(self.end(server)).await;
            return;
        }
        let first = union(&self.granted).into_iter();
        for note in first.chain(std::mem::take(&mut self.notes)) {
            if !put(out, note).await {
                return;
            }
        }
        loop {
            let told = tokio::select! {
                biased;
                () = self.leaving.raised() => {
                    let answer = ended(&self.id);
                    let _ = out.send(CallOutput::Answer(StatusCode::OK, answer)).await;
                    return;
                }
                told = self.said.recv() => told,
            };
            match told {
                Some((_, told)) if told.is_acknowledgement() => {}
                Some((_, NodeSaid::Note(note))) => {
                    if !put(out, note).await {
                        return;
                    }
                }
                Some((_, NodeSaid::End(status, answer))) => self.last = Some((status, answer)),
                Some((_, NodeSaid::Failed(_) | NodeSaid::LateGrant(_))) => {}
                None => break,
            }
        }
        let _ = out.send(self.end(server)).await;
    }

    fn take(&mut self, node: &NodeId, told: NodeSaid) {
        let is_grant = told.is_acknowledgement();
        match told {
            NodeSaid::Note(note) if is_grant => self.granted.push(note),
            NodeSaid::Note(note) => {
                self.notes.push(note);
                return;
            }
            // That node is waited for no more, and others still are.
            NodeSaid::LateGrant(note) => {
                self.granted.push(note);
                return;
            }
            NodeSaid::End(status, answer) => self.last = Some((status, answer)),
            NodeSaid::Failed(why) => self.tried.failed(node, why),
        }
        self.awaited = self.awaited.saturating_sub(1);
    }

    fn end(self, server: &ServerName) -> CallOutput {
        match self.last {
            Some((status, answer)) => CallOutput::Answer(status, answer),
            None => {
                let why = "no node that hosts it is up";
                CallOutput::Refused(self.tried.refusal(server, why))
            }
        }
    }
}

/// False if the client has left.
async fn put(out: &mpsc::Sender<CallOutput>, note: Bytes) -> bool {
    ahead::put(out, note.len(), CallOutput::Note(note)).await
}

/// One acknowledgement with all that these grant. `None` if there is none; one alone stays as it is.
fn union(granted: &[Bytes]) -> Option<Bytes> {
    if let [only] = granted {
        return Some(only.clone());
    }
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
    use crate::protocol::era::methods::ACKNOWLEDGED;
    use crate::sync::Signal;

    fn acknowledged(granted: &str) -> Bytes {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"{ACKNOWLEDGED}","params":{{"notifications":{granted}}}}}"#
        );
        text.into()
    }

    /// What is told before the only acknowledgement has come would be told of nothing.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_heard_again_acknowledges_for_one_that_says_nothing() {
        let (sayer, said) = mpsc::channel(ahead::AHEAD);
        let (out, mut told) = mpsc::channel(ahead::AHEAD);
        let (node, server) = (NodeId::parse("a").unwrap(), ServerName::parse("s").unwrap());
        let gone = Signal::default();
        let merging = Merging {
            said,
            awaited: 2,
            notes: Vec::new(),
            granted: Vec::new(),
            last: None,
            tried: Tried::default(),
            leaving: gone.watch(),
            id: "1".to_owned(),
        };
        let merging = tokio::spawn(async move { merging.run(&server, &out).await });
        let (grant, note) = (acknowledged(r#"{"toolsListChanged":true}"#), Bytes::from("{}"));
        for said in [
            NodeSaid::Failed("down".to_owned().into()),
            NodeSaid::LateGrant(grant.clone()),
            NodeSaid::Note(note.clone()),
        ] {
            sayer.send((node.clone(), said)).await.unwrap();
        }
        for expect in [grant.clone(), note.clone()] {
            assert!(matches!(told.recv().await, Some(CallOutput::Note(said)) if said == expect));
        }
        // The client has its acknowledgement by then.
        for said in [NodeSaid::LateGrant(grant.clone()), NodeSaid::Note(grant)] {
            sayer.send((node.clone(), said)).await.unwrap();
        }
        sayer.send((node, NodeSaid::Note(note.clone()))).await.unwrap();
        assert!(matches!(told.recv().await, Some(CallOutput::Note(said)) if said == note));
        gone.raise();
        assert!(matches!(told.recv().await, Some(CallOutput::Answer(..))));
        merging.await.unwrap();
    }

    #[test]
    fn a_client_is_granted_what_any_node_grants() {
        let said = |granted: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"{ACKNOWLEDGED}","params":{{"notifications":{granted},"_meta":{{"x":1}}}}}}"#
            );
            Bytes::from(text)
        };
        let one = said(r#"{ "b":true,"a":1.0}"#);
        assert_eq!(union(std::slice::from_ref(&one)), Some(one), "not a byte is changed");
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
