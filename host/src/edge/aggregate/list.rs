//! Answers a list request with a page of what the scope offers to this session.

use std::sync::Arc;

use bytes::Bytes;

use crate::edge::catalog::merge::ScopeCatalog;
use crate::edge::catalog::pages::{Cursor, name_of, page};
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::Scope;
use crate::protocol::methods::List;
use crate::protocol::splice;
use crate::protocol::strict::StrictParams;

impl Worker {
    /// The page that the request asks for.
    pub(in crate::edge) async fn list(
        &self,
        scope: &Scope,
        session: &Session,
        list: List,
        params: &StrictParams<'_>,
    ) -> Result<Bytes, Refusal> {
        let size = self.edge.config.page_size;
        let key = &self.edge.signing_key;
        // An empty one is a cursor too (2025-11-25, server/utilities/pagination).
        let Some(text) = params.target.cursor.and_then(splice::string) else {
            let merged = self.catalog_for(scope, session).await;
            if let Some(refusal) = self.nothing_to_list(scope, session, &merged) {
                return Err(refusal);
            }
            let items = merged.items(list);
            return Ok(if items.len() <= size {
                merged.result(list)
            } else {
                let name = name_of(scope, &items);
                self.edge.snapshots.keep(name, &items);
                page(list, &items, name, 0, size, key)
            });
        };
        let expired = || {
            Refusal::InvalidParams(
                "params.cursor is unknown or has expired; list again without a cursor".into(),
            )
        };
        let cursor =
            Cursor::read(&text, key).filter(|c| c.list == list as u8).ok_or_else(expired)?;
        let of_scope = |items: &Arc<Vec<Bytes>>| name_of(scope, items) == cursor.snapshot;
        let kept = self.edge.snapshots.get(cursor.snapshot).filter(of_scope);
        let items = match kept {
            Some(items) => items,
            None => {
                let items = self.catalog_for(scope, session).await.items(list);
                if !of_scope(&items) {
                    return Err(expired());
                }
                items
            }
        };
        Ok(page(list, &items, cursor.snapshot, cursor.offset as usize, size, key))
    }

    async fn catalog_for(&self, scope: &Scope, session: &Session) -> Arc<ScopeCatalog> {
        // A list without the servers of nodes that have yet to return would take them from the
        // client.
        self.await_lists(scope, session).await;
        self.open_logged_in(scope, session).await;
        let shared = self.scope_catalog(scope, self.set_of(session)).await;
        match self.own_scope_catalog(scope, session).await {
            Some(own) => Arc::new(own),
            None => shared,
        }
    }
}
