//! Why a server cannot be used whose nodes are all away, for its client: which nodes, since when, and
//! when to come back.

use std::time::Duration;

use crate::model::{Away, NodeId, ServerName, UnixMillis};

/// `Retry-After` for a server whose nodes are away: as long as they have been so far, between these.
/// Most come back soon or late.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(30);
/// Nodes that are named in one error.
const MOST_NAMED: usize = 8;

/// A server without a node that can be reached.
#[derive(Debug, Clone)]
pub struct AbsentServer {
    server: ServerName,
    nodes: Vec<(NodeId, Away)>,
    pub retry_after: Duration,
}

impl AbsentServer {
    #[must_use]
    pub fn of(server: &ServerName, mut nodes: Vec<(NodeId, Away)>) -> Self {
        nodes.sort_by_key(|(_, away)| std::cmp::Reverse(away.since.0));
        let newest =
            nodes.first().map_or(Duration::ZERO, |(_, away)| UnixMillis::now().since(away.since));
        nodes.truncate(MOST_NAMED);
        // Whole seconds, which is what every place that tells it has.
        let rounded = Duration::from_secs((newest.as_millis() as u64 + 500) / 1000);
        let retry_after = rounded.clamp(SOONEST, LATEST);
        Self { server: server.clone(), nodes, retry_after }
    }

    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The same for programs, as JSON.
    #[must_use]
    pub fn data(&self) -> String {
        let nodes = self.nodes.iter().map(|(node, away)| {
            serde_json::json!({
                "node": node.as_str(),
                "absence": away.how.word(),
                "since": away.since.iso8601(),
            })
        });
        let data = serde_json::json!({
            "server": self.server.as_str(),
            "nodes": nodes.collect::<Vec<_>>(),
            "retryAfter": self.retry_after.as_secs(),
        });
        data.to_string()
    }
}

impl std::fmt::Display for AbsentServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "server {} is not available: ", self.server)?;
        for (place, (node, away)) in self.nodes.iter().enumerate() {
            let between = if place == 0 { "" } else { ", " };
            write!(f, "{between}node {node} {} {}", away.how.text(), away.since.iso8601())?;
        }
        write!(f, "; try again in {} s", self.retry_after.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Absence;

    use super::*;

    #[test]
    fn the_error_names_nodes_and_times_and_when_to_come_back() {
        let node = |id: &str, ago: u64| {
            let since = UnixMillis(UnixMillis::now().0 - ago * 1000);
            (NodeId::parse(id).unwrap(), Away { since, how: Absence::Silent, is_listed: true })
        };
        let server = ServerName::parse("s").unwrap();
        for (ago, seconds) in [(&[0][..], 1), (&[7], 7), (&[500, 9], 9), (&[500], 30)] {
            let nodes = ago.iter().map(|ago| node("n1", *ago)).collect();
            let absent = AbsentServer::of(&server, nodes);
            assert_eq!(absent.retry_after.as_secs(), seconds, "{ago:?}");
            let data: serde_json::Value = serde_json::from_str(&absent.data()).unwrap();
            assert_eq!((&data["server"], &data["retryAfter"]), (&"s".into(), &seconds.into()));
            let since = data["nodes"][0]["since"].as_str().unwrap();
            let text = absent.to_string();
            assert!(text.contains(&format!("node n1 has not been heard since {since}")), "{text}");
        }
        let many = (0..100).map(|number| node(&format!("n{number}"), number)).collect();
        assert_eq!(AbsentServer::of(&server, many).nodes.len(), MOST_NAMED);
    }
}
