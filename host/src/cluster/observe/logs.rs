//! The stderr lines of a server's children on every node that hosts it, once or
//! for as long as somebody reads.
//!
//! Nodes send one JSON text a line, and an empty line when there is nothing to
//! say. Nobody keeps lines for a slow reader: the pressure goes back to the node,
//! whose listener falls behind there and says how many lines it has missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::Request;
use http_body::Body as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::coordinator::registry::{Registry, Status};
use crate::model::{NodeId, Reach, ServerName};
use crate::net::{Body, percent_encoded};
use crate::seam::Link;

use super::instances::{Sight, Since, Unreachable};
use super::log_event::LogEvent;

/// Lines of one answer; a host keeps no more.
pub const MOST_LOG_LINES: usize = 500;
/// Longest wait for a node's first word.
const ANSWER: Duration = Duration::from_secs(2);
/// Silence on a node's stream before an empty line, and before it counts as dead.
pub const BEAT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(45);
/// Between two attempts to follow a node.
const PAUSE: Duration = Duration::from_secs(1);
/// Events under way to one reader.
const UNDER_WAY: usize = 64;
/// One event: a line of 4 KiB that JSON writes with six characters a byte.
const MAX_EVENT: usize = 64 * 1024;

/// It is not written where it says nothing.
/// Which lines: of a server, on one node or on all.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub server: ServerName,
    pub node: Option<NodeId>,
    pub since: Since,
}

/// Where lines come from.
#[derive(Clone)]
pub struct Sources {
    pub registry: Arc<Registry>,
    pub sight: Arc<dyn Sight>,
    pub link: Link,
}

impl Sources {
    /// Nodes that host the server, whatever their state.
    fn nodes(&self, wanted: &Wanted) -> Vec<(NodeId, Reach, Status)> {
        let entries = self.registry.entries().into_iter();
        entries
            .filter(|entry| entry.servers.contains_key(&wanted.server))
            .filter(|entry| wanted.node.as_ref().is_none_or(|node| *node == entry.id))
            .map(|entry| (entry.id, entry.reach, entry.status))
            .collect()
    }

    /// The last lines of all nodes, oldest first, and the nodes that did not
    /// answer.
    pub async fn last(&self, wanted: &Wanted) -> (Vec<LogEvent>, Vec<Unreachable>) {
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
                    // What is too old for the answer is not kept until its end.
                    lines.sort_by_key(LogEvent::at);
                    lines.drain(..lines.len().saturating_sub(most));
                }
                Err(reason) => unreachable.push(Unreachable { node: id.to_string(), reason }),
            }
        }
        (lines, unreachable)
    }

    /// The last lines of each node and those to come, nodes that come included.
    /// Ends when the receiver is dropped.
    #[must_use]
    pub fn follow(self, wanted: Wanted) -> mpsc::Receiver<LogEvent> {
        let (reader, events) = mpsc::channel(UNDER_WAY);
        tokio::spawn(async move {
            let mut changes = self.registry.topology();
            let mut followed = BTreeSet::new();
            // Whoever follows a node ends with this.
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

    /// Follows one node for ever; says once when it cannot.
    async fn follow_node(self, id: NodeId, mut wanted: Wanted, reader: mpsc::Sender<LogEvent>) {
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
                None => Err("it does not host the server any more".to_owned()),
            };
            let reason = match opened {
                Ok(mut events) => {
                    told = false;
                    while let Some(event) = events.next().await {
                        if let LogEvent::Line { number, .. } = event {
                            // What was shown is not shown again. A node of an earlier
                            // version does not number its lines.
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
        wanted: &Wanted,
        reach: &Reach,
        status: Status,
        follow: bool,
    ) -> Result<BoxStream<'static, LogEvent>, String> {
        let Reach::Remote(base) = reach else {
            return Ok(self.sight.log(wanted.server.clone(), wanted.since, follow));
        };
        if status != Status::Active {
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
            return Err(format!("it answers {}", response.status()));
        }
        Ok(events_of(response.into_body()).boxed())
    }
}

/// The events of a node's answer; ends when it breaks off or is silent for long.
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

/// What a node answers: its events, one a line.
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
