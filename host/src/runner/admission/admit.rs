//! The checks that a start has to pass.
//!
//! ```text
//! backoff ──► caps ──► a turn ──► backoff again ──► the start begins
//!    │          │         │          │
//!    └──────────┴─────────┴──────────┴─► not sent: another node may have room
//! ```
//!
//! Many starts may wait for a turn while earlier ones fail. Therefore backoff is
//! checked again after the turn, and the start is counted from there.

use std::sync::Arc;

use crate::model::{QuotaKey, ServerName};

use super::caps::Permit;
use super::open_error::OpenError;
use super::starts::{StartAttempt, StartTurn, Starts};

/// A start that has passed all checks.
pub struct AdmittedStart {
    pub attempt: StartAttempt,
    /// `None` for a process of the gateway's own, which counts against no limit.
    pub permit: Option<Permit>,
    pub turn: StartTurn,
}

impl Starts {
    /// Waits until the server may be started for this key, or, with `None`, for
    /// the gateway itself.
    ///
    /// # Errors
    /// The check that failed.
    pub async fn admit(
        self: &Arc<Self>,
        server: &ServerName,
        key: Option<&QuotaKey>,
    ) -> Result<AdmittedStart, OpenError> {
        let name = || server.clone();
        let paused = |pause| OpenError::Paused { server: name(), pause };
        self.settled(server).await.map_err(paused)?;
        let permit = match key {
            Some(key) => {
                let entered = self.place(server, key).await;
                Some(entered.map_err(|full| OpenError::Full { server: name(), full })?)
            }
            None => None,
        };
        loop {
            let turn = self.turn(key).await;
            let turn =
                turn.map_err(|crowded| OpenError::Crowded { server: name(), at_once: crowded.0 })?;
            if let Some(attempt) = self.begin(server).map_err(paused)? {
                return Ok(AdmittedStart { attempt, permit, turn });
            }
            // Another start tests the server after a failure: wait for its outcome,
            // without holding a turn.
            drop(turn);
            self.settled(server).await.map_err(paused)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::runner::admission::process_limits::ProcessCaps;
    use crate::runner::admission::starts::Opener;

    fn one_at_a_time(server: &ServerName) -> Arc<Starts> {
        let limits =
            ProcessCaps { per_server: 9, own: BTreeMap::new(), per_node: 9, per_principal: None };
        Starts::new(std::iter::once(server), limits, 1)
    }

    fn me() -> QuotaKey {
        QuotaKey::of_address([10, 0, 0, 1].into())
    }

    /// A process that had been started dies.
    fn dies(starts: &Starts, server: &ServerName) {
        starts.died(server, Instant::now(), Duration::ZERO, false, "exit status: 1", Vec::new());
    }

    #[tokio::test]
    async fn who_has_waited_for_a_turn_is_asked_again_and_begins_there() {
        let (server, me) = (ServerName::parse("s").unwrap(), me());
        let starts = one_at_a_time(&server);
        let failures = || starts.state(&server).unwrap().failures;
        let first = starts.admit(&server, Some(&me)).await.unwrap();
        let mut waiting = [(); 2].map(|()| Box::pin(starts.admit(&server, Some(&me))));
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let [second, third] = waiting;
        dies(&starts, &server);
        first.attempt.succeeded(Opener::Client);
        drop(first.turn);
        let second = second.await.unwrap();
        second.attempt.failed("exit status: 1", Vec::new());
        assert_eq!(failures(), 2, "it has begun after the first failure");
        drop(second.turn);
        assert!(matches!(third.await, Err(OpenError::Paused { .. })));
        drop((first.permit, second.permit));
        assert_eq!(starts.caps.of(&server), 0);
    }

    #[tokio::test]
    async fn who_waits_for_anothers_try_holds_no_turn() {
        let names = ["s", "other"].map(|name| ServerName::parse(name).unwrap());
        let [server, other] = &names;
        let me = me();
        let starts = one_at_a_time(server);
        dies(&starts, server);
        dies(&starts, server);
        let pause = starts.state(server).unwrap().next_attempt.unwrap();
        let blocking = starts.turn(Some(&me)).await.unwrap();
        tokio::time::sleep(pause).await;
        let mut waiting = [(); 2].map(|()| Box::pin(starts.admit(server, Some(&me))));
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        drop(blocking);
        let [tries, mut waits] = waiting;
        let tries = tries.await.unwrap();
        drop(tries.turn);
        assert!(waits.as_mut().now_or_never().is_none());
        let passes = starts.admit(other, Some(&me)).await.unwrap();
        drop(passes);
        tries.attempt.succeeded(Opener::Client);
        assert!(waits.await.is_ok());
    }
}
