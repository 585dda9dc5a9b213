//! What servers last listed for their users, for the time in which no session has them open.

use std::collections::HashMap;
use std::sync::Arc;

use crate::edge::catalog::node_budget::size_of;
use crate::model::{Principal, ServerName};
use crate::protocol::catalog::Catalog;
use crate::sync::Locked;

/// Most users whose lists are remembered, and bytes of one server's lists for a user, about.
const MOST: usize = 256;
const MOST_BYTES: usize = 256 << 10;

/// Whose login at which server.
pub type LoginKey = (Principal, ServerName);

/// Lists by login. Nobody finds those of another.
#[derive(Default)]
pub struct UserLists(Locked<HashMap<LoginKey, Arc<Catalog>>>);

impl UserLists {
    /// Remembers what a server lists for a user.
    pub fn note(&self, key: &LoginKey, catalog: &Arc<Catalog>) {
        let mut lists = self.0.lock();
        if size_of(catalog) > MOST_BYTES {
            lists.remove(key);
            return;
        }
        if lists.len() >= MOST && !lists.contains_key(key) {
            let any = lists.keys().next().cloned();
            any.and_then(|any| lists.remove(&any));
        }
        lists.insert(key.clone(), Arc::clone(catalog));
    }

    #[must_use]
    pub fn get(&self, key: &LoginKey) -> Option<Arc<Catalog>> {
        self.0.lock().get(key).cloned()
    }

    pub fn forget(&self, key: &LoginKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::logins::log_in_tool;

    #[test]
    fn lists_are_of_one_user_and_bounded() {
        let (lists, catalog) = (UserLists::default(), log_in_tool::catalog().unwrap());
        let key = |name: &str| (Principal::named(name), ServerName::parse("crm").unwrap());
        lists.note(&key("ann"), &catalog);
        assert!(lists.get(&key("ann")).is_some() && lists.get(&key("ben")).is_none());
        lists.forget(&key("ann"));
        assert!(lists.get(&key("ann")).is_none());
        for number in 0..=MOST {
            lists.note(&key(&number.to_string()), &catalog);
        }
        assert_eq!(lists.0.lock().len(), MOST);
    }
}
