//! One opening at a time of a server whose state is brought back: what is repeated must not run
//! twice side by side, and no message of the client must come before its end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{ServerName, SessionId};
use crate::sync::Locked;

type Key = (SessionId, ServerName);
type Taken = Arc<Locked<HashMap<Key, watch::Receiver<()>>>>;

/// The openings under way.
#[derive(Default)]
pub struct RestorationTurns(Taken);

/// A turn; the next one begins when this is dropped.
pub struct RestorationTurn {
    taken: Taken,
    key: Key,
    _over: watch::Sender<()>,
}

impl RestorationTurns {
    /// Waits until no other opening of the session's server is under way.
    pub async fn enter(&self, session: SessionId, server: &ServerName) -> RestorationTurn {
        let key = (session, server.clone());
        loop {
            let mut other = {
                let mut taken = self.0.lock();
                match taken.get(&key) {
                    Some(other) => other.clone(),
                    None => {
                        let (over, is_over) = watch::channel(());
                        taken.insert(key.clone(), is_over);
                        return RestorationTurn { taken: Arc::clone(&self.0), key, _over: over };
                    }
                }
            };
            // An error says that its turn is over.
            while other.changed().await.is_ok() {}
        }
    }
}

impl Drop for RestorationTurn {
    fn drop(&mut self) {
        self.taken.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_second_turn_begins_when_the_first_is_over() {
        let (turns, session) = (RestorationTurns::default(), SessionId::mint());
        let (a, b) = (ServerName::parse("a").unwrap(), ServerName::parse("b").unwrap());
        let first = turns.enter(session, &a).await;
        let _other = turns.enter(session, &b).await;
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, turns.enter(session, &a)).await.is_err());
        drop(first);
        drop(turns.enter(session, &a).await);
        assert_eq!(turns.0.lock().len(), 1);
    }
}
