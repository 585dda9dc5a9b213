//! The token of a server: fetched once for all that wait for it, kept in memory, renewed before it
//! expires, and once more when the server refuses it. Failures make the next attempts rarer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::HeaderValue;
use tokio::sync::watch;

use crate::config::Secret;
use crate::net::Pool;
use crate::sync::{Locked, now};

use super::denied::Denied;
use super::fetch::{self, Granted};
use super::terms::{Origin, TokenTerms};

/// The part of its life, and the longest time, before its end in which a token is renewed.
const RENEWED_IN: u32 = 5;
const RENEWED_BEFORE: Duration = Duration::from_secs(60);
/// First pause after a failure, or after a refused token; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause that a token server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Why there is no token, and when there may be one.
#[derive(Debug, Clone)]
pub struct NoToken {
    why: Arc<str>,
    pub after: Duration,
}

impl NoToken {
    /// Clients' tokens are exchanged, and the request has none.
    #[must_use]
    pub fn without_subject() -> Self {
        let why = "it takes the client's own, and the client came in without one";
        Self { why: why.into(), after: PAUSE }
    }
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no access token: {}", self.why)
    }
}

type Fetch = dyn Fn(Pool) -> BoxFuture<'static, Result<Granted, Denied>> + Send + Sync;

/// The tokens of one server under the same settings.
pub struct Tokens {
    terms: Arc<TokenTerms>,
    fetch: Box<Fetch>,
    state: Locked<State>,
    /// Changes when a fetch is over.
    over: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    is_fetching: bool,
    failed: Option<Failed>,
    refused: Refused,
}

struct Held {
    value: Arc<HeaderValue>,
    renew_at: Instant,
    ends_at: Instant,
}

struct Failed {
    why: Arc<str>,
    /// Failures in a row.
    count: u32,
    until: Instant,
}

/// Tokens that the server has refused although they had not expired.
#[derive(Default)]
struct Refused {
    /// In a row.
    count: u32,
    last: Option<Instant>,
}

/// What a look at the state finds.
enum Look {
    Token(Arc<HeaderValue>),
    None(NoToken),
    Wait,
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.terms == other.terms
    }
}

impl Eq for Tokens {}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.terms).finish()
    }
}

impl Tokens {
    #[must_use]
    pub fn new(terms: TokenTerms) -> Arc<Self> {
        let terms = Arc::new(terms);
        let by = Arc::clone(&terms);
        // The refresh token that has come in place of that of the settings.
        let latest = Arc::<Locked<Option<Secret>>>::default();
        let fetch = move |pool: Pool| -> BoxFuture<'static, Result<Granted, Denied>> {
            let (terms, latest) = (Arc::clone(&by), Arc::clone(&latest));
            Box::pin(async move { refreshing(&terms, &latest, &pool).await })
        };
        Self::by(terms, Box::new(fetch))
    }

    fn by(terms: Arc<TokenTerms>, fetch: Box<Fetch>) -> Arc<Self> {
        let (state, over) = (Locked::default(), watch::Sender::new(()));
        Arc::new(Self { terms, fetch, state, over })
    }

    /// The server that issues them, for people.
    fn issuer(&self) -> Origin<'_> {
        Origin(self.terms.server.uri())
    }

    /// A token that can be sent now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ready(self: &Arc<Self>, pool: &Pool) -> Result<Arc<HeaderValue>, NoToken> {
        loop {
            // Before the look, so that no end of a fetch is missed.
            let mut over = self.over.subscribe();
            match self.look(pool) {
                Look::Token(token) => return Ok(token),
                Look::None(why) => return Err(why),
                Look::Wait => drop(over.changed().await),
            }
        }
    }

    /// Another token in place of one that the server has refused; `None` if too many were.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn instead_of(
        self: &Arc<Self>,
        refused: &Arc<HeaderValue>,
        pool: &Pool,
    ) -> Result<Option<Arc<HeaderValue>>, NoToken> {
        if !self.give_up(refused) {
            return Ok(None);
        }
        self.ready(pool).await.map(Some)
    }

    /// The server has let a token in.
    pub fn accepted(&self) {
        let mut state = self.state.lock();
        if state.refused.count > 0 {
            state.refused = Refused::default();
        }
    }

    /// Drops a refused token, unless others were refused just now.
    fn give_up(&self, refused: &Arc<HeaderValue>) -> bool {
        let mut state = self.state.lock();
        if state.held.as_ref().is_none_or(|held| held.value != *refused) {
            // Another one is there, or is coming.
            return true;
        }
        let Refused { count, last } = &mut state.refused;
        let pause = pause_after(*count);
        if *count > 0 && last.is_some_and(|last| now().saturating_duration_since(last) < pause) {
            return false;
        }
        *count = count.saturating_add(1);
        *last = Some(now());
        state.held = None;
        true
    }

    fn look(self: &Arc<Self>, pool: &Pool) -> Look {
        let now = now();
        let mut state = self.state.lock();
        let is_paused = state.failed.as_ref().is_some_and(|failed| failed.until > now);
        if let Some(held) = state.held.as_ref().filter(|held| held.ends_at > now) {
            let token = Arc::clone(&held.value);
            if held.renew_at <= now && !is_paused && !state.is_fetching {
                self.begin(&mut state, pool);
            }
            return Look::Token(token);
        }
        if state.is_fetching {
            return Look::Wait;
        }
        if let Some(failed) = state.failed.as_ref().filter(|_| is_paused) {
            let after = failed.until.saturating_duration_since(now);
            return Look::None(NoToken { why: Arc::clone(&failed.why), after });
        }
        self.begin(&mut state, pool);
        Look::Wait
    }

    /// Fetches on a task: whoever asked may leave.
    fn begin(self: &Arc<Self>, state: &mut State, pool: &Pool) {
        state.is_fetching = true;
        let fetching = Fetching { tokens: Arc::clone(self), outcome: None };
        let fetched = (self.fetch)(pool.clone());
        tokio::spawn(async move {
            let outcome = fetched.await;
            fetching.over(outcome);
        });
    }

    fn end(&self, outcome: Result<Granted, Denied>) {
        let now = now();
        let mut state = self.state.lock();
        state.is_fetching = false;
        match outcome {
            Ok(Granted { value, lifetime, .. }) => {
                let early = (lifetime / RENEWED_IN).min(RENEWED_BEFORE);
                let ends_at = now + lifetime;
                let renew_at = now + lifetime.saturating_sub(early);
                state.held = Some(Held { value: Arc::new(value), renew_at, ends_at });
                let before = state.failed.take();
                drop(state);
                let seconds = lifetime.as_secs();
                match before {
                    Some(_) => tracing::info!("{} gives access tokens again", self.issuer()),
                    None => tracing::debug!(seconds, "{} has given an access token", self.issuer()),
                }
            }
            Err(Denied { why, after, .. }) => {
                let count = state.failed.as_ref().map_or(0, |failed| failed.count) + 1;
                let asked = after.unwrap_or_default().min(LONGEST_ASKED);
                let pause = pause_after(count).max(asked);
                let why: Arc<str> = why.into();
                state.failed = Some(Failed { why: Arc::clone(&why), count, until: now + pause });
                drop(state);
                tracing::warn!(
                    failures = count,
                    next_ms = pause.as_millis(),
                    "no access token: {why}"
                );
            }
        }
    }
}

/// Fetches a token. Where that takes a refresh token, the one counts that came with the last answer; if
/// it is refused, that of the settings is tried the next time, which may be a new one.
async fn refreshing(
    terms: &TokenTerms,
    latest: &Locked<Option<Secret>>,
    pool: &Pool,
) -> Result<Granted, Denied> {
    let rotated = latest.lock().clone();
    let fetched = match rotated {
        Some(rotated) => {
            let terms = TokenTerms { refresh: Some(rotated), ..terms.clone() };
            fetch::fetch(&terms, pool).await
        }
        None => fetch::fetch(terms, pool).await,
    };
    match &fetched {
        Ok(granted) if terms.refresh.is_some() && granted.refresh.is_some() => {
            latest.lock().clone_from(&granted.refresh);
        }
        Err(denied) if denied.is_of_grant => *latest.lock() = None,
        _ => {}
    }
    fetched
}

fn pause_after(count: u32) -> Duration {
    let doubled = PAUSE.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE)
}

/// A fetch on its task. If the task ends with its runtime, somebody else fetches.
struct Fetching {
    tokens: Arc<Tokens>,
    outcome: Option<Result<Granted, Denied>>,
}

impl Fetching {
    fn over(mut self, outcome: Result<Granted, Denied>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        match self.outcome.take() {
            Some(outcome) => self.tokens.end(outcome),
            None => self.tokens.state.lock().is_fetching = false,
        }
        self.tokens.over.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Uri;

    use super::super::terms::{TokenPlace, TokenServer, TokenWay};
    use super::*;

    /// Tokens from a list of outcomes, each of which takes 100 ms, and how many were asked for.
    fn tokens(outcomes: Vec<Result<(&str, u64), &str>>) -> (Arc<Tokens>, Arc<AtomicUsize>, Pool) {
        let terms = TokenTerms {
            server: TokenServer {
                place: TokenPlace::Endpoint(Uri::from_static("https://login.example/t")),
                way: TokenWay::default(),
            },
            client_id: "id".to_owned(),
            client_secret: Secret::new("canary-of-the-client"),
            auth: None,
            scope: String::new(),
            resource: String::new(),
            audience: String::new(),
            subject: None,
            refresh: None,
        };
        let outcome = |outcome: Result<(&str, u64), &str>| match outcome {
            Ok((token, seconds)) => Ok(Granted {
                value: HeaderValue::from_str(token).unwrap(),
                lifetime: Duration::from_secs(seconds),
                refresh: None,
            }),
            Err(why) => Err(why.to_owned().into()),
        };
        let outcomes: VecDeque<_> = outcomes.into_iter().map(outcome).collect();
        let (outcomes, asked) = (Arc::new(Locked::new(outcomes)), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&asked);
        let fetch = move |_: Pool| -> BoxFuture<'static, Result<Granted, Denied>> {
            count.fetch_add(1, Ordering::Relaxed);
            let outcome = outcomes.lock().pop_front();
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                outcome.unwrap_or_else(|| Err("nothing more".to_owned().into()))
            })
        };
        let pool = Pool::new(crate::net::client_config().unwrap());
        (Tokens::by(Arc::new(terms), Box::new(fetch)), asked, pool)
    }

    fn asked(count: &Arc<AtomicUsize>) -> usize {
        count.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_wait_fetch_once_and_what_is_there_costs_nothing() {
        let (tokens, count, pool) = tokens(vec![Ok(("one", 100))]);
        let all = futures_util::future::join_all((0..50).map(|_| tokens.ready(&pool))).await;
        assert!(all.iter().all(|token| token.as_ref().is_ok_and(|token| **token == "one")));
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "one");
        assert_eq!(asked(&count), 1);
        assert!(!format!("{tokens:?}").contains("canary"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_while_the_old_one_is_sent() {
        let (tokens, count, pool) = tokens(vec![Ok(("one", 100)), Ok(("two", 100)), Err("down")]);
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "one");
        tokio::time::sleep(Duration::from_secs(79)).await;
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "one");
        assert_eq!(asked(&count), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "one", "nobody waits for the next one");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "two");
        assert_eq!(asked(&count), 2);
        // A renewal that fails is not told while the token is good.
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "two");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "two");
        assert_eq!(asked(&count), 3, "and is not repeated at once");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(tokens.ready(&pool).await.is_err(), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_told_at_once_and_asked_for_again_more_and_more_seldom() {
        let (tokens, count, pool) = tokens(vec![Err("down"), Err("down"), Ok(("one", 100))]);
        for (pause, total) in [(1, 1), (2, 2)] {
            let why = tokens.ready(&pool).await.unwrap_err();
            assert_eq!(why.to_string(), "no access token: down");
            assert!(why.after <= Duration::from_secs(pause), "{why:?}");
            for _ in 0..20 {
                assert!(tokens.ready(&pool).await.is_err());
            }
            assert_eq!(asked(&count), total);
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "one");
        assert_eq!(pause_after(1), PAUSE);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_and_a_server_that_refuses_all_does_not_cost_one_each() {
        let (tokens, count, pool) =
            tokens(vec![Ok(("one", 100)), Ok(("two", 100)), Ok(("three", 100)), Ok(("four", 100))]);
        let one = tokens.ready(&pool).await.unwrap();
        // All who were refused with the same one get the same other one.
        let others = (0..9).map(|_| tokens.instead_of(&one, &pool));
        let others = futures_util::future::join_all(others).await;
        assert!(
            others.iter().all(|other| matches!(other, Ok(Some(two)) if **two == "two")),
            "{others:?}"
        );
        let two = tokens.ready(&pool).await.unwrap();
        assert!(tokens.instead_of(&two, &pool).await.unwrap().is_none());
        assert_eq!(asked(&count), 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*tokens.instead_of(&two, &pool).await.unwrap().unwrap(), "three");
        assert_eq!(asked(&count), 3);
        // One that was let in begins anew.
        tokens.accepted();
        let three = tokens.ready(&pool).await.unwrap();
        assert_eq!(*tokens.instead_of(&three, &pool).await.unwrap().unwrap(), "four");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_takes_nothing_from_those_who_wait() {
        let (tokens, count, pool) = tokens(vec![Ok(("one", 100))]);
        let first = tokens.ready(&pool);
        assert!(tokio::time::timeout(Duration::from_millis(10), first).await.is_err());
        assert_eq!(*tokens.ready(&pool).await.unwrap(), "one");
        assert_eq!(asked(&count), 1);
    }
}
