//! What a scope offers while nodes of before a start of the gateway have not come back yet, while all
//! nodes of a server are away, or while a server could not be opened yet. A client takes a list without
//! their servers for the truth, and "unknown" too.

use crate::edge::refusal::Refusal;
use crate::edge::routing::cold_start::ColdStart;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Scope, ServerName};
use crate::protocol::initialize::ClientSet;
use crate::protocol::methods::List;

use super::merge::{Asked, ScopeCatalog};

/// Why a server that is there has no lists.
const UNREAD: &str = "what it offers is not known, since it does not start, cannot be reached, or has \
                      not answered yet";

impl Worker {
    /// Right after a start, waits for the nodes whose servers' lists are unknown.
    pub(in crate::edge) async fn await_lists(&self, scope: &Scope, session: &Session) {
        let set = self.set_of(session);
        let cold_start = &self.edge.cold_start;
        if !cold_start.delays(session.minted_at) || self.has_all_lists(cold_start, scope, set) {
            return;
        }
        let look = || self.has_all_lists(cold_start, scope, set).then_some(());
        Box::pin(cold_start.until(look)).await;
    }

    /// Right after a start, looks something up in what the scope offers until it is found, or until
    /// the lists of all nodes of before the start are known.
    pub(in crate::edge) async fn find_returning<T>(
        &self,
        scope: &Scope,
        session: &Session,
        look: impl Fn(&ScopeCatalog) -> Option<T>,
    ) -> Option<T> {
        let set = self.set_of(session);
        let cold_start = &self.edge.cold_start;
        if !cold_start.delays(session.minted_at) {
            return None;
        }
        let look = || match look(&self.scope_catalog_now(scope, set)) {
            Some(found) => Some(Some(found)),
            None => self.has_all_lists(cold_start, scope, set).then_some(None),
        };
        Box::pin(cold_start.until(look)).await.flatten()
    }

    /// Whether the lists of every node of before the start are known, if those nodes are.
    fn has_all_lists(&self, cold_start: &ColdStart, scope: &Scope, set: ClientSet) -> bool {
        let topology = self.edge.topology.load();
        let members = scope::members(self, scope);
        let is_unknown = |server: &ServerName| {
            topology.away_with(server).next().is_some()
                && self.edge.catalogs.known(&topology, server, set).is_none()
        };
        cold_start.had_nodes() && !members.iter().any(|member| is_unknown(&member.server))
    }

    /// The refusal of a request for an entry that no list has. A server whose lists are unknown may
    /// have it if the name begins with the server's.
    pub(in crate::edge) fn not_listed_yet(
        &self,
        scope: &Scope,
        session: &Session,
        asked: Asked,
        name: &str,
    ) -> Option<Refusal> {
        let (set, topology) = (self.set_of(session), self.edge.topology.load());
        let separator = &self.edge.config.separator;
        let mut members = scope::members(self, scope).into_iter().filter(|member| {
            let is_meant = match (scope.of_url(), asked) {
                (Scope::Server(_), _) => true,
                (_, Asked::Tool | Asked::Prompt) => {
                    member.prefixes(separator).stripped(name).next().is_some()
                }
                (_, Asked::Resource | Asked::Template) => false,
            };
            is_meant && self.edge.catalogs.known(&topology, &member.server, set).is_none()
        });
        members.find_map(|member| self.unread(&member.server))
    }

    /// Why a server's lists are unknown: all of its nodes are away, or none could open it so far. `None`
    /// if no node has it at all.
    fn unread(&self, server: &ServerName) -> Option<Refusal> {
        self.edge.absent(server).or_else(|| {
            let is_there = self.edge.topology.load().knows(server);
            is_there.then(|| Refusal::Unavailable {
                server: server.clone(),
                why: UNREAD.to_owned(),
                retry_after: None,
                by_node: false,
            })
        })
    }

    /// The refusal of a list in which nothing is, since every node of the scope's servers is away
    /// and their lists are unknown; of one server's, also since it could not be opened yet.
    pub(in crate::edge) fn nothing_to_list(
        &self,
        scope: &Scope,
        session: &Session,
        merged: &ScopeCatalog,
    ) -> Option<Refusal> {
        if List::ALL.into_iter().any(|list| !merged.items(list).is_empty()) {
            return None;
        }
        let (set, topology) = (self.set_of(session), self.edge.topology.load());
        let is_single = matches!(scope.of_url(), Scope::Server(_));
        let mut refusal = None;
        for member in scope::members(self, scope) {
            if !topology.knows(&member.server) {
                continue;
            }
            if self.edge.catalogs.known(&topology, &member.server, set).is_some() {
                return None;
            }
            let why = match is_single {
                true => self.unread(&member.server),
                false => self.edge.absent(&member.server),
            };
            refusal = refusal.or(Some(why?));
        }
        refusal
    }
}
