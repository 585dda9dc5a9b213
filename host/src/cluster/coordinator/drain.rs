//! Orders to drain, passed on to the node that they are for.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};

use crate::cluster::messages::DrainReport;
use crate::cluster::own_drain::OwnDrain;
use crate::model::{NodeId, Reach, ServerName};
use crate::net::{Body, collect};
use crate::seam::Link;

use super::node_entry::{LeaseStatus, NodeEntry};
use super::registry::Registry;

/// Longest wait for the node's answer.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of its answer.
const MAX_ORDER_ANSWER: usize = 64 * 1024;

/// Why an order did not reach its node, or was not taken there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOrdered {
    #[error("Node not found: {0}")]
    Unknown(String),
    #[error("node {0} is {1}: only an active node can be told to drain, or to take sessions again")]
    NotActive(NodeId, &'static str),
    #[error("node {0} is ending: it drains already, and nothing takes that back")]
    Ending(NodeId),
    #[error(
        "node {0} runs a version of mooring that cannot be told to drain; end it with SIGTERM \
         instead"
    )]
    Older(NodeId),
    #[error("node {0} did not take the order: {1}")]
    Failed(NodeId, String),
}

/// What became of an order to drain.
#[derive(Debug)]
pub struct Ordered {
    pub report: DrainReport,
    /// Servers of the node that no other node takes sessions of.
    pub only_there: Vec<ServerName>,
}

/// Passes orders to nodes.
pub struct DrainOrders {
    pub registry: Arc<Registry>,
    /// That of this process's own runner.
    pub own: Arc<OwnDrain>,
}

impl DrainOrders {
    /// Tells a node to take no new sessions, and to let go those that it has.
    ///
    /// # Errors
    /// If it has not taken the order.
    pub async fn drain(
        &self,
        id: &str,
        deadline: Option<Duration>,
        link: &Link,
    ) -> Result<Ordered, NotOrdered> {
        let entry = self.active(id)?;
        let report = if entry.reach == Reach::Local {
            self.own.begin(deadline).map_err(|_| NotOrdered::Ending(entry.id.clone()))?;
            self.own.report()
        } else {
            let query = deadline
                .map_or(String::new(), |deadline| format!("?deadlineMs={}", deadline.as_millis()));
            let answer = order(&entry, &format!("/cluster/drain{query}"), link).await?;
            serde_json::from_slice(&answer).ok()
        };
        let odd = || NotOrdered::Failed(entry.id.clone(), "its answer is no report".to_owned());
        let report: DrainReport = report.ok_or_else(odd)?;
        self.registry.set_drain(&entry.id, Some(report.clone()));
        let only_there = self.registry.only_at(&entry.id);
        if entry.reach == Reach::Local {
            self.own.known(only_there.iter().cloned().collect());
        }
        tracing::info!(node = %entry.id, "it is told to drain");
        if !only_there.is_empty() {
            let servers: Vec<&str> = only_there.iter().map(ServerName::as_str).collect();
            tracing::warn!(
                node = %entry.id,
                "no other node takes sessions of {}: those that it has stay there, and new ones are \
                 refused",
                servers.join(", ")
            );
        }
        Ok(Ordered { report, only_there })
    }

    /// Tells a node to take sessions again. Returns whether it drained.
    ///
    /// # Errors
    /// If it has not taken the order.
    pub async fn undrain(&self, id: &str, link: &Link) -> Result<bool, NotOrdered> {
        let entry = self.active(id)?;
        let was_draining = entry.is_draining();
        if entry.reach == Reach::Local {
            self.own.take_back().map_err(|_| NotOrdered::Ending(entry.id.clone()))?;
        } else {
            order(&entry, "/cluster/undrain", link).await?;
        }
        self.registry.set_drain(&entry.id, None);
        if was_draining {
            tracing::info!(node = %entry.id, "it takes sessions again");
        }
        Ok(was_draining)
    }

    fn active(&self, id: &str) -> Result<NodeEntry, NotOrdered> {
        let known = NodeId::parse(id).ok().and_then(|id| self.registry.get(&id));
        let entry = known.ok_or_else(|| NotOrdered::Unknown(id.to_owned()))?;
        match entry.status {
            LeaseStatus::Active if entry.liveness.is_silent() => {
                Err(NotOrdered::NotActive(entry.id, "silent"))
            }
            LeaseStatus::Active => Ok(entry),
            status => Err(NotOrdered::NotActive(entry.id, status.as_str())),
        }
    }
}

async fn order(entry: &NodeEntry, path: &str, link: &Link) -> Result<Vec<u8>, NotOrdered> {
    let failed = |why: String| NotOrdered::Failed(entry.id.clone(), why);
    let exchange = async {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::POST;
        let response = link.remote(&entry.url, path, request).await;
        let response = response.map_err(|failure| failed(failure.to_string()))?;
        match response.status() {
            StatusCode::CONFLICT => return Err(NotOrdered::Ending(entry.id.clone())),
            StatusCode::NOT_FOUND => return Err(NotOrdered::Older(entry.id.clone())),
            status if status.is_success() => {}
            status => return Err(failed(format!("it answered {status}"))),
        }
        let answer = collect(response.into_body(), MAX_ORDER_ANSWER).await;
        Ok(answer.map_err(|error| failed(error.to_string()))?.to_vec())
    };
    let late = || failed(format!("no answer within {} s", ORDER_TIMEOUT.as_secs()));
    tokio::time::timeout(ORDER_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(late()))
}
