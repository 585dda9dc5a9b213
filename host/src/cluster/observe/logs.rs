//! The stderr lines of a server's processes on every node that hosts it, once or as a
//! stream that continues until the reader leaves.
//!
//! A node sends one event a line as JSON, and an empty line after [`BEAT`] without one.
//! Lines are not kept for a slow reader: backpressure reaches the node, whose listener
//! falls behind and then reports how many lines it has missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::Request;
use http_body::Body as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::coordinator::node_entry::LeaseStatus;
use crate::cluster::coordinator::registry::Registry;
use crate::model::{NodeId, Reach, ServerName};
use crate::net::{Body, percent_encoded};
use crate::seam::Link;

use super::instances::{RunnerView, Since};
use super::log_event::LogEvent;
use super::overview::Unreachable;

/// The most lines of one answer; a runner keeps no more of a server.
pub const MOST_LOG_LINES: usize = 500;
/// Longest wait for a node to begin its answer, or to complete one that does not follow.
const ANSWER: Duration = Duration::from_secs(2);
/// Silence on a node's stream after which it sends an empty line.
pub const BEAT: Duration = Duration::from_secs(15);
/// Silence after which a node's stream counts as broken: three missing beats.
const SILENCE: Duration = Duration::from_secs(45);
/// Pause before a node is followed again.
const PAUSE: Duration = Duration::from_secs(1);
/// Events that are buffered for one reader.
const UNDER_WAY: usize = 64;
/// Bytes of one event: a line of 4 KiB, each byte of which is at most 6 in JSON.
const MAX_EVENT: usize = 64 * 1024;

/// Which lines: those of a server, on one node or on all.
#[derive(Debug, Clone)]
pub struct LogQuery {
    pub server: ServerName,
    pub node: Option<NodeId>,
    pub since: Since,
}

/// What lines are read from: the runner of this process and other nodes.
#[derive(Clone)]
pub struct LogSources {
    pub registry: Arc<Registry>,
    pub view: Arc<dyn RunnerView>,
    pub link: Link,
}

impl LogSources {
    /// Nodes that host the server, whatever their status.
    fn nodes(&self, wanted: &LogQuery) -> Vec<(NodeId, Reach, LeaseStatus)> {
        let entries = self.registry.entries().into_iter();
        entries
            .filter(|entry| entry.servers.contains_key(&wanted.server))
            .filter(|entry| wanted.node.as_ref().is_none_or(|node| *node == entry.id))
            .map(|entry| (entry.id, entry.reach, entry.status))
            .collect()
    }

    /// The last lines of all nodes, oldest first, and the nodes that did not
    /// answer.
    pub async fn last(&self, wanted: &LogQuery) -> (Vec<LogEvent>, Vec<Unreachable>) {
        let asked = self.nodes(wanted).into_iter().map(|(id, reach, status)| async move {
            let all = async {
                let events = self.open(wanted, &reach, status, false).await?;
                Ok::<_, String>(events.take(MOST_LOG_LINES).collect::<Vec<_>>().await)
            };
            let late = || Err(format!("no answer within {} s", ANSWER.as_secs()));
            (id, tokio::time::timeout(ANSWER, all).await.unwrap_or_else(|_| late()))
        });
        let mut answers = stream::iter(asked).buffered(16);
        let most = match wanted.since {
            Since::Last(lines) => lines,
            Since::After(_) => MOST_LOG_LINES,
        };
        let (mut lines, mut unreachable) = (Vec::new(), Vec::new());
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(events) => {
                    lines.extend(events.into_iter().map(|event| event.told_by(&id)));
                    // Bounds the memory: lines too old for the answer are dropped now.
                    lines.sort_by_key(LogEvent::at);
                    lines.drain(..lines.len().saturating_sub(most));
                }
                Err(reason) => unreachable.push(Unreachable { node: id.to_string(), reason }),
            }
        }
        (lines, unreachable)
    }

    /// The last lines of each node and those to come, also from nodes that register
    /// later. Ends when the receiver is dropped.
    #[must_use]
    pub fn follow(self, wanted: LogQuery) -> mpsc::Receiver<LogEvent> {
        let (reader, events) = mpsc::channel(UNDER_WAY);
        tokio::spawn(async move {
            let mut changes = self.registry.topology();
            let mut followed = BTreeSet::new();
            // Dropping the set ends its tasks.
            let mut tasks = JoinSet::new();
            loop {
                for (id, ..) in self.nodes(&wanted) {
                    if followed.insert(id.clone()) {
                        let (sources, wanted) = (self.clone(), wanted.clone());
                        tasks.spawn(sources.follow_node(id, wanted, reader.clone()));
                    }
                }
                tokio::select! {
                    () = reader.closed() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
        events
    }

    /// Follows one node until the reader leaves. While the node cannot be followed, it
    /// is tried again every [`PAUSE`]; the reader gets one event for that.
    async fn follow_node(self, id: NodeId, mut wanted: LogQuery, reader: mpsc::Sender<LogEvent>) {
        wanted.node = Some(id.clone());
        let mut told = false;
        loop {
            let node = self.nodes(&wanted).pop();
            let opened = match node {
                Some((_, reach, status)) => {
                    let opening = self.open(&wanted, &reach, status, true);
                    let late = || Err(format!("no answer within {} s", ANSWER.as_secs()));
                    tokio::time::timeout(ANSWER, opening).await.unwrap_or_else(|_| late())
                }
                None => Err("it no longer hosts the server".to_owned()),
            };
            let reason = match opened {
                Ok(mut events) => {
                    told = false;
                    while let Some(event) = events.next().await {
                        if let LogEvent::Line { number, .. } = event {
                            // After an interruption, no line is sent twice. Nodes of
                            // earlier versions do not number their lines.
                            wanted.since = match number {
                                0 => Since::Last(0),
                                number => Since::After(number),
                            };
                        }
                        if reader.send(event.told_by(&id)).await.is_err() {
                            return;
                        }
                    }
                    "its stream has ended".to_owned()
                }
                Err(reason) => reason,
            };
            if !std::mem::replace(&mut told, true) {
                let node = id.to_string();
                if reader.send(LogEvent::Unreachable { node, reason }).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn open(
        &self,
        wanted: &LogQuery,
        reach: &Reach,
        status: LeaseStatus,
        follow: bool,
    ) -> Result<BoxStream<'static, LogEvent>, String> {
        let Reach::Remote(base) = reach else {
            return Ok(self.view.log(wanted.server.clone(), wanted.since, follow));
        };
        if status != LeaseStatus::Active {
            return Err(format!("it is {}", status.as_str()));
        }
        let server = percent_encoded(wanted.server.as_str());
        let since = match wanted.since {
            Since::Last(lines) => format!("lines={lines}"),
            Since::After(number) => format!("after={number}"),
        };
        let path = format!("/cluster/logs?server={server}&{since}&follow={follow}");
        let response = self
            .link
            .remote(base, &path, Request::new(Body::Empty))
            .await
            .map_err(|failure| failure.to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        Ok(events_of(response.into_body()).boxed())
    }
}

/// The events in a node's answer. Ends with the answer, or after [`SILENCE`]; lines
/// that are no events are skipped.
fn events_of(body: Body) -> impl stream::Stream<Item = LogEvent> + Send {
    stream::unfold((body, BytesMut::new()), |(mut body, mut buffer)| async move {
        loop {
            while let Some(at) = memchr::memchr(b'\n', &buffer) {
                let line = buffer.split_to(at + 1);
                if let Ok(event) = serde_json::from_slice(line.trim_ascii()) {
                    return Some((event, (body, buffer)));
                }
            }
            if buffer.len() > MAX_EVENT {
                return None;
            }
            let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
            let frame = tokio::time::timeout(SILENCE, frame).await.ok()??.ok()?;
            if let Ok(data) = frame.into_data() {
                buffer.extend_from_slice(&data);
            }
        }
    })
}

/// The body of a node's answer: its events, one a line.
#[must_use]
pub fn lines_of(mut events: BoxStream<'static, LogEvent>) -> Body {
    let (writer, body) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(BEAT, events.next()) => next,
                () = writer.closed() => return,
            };
            let line = match next {
                Ok(Some(event)) => {
                    let mut line = serde_json::to_vec(&event).unwrap_or_default();
                    line.push(b'\n');
                    Bytes::from(line)
                }
                Ok(None) => return,
                Err(_silent) => Bytes::from_static(b"\n"),
            };
            if writer.send(line).await.is_err() {
                return;
            }
        }
    });
    Body::Channel(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_survive_the_way_between_nodes() {
        let node = String::new();
        let all = vec![
            LogEvent::Line {
                at: 7,
                node: node.clone(),
                pid: 8,
                text: "a \"b\"\n\u{1b}".into(),
                number: 9,
            },
            LogEvent::Lost { lost: 3, node: node.clone() },
            LogEvent::Unreachable { node, reason: "why".into() },
        ];
        let body = lines_of(stream::iter(all.clone()).boxed());
        assert_eq!(events_of(body).collect::<Vec<_>>().await, all);
    }
}
