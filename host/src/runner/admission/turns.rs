//! Turns to start a server: few starts may be under way at the same time.
//!
//! A turn that becomes free goes to whoever holds the fewest, of those to the one whose last turn
//! was given longest ago, and of its starts to the one that has waited for longest. So a client that
//! starts many servers at once delays its own starts, and another's by one turn at most.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::model::QuotaKey;
use crate::sync::Locked;

/// Clients whose last turn is remembered while others wait.
const MAX_SERVED: usize = 4096;

/// Whom a start is for; `None` for the gateway itself.
type Whom = Option<QuotaKey>;

/// The turns of a runner.
#[derive(Debug)]
pub struct Turns(Locked<TurnState>);

#[derive(Debug, Default)]
struct TurnState {
    free: usize,
    held: HashMap<Whom, usize>,
    /// When each was given its last turn, as the number of that turn.
    served: HashMap<Whom, u64>,
    given: u64,
    /// Oldest first. Empty while a turn is free.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    whom: Whom,
    turn: oneshot::Sender<Turn>,
}

/// A turn, given back on drop.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    whom: Whom,
    is_taken: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_taken {
            self.turns.give_back(&self.whom);
        }
    }
}

impl Turns {
    /// This many turns.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self(Locked::new(TurnState { free: count, ..TurnState::default() })))
    }

    /// Waits for a turn. Dropping the future gives the place in the queue up.
    pub async fn take(self: &Arc<Self>, whom: Whom) -> Option<Turn> {
        let next = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Some(self.turn(&mut state, whom));
            }
            let (turn, next) = oneshot::channel();
            state.waiting.push(Waiter { whom, turn });
            next
        };
        next.await.ok()
    }

    fn turn(self: &Arc<Self>, state: &mut TurnState, whom: Whom) -> Turn {
        *state.held.entry(whom.clone()).or_default() += 1;
        state.given += 1;
        if state.served.len() >= MAX_SERVED {
            state.served.clear();
        }
        let number = state.given;
        state.served.insert(whom.clone(), number);
        Turn { turns: Arc::clone(self), whom, is_taken: true }
    }

    fn give_back(self: &Arc<Self>, whom: &Whom) {
        let mut state = self.0.lock();
        state.lower(whom);
        loop {
            let Some(Waiter { whom, turn }) = state.next() else {
                state.free += 1;
                // Nobody waits, so that nobody is to be put behind another.
                state.served.clear();
                return;
            };
            let Err(mut unclaimed) = turn.send(self.turn(&mut state, whom)) else { return };
            // Its start was given up just now.
            unclaimed.is_taken = false;
            state.lower(&unclaimed.whom);
        }
    }
}

impl TurnState {
    fn next(&mut self) -> Option<Waiter> {
        self.waiting.retain(|waiter| !waiter.turn.is_closed());
        let held = |waiter: &Waiter| self.held.get(&waiter.whom).copied().unwrap_or(0);
        let served = |waiter: &Waiter| self.served.get(&waiter.whom).copied().unwrap_or(0);
        let waiting = self.waiting.iter().enumerate();
        let rank = |(at, waiter): &(usize, &Waiter)| (held(waiter), served(waiter), *at);
        let (at, _) = waiting.min_by_key(rank)?;
        Some(self.waiting.remove(at))
    }

    fn lower(&mut self, whom: &Whom) {
        if let Some(count) = self.held.get_mut(whom) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.held.remove(whom);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn client(last: u8) -> Whom {
        Some(QuotaKey::of_address([10, 0, 0, last].into()))
    }

    #[tokio::test]
    async fn a_turn_goes_to_whoever_holds_the_fewest() {
        let turns = Turns::new(2);
        let mut held = [turns.take(client(1)).await, turns.take(client(1)).await];
        let mut waiting = [client(1), client(1), client(2), None, client(2)]
            .map(|whom| Box::pin(turns.take(whom)));
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        held[0] = None;
        let [mut many, mut more, other, own, mut last] = waiting;
        let other = other.now_or_never().flatten().expect("whoever holds none");
        assert!(many.as_mut().now_or_never().is_none());
        held[1] = None;
        // The first client holds none now, but has had two turns.
        let own = own.now_or_never().flatten().expect("the gateway, which has had none");
        assert!(many.as_mut().now_or_never().is_none());
        drop(other);
        let first = many.now_or_never().flatten().expect("the one whose turn is longest ago");
        assert!(last.as_mut().now_or_never().is_none());
        drop(first);
        let last = last.now_or_never().flatten().expect("the other one, in its turn");
        assert!(more.as_mut().now_or_never().is_none());
        drop(more);
        drop((own, last));
        let state = turns.0.lock();
        assert_eq!((state.free, state.held.len()), (2, 0));
    }

    #[tokio::test]
    async fn a_turn_of_a_start_that_was_given_up_goes_to_the_next() {
        let turns = Turns::new(1);
        let held = turns.take(client(1)).await;
        let mut given_up = Box::pin(turns.take(client(2)));
        let mut next = Box::pin(turns.take(client(3)));
        assert!(given_up.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        drop(given_up);
        drop(held);
        assert!(next.now_or_never().flatten().is_some());
        assert_eq!(turns.0.lock().free, 1);
    }
}
