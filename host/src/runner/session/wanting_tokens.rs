//! Remote servers that want a token, and what they say.
//!
//! A server at which each client has a token of its own refuses the gateway, which has none, whenever that
//! asks for its lists. Once a client was let in, that says nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::ServerName;
use crate::sync::Locked;

#[derive(Debug, Default)]
pub struct WantingTokens(Locked<State>);

#[derive(Debug, Default)]
struct State {
    wanting: BTreeMap<ServerName, Arc<str>>,
    /// Those of each client's own token that have let one in.
    open: BTreeSet<ServerName>,
}

impl WantingTokens {
    /// A server has refused an opening. `is_without` if that had no token at all.
    pub fn refused(&self, server: &ServerName, said: &str, is_without: bool) {
        let mut state = self.0.lock();
        if !is_without || !state.open.contains(server) {
            state.wanting.insert(server.clone(), said.into());
        }
    }

    /// A server has let a client in with its own token.
    pub fn let_client_in(&self, server: &ServerName) {
        let mut state = self.0.lock();
        state.wanting.remove(server);
        if !state.open.contains(server) {
            state.open.insert(server.clone());
        }
    }

    /// A server was opened.
    pub fn opened(&self, server: &ServerName) {
        self.0.lock().wanting.remove(server);
    }

    /// Forgets a server, which has other settings by now.
    pub fn forget(&self, server: &ServerName) {
        let mut state = self.0.lock();
        state.wanting.remove(server);
        state.open.remove(server);
    }

    /// Whether a client was let in with its own token.
    #[must_use]
    pub fn is_open(&self, server: &ServerName) -> bool {
        self.0.lock().open.contains(server)
    }

    /// The servers that want a token, and what they say.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ServerName, Arc<str>> {
        self.0.lock().wanting.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_token_is_wanted_counts_until_a_client_was_let_in() {
        let (wanting, crm) = (WantingTokens::default(), ServerName::parse("crm").unwrap());
        wanting.refused(&crm, "of each user", true);
        assert_eq!(wanting.all().get(&crm).map(|said| &**said), Some("of each user"));
        wanting.let_client_in(&crm);
        wanting.refused(&crm, "of each user", true);
        assert!(wanting.all().is_empty() && wanting.is_open(&crm));
        wanting.refused(&crm, "no access token", false);
        assert_eq!(wanting.all().len(), 1, "none is to be had any more");
        wanting.forget(&crm);
        wanting.refused(&crm, "of each user", true);
        wanting.opened(&crm);
        assert!(wanting.all().is_empty() && !wanting.is_open(&crm));
    }
}
