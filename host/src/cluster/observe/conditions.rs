//! Which servers of the cluster can be used, which cannot, and why: what operators and probes are
//! told. Pure: the registry's entries in, words out.
//!
//! | state | when |
//! |---|---|
//! | ok | a replica takes sessions, and no other one is missing |
//! | degraded | a replica takes sessions, and another one is missing |
//! | down | no replica takes sessions |
//!
//! Missing is a replica that fails, or whose node is away without a good-bye. A node that drains or
//! has said good-bye is planned work: only a server that has no other node is down by it.

use std::collections::BTreeMap;

use crate::cluster::coordinator::node_entry::{LeaseStatus, NodeEntry};
use crate::cluster::trouble::TroubleReport;
use crate::model::{Absence, Away, Health, NodeId, Reach, ServerName, UnixMillis};

/// Replicas that one sentence names.
const MOST_NAMED: usize = 8;

/// Whether a server can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    Ok,
    Degraded,
    Down,
}

impl Condition {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Whether a server can be used on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaCondition {
    Ok,
    /// Its node takes no new sessions.
    Draining,
    /// The server does not run there.
    Failing(TroubleReport),
    /// Its node is not there.
    Away(Away),
}

impl ReplicaCondition {
    /// The words of the management API and the metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Draining => "draining",
            Self::Failing(_) => "failing",
            Self::Away(_) => "away",
        }
    }

    /// Since when it is so.
    #[must_use]
    pub fn since(&self) -> Option<UnixMillis> {
        match self {
            Self::Ok | Self::Draining => None,
            Self::Failing(trouble) => Some(UnixMillis(trouble.since)),
            Self::Away(away) => Some(away.since),
        }
    }

    fn is_missing(&self) -> bool {
        match self {
            Self::Ok | Self::Draining => false,
            Self::Failing(_) => true,
            Self::Away(away) => away.how != Absence::GoodBye,
        }
    }
}

/// All replicas of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCondition {
    pub name: ServerName,
    pub replicas: Vec<ReplicaOf>,
}

/// One replica and its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaOf {
    pub node: NodeId,
    /// Whether the node is this very process.
    pub is_own: bool,
    pub condition: ReplicaCondition,
}

impl ReplicaOf {
    /// Why it cannot be used; `None` if it can. `with_reason` includes what the server has said.
    #[must_use]
    pub fn why(&self, with_reason: bool) -> Option<String> {
        match &self.condition {
            ReplicaCondition::Ok => None,
            ReplicaCondition::Draining => Some(format!("node {} drains", self.node)),
            ReplicaCondition::Away(Away { since, how, .. }) => {
                Some(format!("node {} {} {}", self.node, how.text(), since.iso8601()))
            }
            ReplicaCondition::Failing(trouble) => Some(self.failing(trouble, with_reason)),
        }
    }

    fn failing(&self, trouble: &TroubleReport, with_reason: bool) -> String {
        let mut text = match self.is_own {
            true => trouble.status.clone(),
            false => format!("on node {} {}", self.node, trouble.status),
        };
        if trouble.failures > 0 {
            text.push_str(&format!(", {} failed starts", trouble.failures));
        }
        text.push_str(&format!(", since {}", UnixMillis(trouble.since).iso8601()));
        if let Some(reason) = trouble.reason.as_ref().filter(|_| with_reason) {
            text.push_str(&format!(": {reason}"));
        }
        text
    }
}

impl ServerCondition {
    #[must_use]
    pub fn state(&self) -> Condition {
        let is_there = |replica: &ReplicaOf| replica.condition == ReplicaCondition::Ok;
        if !self.replicas.iter().any(is_there) {
            return Condition::Down;
        }
        let is_one_missing = self.replicas.iter().any(|replica| replica.condition.is_missing());
        if is_one_missing { Condition::Degraded } else { Condition::Ok }
    }

    /// One line, with the server's name first; `None` if it is well.
    #[must_use]
    pub fn line(&self, with_reasons: bool) -> Option<String> {
        let state = self.state();
        if state == Condition::Ok {
            return None;
        }
        let why = self.replicas.iter().filter_map(|replica| replica.why(with_reasons));
        let mut why: Vec<String> = why.collect();
        let others = why.len().saturating_sub(MOST_NAMED);
        why.truncate(MOST_NAMED);
        if others > 0 {
            why.push(format!("and {others} others"));
        }
        Some(format!("server {} is {}: {}", self.name, state.as_str(), why.join("; ")))
    }
}

/// The condition of each server that a node of these has, or is expected back with.
#[must_use]
pub fn conditions(entries: &[NodeEntry]) -> Vec<ServerCondition> {
    let mut servers: BTreeMap<&ServerName, Vec<ReplicaOf>> = BTreeMap::new();
    for entry in entries {
        let Some(of_node) = of_node(entry) else { continue };
        for server in entry.servers.keys() {
            let trouble =
                || entry.notes.troubles.iter().find(|trouble| trouble.server == server.as_str());
            let condition = match &of_node {
                ReplicaCondition::Ok => trouble()
                    .map_or(ReplicaCondition::Ok, |found| ReplicaCondition::Failing(found.clone())),
                other => other.clone(),
            };
            let (node, is_own) = (entry.id.clone(), entry.reach == Reach::Local);
            servers.entry(server).or_default().push(ReplicaOf { node, is_own, condition });
        }
    }
    let condition =
        |(name, replicas): (&ServerName, _)| ServerCondition { name: name.clone(), replicas };
    servers.into_iter().map(condition).collect()
}

/// What the node's condition makes of its servers; `None` for a node that nobody expects.
fn of_node(entry: &NodeEntry) -> Option<ReplicaCondition> {
    let away = entry.away.map(|(away, _)| away);
    match entry.health() {
        Health::Healthy | Health::Suspect => Some(ReplicaCondition::Ok),
        Health::Draining => Some(ReplicaCondition::Draining),
        Health::Silent | Health::Unhealthy | Health::Inactive => {
            let is_expected = |away: &Away| away.is_listed || entry.status == LeaseStatus::Active;
            away.filter(is_expected).map(ReplicaCondition::Away)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::cluster::messages::DrainReport;
    use crate::cluster::trouble::ServerNotes;
    use crate::model::Replica;

    use super::*;

    fn node(id: &str, servers: &[&str]) -> NodeEntry {
        let reach = Reach::Remote(format!("http://{id}").as_str().into());
        let entry = NodeEntry::new(NodeId::parse(id).unwrap(), id.into(), reach, id.into(), 80);
        let named = |name: &&str| (ServerName::parse(name).unwrap(), Replica::of_weight(1));
        NodeEntry { servers: servers.iter().map(named).collect(), ..entry }
    }

    fn away(how: Absence, is_listed: bool, entry: NodeEntry) -> NodeEntry {
        let status = match how {
            Absence::GoodBye => LeaseStatus::Inactive,
            _ => LeaseStatus::Unhealthy,
        };
        let away = Some((Away { since: UnixMillis(0), how, is_listed }, Instant::now()));
        NodeEntry { status, away, ..entry }
    }

    fn failing(server: &str, entry: NodeEntry) -> NodeEntry {
        let trouble = TroubleReport {
            server: server.into(),
            status: "backoff".into(),
            failures: 3,
            since: 0,
            reason: Some("s3cret".into()),
        };
        let notes = ServerNotes { troubles: vec![trouble], ..ServerNotes::default() };
        NodeEntry { notes, ..entry }
    }

    fn states(entries: &[NodeEntry]) -> Vec<&'static str> {
        conditions(entries).iter().map(|server| server.state().as_str()).collect()
    }

    #[test]
    fn a_server_is_down_when_no_node_takes_its_sessions() {
        let both = || [node("a", &["s"]), node("b", &["s"])];
        let [a, b] = both();
        assert_eq!(states(&[a.clone(), b.clone()]), ["ok"]);
        for how in [Absence::Unreachable, Absence::Silent, Absence::NotBack] {
            assert_eq!(states(&[a.clone(), away(how, true, b.clone())]), ["degraded"], "{how:?}");
            assert_eq!(states(&[away(how, true, b.clone())]), ["down"], "{how:?}");
        }
        let gone = away(Absence::GoodBye, true, b.clone());
        assert_eq!(states(&[a.clone(), gone.clone()]), ["ok"], "planned work");
        assert_eq!(states(&[gone]), ["down"]);
        assert_eq!(states(&[a.clone(), failing("s", b.clone())]), ["degraded"]);
        assert_eq!(states(&[failing("s", b.clone())]), ["down"]);
        let drains = NodeEntry { drain: Some(DrainReport::default()), ..b.clone() };
        assert_eq!(states(&[a, drains.clone()]), ["ok"]);
        assert_eq!(states(&[drains]), ["down"]);
        assert!(states(&[away(Absence::Silent, false, b)]).is_empty(), "it was given up");
    }

    #[test]
    fn the_line_names_the_server_first_and_its_words_only_to_those_who_may_read_them() {
        let entries =
            [failing("s", node("a", &["s"])), away(Absence::Silent, true, node("b", &["s"]))];
        let servers = conditions(&entries);
        let line = servers[0].line(true).unwrap();
        assert_eq!(
            line,
            "server s is down: on node a backoff, 3 failed starts, since 1970-01-01T00:00:00.000Z: \
             s3cret; node b has not been heard since 1970-01-01T00:00:00.000Z"
        );
        let hidden = servers[0].line(false).unwrap();
        assert!(!hidden.contains("s3cret") && hidden.contains("3 failed starts"), "{hidden}");
        let many: Vec<NodeEntry> = (0..50)
            .map(|number| away(Absence::Silent, true, node(&format!("n{number}"), &["s"])))
            .collect();
        let line = conditions(&many)[0].line(true).unwrap();
        assert!(line.ends_with("; and 42 others") && line.len() < 1000, "{line}");
    }
}
