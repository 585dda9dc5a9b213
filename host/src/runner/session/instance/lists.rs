//! The lists of an instance, which may differ from its server's catalog, and their changes.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::catalog::Discovered;
use crate::protocol::jsonrpc;
use crate::protocol::methods::List;
use crate::runner::channel::list_changes::ListChanges;
use crate::runner::shared_process::lists::CommonLists;

use super::{Backend, Channel, Instance};

impl Instance {
    /// Tells the client that lists have changed.
    pub fn announce(&self, lists: &[List]) {
        for list in lists {
            let notice = jsonrpc::notification(list.changed());
            match self.channel() {
                Channel::Pipe(pipe) => pipe.announce(notice),
                Channel::Http(remote) => remote.announce(notice),
            }
        }
    }

    /// The server's list_changed notifications.
    #[must_use]
    pub fn list_changes(&self) -> &ListChanges {
        match self.channel() {
            Channel::Pipe(pipe) => pipe.list_changes(),
            Channel::Http(remote) => remote.list_changes(),
        }
    }

    /// The lists that all sessions at a shared process have in common.
    #[must_use]
    pub fn common_lists(&self) -> Option<&CommonLists> {
        match &self.backend {
            Backend::Seat(seat) => Some(seat.lists()),
            Backend::Stdio(_) | Backend::Http(_) | Backend::Sse(_) | Backend::Bridged(_) => None,
        }
    }

    /// Stores the lists that were read after this many changes. `own` is `None` if they
    /// are the catalog's.
    pub fn set_lists(&self, changes: u32, own: Option<Arc<Discovered>>) {
        self.lists.send_replace((changes, own));
    }

    /// The instance's lists, if they differ from the catalog. Waits up to 2 s while lists
    /// that have changed are being read.
    pub async fn own_lists(&self) -> Option<Arc<Discovered>> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let changes = *self.list_changes().changes().borrow();
        let mut lists = self.lists.subscribe();
        let read = lists.wait_for(|(read, _)| *read >= changes);
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(lists)) => lists.1.clone(),
            // The lists known so far have to do.
            Ok(Err(_)) | Err(_) => self.lists.borrow().1.clone(),
        }
    }
}
