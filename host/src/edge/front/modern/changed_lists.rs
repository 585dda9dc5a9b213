//! Lists that a client hears of from two sides: from servers without sessions themselves, and on the
//! stream of its conversation. What both say at about the same time is told once, after the later of
//! them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::methods::List;

use super::subscribed::Heard;

/// How long a list waits for the same word on the stream of the conversation, if that may bring it. It
/// comes 100 ms later there.
const GATHER: Duration = Duration::from_millis(300);

/// Lists of which servers without sessions have said that they have changed, until that is told.
#[derive(Default)]
pub struct ChangedLists {
    lists: BTreeSet<List>,
    due: Option<Instant>,
}

impl ChangedLists {
    /// What such a server says of its lists; what else it says was not asked for. `twice` says that the
    /// conversation may hear of it too.
    pub fn put(&mut self, note: &[u8], twice: bool, now: Instant) {
        if let Some(Heard::Changed(list)) = Heard::of(note) {
            self.lists.insert(list);
            let due = if twice { now + GATHER } else { now };
            self.due = Some(self.due.map_or(due, |before| before.min(due)));
        }
    }

    /// Takes note of what the client is told now.
    pub fn told(&mut self, note: &[u8]) {
        if let Some(Heard::Changed(list)) = Heard::of(note) {
            self.lists.remove(&list);
            self.due = self.due.filter(|_| !self.lists.is_empty());
        }
    }

    /// When it is to be told.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be told now.
    #[must_use]
    pub fn take(&mut self) -> BTreeSet<List> {
        self.due = None;
        std::mem::take(&mut self.lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jsonrpc;

    #[test]
    fn a_list_that_two_streams_say_has_changed_is_told_once() {
        let note = |list: List| jsonrpc::notification(list.changed());
        let (mut changed, now) = (ChangedLists::default(), Instant::now());
        changed.put(&note(List::Tools), true, now);
        changed.put(&note(List::Tools), true, now + GATHER / 2);
        changed.put(&note(List::Prompts), true, now + GATHER / 2);
        changed.put(b"{}", false, now);
        assert_eq!(changed.due(), Some(now + GATHER));
        changed.told(&note(List::Tools));
        assert_eq!(changed.take().into_iter().collect::<Vec<_>>(), [List::Prompts]);
        assert_eq!(changed.due(), None);
        changed.put(&note(List::Resources), false, now);
        assert_eq!(changed.due(), Some(now), "nothing else will say so");
        changed.told(&note(List::Resources));
        assert_eq!(changed.due(), None, "nothing is left");
    }
}
