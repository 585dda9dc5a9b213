//! When a server that has granted resources, and is not heard any more, is subscribed to again.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::model::{NodeId, ServerName};

/// Looks between two attempts to subscribe anew; they double up to these.
const LONGEST_PAUSE: u32 = 32;

/// For how many looks a server was not heard, and at which the next attempt is made.
pub struct Unheard {
    looks: u32,
    next: u32,
}

impl Default for Unheard {
    /// A server that is opened is not heard at once.
    fn default() -> Self {
        Self { looks: 0, next: 2 }
    }
}

impl Unheard {
    /// Whether no server was found to be away.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.looks == 0
    }

    /// Notes that a server that was heard is not heard now: the next look tries.
    pub fn begin(&mut self) {
        *self = Self { looks: 1, next: 2 };
    }

    /// Whether an attempt is due after one more look.
    pub fn is_due(&mut self, is_cut_off: bool) -> bool {
        if !is_cut_off {
            *self = Self::default();
            return false;
        }
        self.looks += 1;
        let is_due = self.looks >= self.next;
        if is_due {
            self.next = self.looks + self.next.min(LONGEST_PAUSE);
        }
        is_due
    }
}

/// The next change of what is heard. Never, if there is nothing to hear; it is looked for again then.
pub async fn next_change(heard: &mut Option<watch::Receiver<BTreeMap<ServerName, NodeId>>>) {
    if let Some(servers) = heard {
        if servers.changed().await.is_ok() {
            return;
        }
        *heard = None;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_until_the_server_is_heard() {
        let mut unheard = Unheard::default();
        let due: Vec<u32> = (1..=200).filter(|_| unheard.is_due(true)).collect();
        assert_eq!(due[..5], [2, 4, 8, 16, 32]);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] <= LONGEST_PAUSE), "{due:?}");
        assert!(!unheard.is_due(false) && !unheard.is_due(true) && unheard.is_due(true));
        let mut unheard = Unheard::default();
        unheard.begin();
        assert!(unheard.is_due(true), "one that has gone is not waited for twice");
        unheard.begin();
        assert!(!unheard.is_due(false), "it is heard elsewhere");
    }
}
