//! What a client hears of a conversation where the operator's rules leave it only some of its URL.
//!
//! Clients of one principal may share a conversation and have different rights, by their tokens. The
//! conversation is heard once, with all that its URL has; each of these clients then hears what is its
//! own.

use std::collections::HashMap;

use bytes::Bytes;

use crate::edge::catalog::merge::Asked;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::protocol::methods::List;

/// The view of one client.
pub struct OwnView {
    worker: Worker,
    scope: Scope,
    session: Session,
    /// The lists as the client was told of them last.
    lists: HashMap<List, Bytes>,
}

impl OwnView {
    /// `None` if the client may use all that its URL has, and hears everything.
    pub async fn of(worker: &Worker, scope: &Scope, session: &Session) -> Option<Self> {
        scope.rights()?;
        let (worker, scope, session) = (worker.clone(), scope.clone(), session.clone());
        let mut view = Self { worker, scope, session, lists: HashMap::new() };
        view.lists = view.now().await;
        Some(view)
    }

    /// Whether a list, which has changed for some client, has changed for this one.
    pub async fn has_changed(&mut self, list: List) -> bool {
        let now = self.now().await;
        let told = match list {
            // One notification is about both.
            List::Resources => &[List::Resources, List::Templates][..],
            _ => std::slice::from_ref(&list),
        };
        let mut differs = false;
        for list in told {
            let new = now.get(list).cloned().unwrap_or_default();
            differs |= self.lists.insert(*list, new.clone()).as_ref() != Some(&new);
        }
        differs
    }

    async fn now(&self) -> HashMap<List, Bytes> {
        let Self { worker, scope, session, .. } = self;
        let all = |result: &dyn Fn(List) -> Bytes| {
            List::ALL.into_iter().map(|list| (list, result(list))).collect()
        };
        match worker.own_scope_catalog(scope, session).await {
            Some(own) => all(&|list| own.result(list)),
            None => {
                let usual = worker.scope_catalog_now(scope, worker.set_of(session));
                all(&|list| usual.result(list))
            }
        }
    }

    /// The URI by which this client knows a resource that is called like this where everything is
    /// shown. `None` if the resource is not for it. One that no list has is known by those who were
    /// granted to hear of it.
    #[must_use]
    pub fn uri(&self, uri: &str, granted: &[String]) -> Option<String> {
        let set = self.worker.set_of(&self.session);
        let whole = self.worker.scope_catalog_now(self.scope.of_url(), set);
        let Some(owner) = whole.owner(Asked::Resource, uri) else {
            return granted.iter().any(|known| known == uri).then(|| uri.to_owned());
        };
        let own = self.worker.scope_catalog_now(&self.scope, set);
        let renamed = own.uris.shared(&owner.server).get(&owner.name).cloned();
        let shown = renamed.unwrap_or_else(|| owner.name.clone());
        (own.owner(Asked::Resource, &shown)? == owner).then_some(shown)
    }
}
