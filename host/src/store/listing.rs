//! Lists sessions for operators: those that match, in the order of their ids.

use std::sync::Arc;

use crate::model::{NodeId, Rights, ServerName, SessionId, SessionMap};
use crate::sync::Locked;

use super::bindings::Bindings;
use super::record::Record;

/// Which sessions to list. What is `None` or empty matches all.
#[derive(Debug, Clone, Default)]
pub struct SessionQuery {
    /// How the short hash begins.
    pub short: String,
    /// Only those that are bound at this server.
    pub server: Option<ServerName>,
    /// Only those that are bound to this node.
    pub node: Option<NodeId>,
    /// Only those whose short hash comes after this one.
    pub after: Option<String>,
    /// Only those at servers that exist for the holder of these rights, to whom no other binding is
    /// one.
    pub seen_with: Option<Arc<Rights>>,
}

/// A page of sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    pub sessions: Vec<(SessionId, Record)>,
    /// How many match, on this page and on others.
    pub total: usize,
    /// The short hash after which the next page begins; `None` on the last.
    pub next: Option<String>,
}

impl SessionQuery {
    fn takes(&self, session: &SessionId, record: &Record) -> bool {
        let is_bound = |server: &ServerName, node: &NodeId| {
            self.server.as_ref().is_none_or(|wanted| wanted == server)
                && self.node.as_ref().is_none_or(|wanted| wanted == node)
                && self.seen_with.as_ref().is_none_or(|rights| rights.has(server))
        };
        let needs_binding =
            self.server.is_some() || self.node.is_some() || self.seen_with.is_some();
        let mut bound = record.servers.iter();
        session.short().starts_with(&self.short)
            && (!needs_binding || bound.any(|(server, binding)| is_bound(server, &binding.node)))
    }
}

impl Bindings {
    /// How many sessions exist for the holder of these rights. `None`: all of them.
    #[must_use]
    pub fn seen(&self, rights: Option<&Arc<Rights>>) -> usize {
        if rights.is_none() {
            return self.sessions();
        }
        let query = SessionQuery { seen_with: rights.cloned(), ..SessionQuery::default() };
        let count = |shard: &Locked<SessionMap<SessionId, Record>>| {
            let records = shard.lock();
            records.iter().filter(|(session, record)| query.takes(session, record)).count()
        };
        self.shards.iter().map(count).sum()
    }

    /// The sessions that match, `limit` of them, or a few more: those with the same short hash are
    /// never parted. Does not count as use.
    #[must_use]
    pub fn list(&self, query: &SessionQuery, limit: usize) -> Sessions {
        let mut found: Vec<SessionId> = Vec::new();
        for shard in &self.shards {
            let records = shard.lock();
            let taken = records.iter().filter(|(session, record)| query.takes(session, record));
            found.extend(taken.map(|(session, _)| *session));
        }
        found.sort_unstable();
        let total = found.len();
        let is_after =
            |id: &SessionId| query.after.as_ref().is_none_or(|after| id.short() > *after);
        found.retain(is_after);
        let last = found.get(limit.saturating_sub(1)).map(SessionId::short);
        let is_on_page = |id: &SessionId| last.as_ref().is_none_or(|last| id.short() <= *last);
        let page = found.partition_point(is_on_page);
        let next = last.filter(|_| page < found.len());
        let sessions = found.into_iter().take(page);
        // One may have ended since.
        let sessions = sessions.filter_map(|id| Some((id, self.record(id)?))).collect();
        Sessions { sessions, total, next }
    }
}

impl Record {
    /// Whether a stream of the session is open.
    #[must_use]
    pub fn listens(&self) -> bool {
        // This copy holds one, and the table the other.
        Arc::strong_count(&self.in_use) > 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    #[test]
    fn pages_have_every_session_once_and_filters_count() {
        let bindings = Arc::new(Bindings::default());
        let mut ids: Vec<SessionId> = (0..25).map(|_| SessionId::mint()).collect();
        for (number, id) in ids.iter().enumerate() {
            let at = if number % 5 == 0 { "b" } else { "a" };
            bindings.claim(*id, &server("s"), None, &node(at));
        }
        ids.sort_unstable();
        let mut query = SessionQuery::default();
        let mut seen = Vec::new();
        loop {
            let page = bindings.list(&query, 4);
            assert_eq!(page.total, ids.len());
            seen.extend(page.sessions.iter().map(|(id, _)| *id));
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        assert_eq!(seen, ids);
        let at_b = SessionQuery { node: Some(node("b")), ..SessionQuery::default() };
        assert_eq!(bindings.list(&at_b, 100).sessions.len(), 5);
        let other = SessionQuery { server: Some(server("t")), ..SessionQuery::default() };
        assert_eq!(bindings.list(&other, 100).total, 0);
        let one = SessionQuery { short: ids[7].short(), ..SessionQuery::default() };
        let found = bindings.list(&one, 100);
        assert!(found.sessions.iter().any(|(id, _)| *id == ids[7]));
        assert!(!found.sessions[0].1.listens());
        let held = bindings.hold(ids[7]);
        let listening = bindings.list(&one, 100);
        assert!(listening.sessions.iter().any(|(id, record)| *id == ids[7] && record.listens()));
        drop(held);
    }
}
