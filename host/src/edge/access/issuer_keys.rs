//! The keys of an issuer, as far as they are known: fetched again and again, and kept while the
//! issuer does not answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::protocol::jwk::{Algorithm, PublicKey};
use crate::sync::Locked;

/// A token that names an unknown key has the keys fetched at once, so many times within this time:
/// more often no issuer changes its keys, and anybody can make up a name.
const ASKED: usize = 3;
const ASKED_WITHIN: Duration = Duration::from_secs(30);
/// While none is known they are fetched as often as this for those who wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of an issuer's keys.
#[derive(Debug, Clone, Default)]
pub struct KnownKeys {
    /// `None` until they have been fetched once.
    pub keys: Option<Arc<[PublicKey]>>,
    /// Rises with every other set: what was verified with an earlier one is verified again.
    pub number: u64,
    /// Counts the attempts to fetch them, and says when the last one ended.
    tries: u64,
    tried_at: Option<Instant>,
    /// Why the last attempt failed, or is not waited for any longer.
    pub why: Option<String>,
}

/// The keys of one issuer, shared by all workers.
#[derive(Debug, Default)]
pub struct IssuerKeys {
    known: watch::Sender<KnownKeys>,
    wanted: Notify,
    asked: Locked<VecDeque<Instant>>,
}

impl IssuerKeys {
    #[must_use]
    pub fn now(&self) -> KnownKeys {
        self.known.borrow().clone()
    }

    /// The number of the set that counts now.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.known.borrow().number
    }

    /// Takes the result of an attempt to fetch them.
    pub fn tried(&self, result: Result<Vec<PublicKey>, String>) {
        self.known.send_modify(|known| {
            known.tries += 1;
            known.tried_at = Some(Instant::now());
            match result {
                Ok(keys) => {
                    known.why = None;
                    if known.keys.as_deref() != Some(&keys[..]) {
                        known.keys = Some(keys.into());
                        known.number += 1;
                    }
                }
                Err(why) => known.why = Some(why),
            }
        });
    }

    /// Takes the keys that an earlier start has left, until they are fetched.
    pub fn remember(&self, keys: Vec<PublicKey>) {
        self.known.send_modify(|known| {
            if known.keys.is_none() {
                known.keys = Some(keys.into());
                known.number += 1;
            }
        });
    }

    /// Waits until somebody wants them to be fetched.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The keys with which a token may be signed, after they were fetched again if there is none. The
    /// name is what the token calls its key.
    pub async fn candidates(&self, algorithm: Algorithm, name: Option<&str>) -> KnownKeys {
        let fitting = |known: &KnownKeys| fitting(known, algorithm, name);
        let known = fitting(&self.now());
        if known.keys.as_ref().is_some_and(|keys| !keys.is_empty()) {
            return known;
        }
        if known.keys.is_none() {
            // They are fetched again and again as it is.
            if known.tried_at.is_some_and(|at| at.elapsed() >= PAUSE) {
                self.wanted.notify_one();
            }
        } else if !self.ask(known.tried_at) {
            return known;
        }
        match self.tried_after(known.tries).await {
            Some(now) => fitting(&now),
            None => {
                let why = format!("it has not answered within {} s", PATIENCE.as_secs());
                KnownKeys { why: known.why.or(Some(why)), ..known }
            }
        }
    }

    /// The keys with which a token may be signed that none of those has signed, after they were
    /// fetched again: an issuer may replace a key under the same name, or name none. `None` if its
    /// keys are the same as before, as far as they may be fetched.
    pub async fn newer(
        &self,
        than: &KnownKeys,
        algorithm: Algorithm,
        name: Option<&str>,
    ) -> Option<KnownKeys> {
        let mut now = self.now();
        if now.number == than.number && self.ask(now.tried_at) {
            now = self.tried_after(now.tries).await?;
        }
        (now.number != than.number).then(|| fitting(&now, algorithm, name))
    }

    /// What is known once the attempt to fetch them after so many has ended. `None` if that takes too
    /// long.
    async fn tried_after(&self, tries: u64) -> Option<KnownKeys> {
        let mut changes = self.known.subscribe();
        let tried = changes.wait_for(|known| known.tries > tries);
        let tried = tokio::time::timeout(PATIENCE, tried).await;
        tried.ok()?.ok().map(|known| known.clone())
    }

    /// Has the keys fetched, unless that is under way. False if it was done too often.
    fn ask(&self, tried_at: Option<Instant>) -> bool {
        let mut asked = self.asked.lock();
        let last = asked.back().copied();
        if last.is_some_and(|last| tried_at.is_none_or(|tried| last > tried)) {
            return true;
        }
        asked.retain(|at| at.elapsed() < ASKED_WITHIN);
        if asked.len() >= ASKED {
            return false;
        }
        asked.push_back(Instant::now());
        self.wanted.notify_one();
        true
    }
}

/// The same with only those keys that a token may be signed with: those of its name first. A key
/// without a name may be any.
fn fitting(known: &KnownKeys, algorithm: Algorithm, name: Option<&str>) -> KnownKeys {
    let fits = |key: &&PublicKey| {
        let is_named = match (&key.id, name) {
            (Some(id), Some(name)) => id == name,
            (None, _) | (_, None) => true,
        };
        is_named && key.fits(algorithm)
    };
    let is_nameless = |key: &&PublicKey| key.id.is_none();
    let keys = known.keys.as_ref().map(|keys| {
        let (nameless, named): (Vec<_>, Vec<_>) = keys.iter().filter(fits).partition(is_nameless);
        named.into_iter().chain(nameless).cloned().collect()
    });
    KnownKeys { keys, ..known.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jwk::key_set;

    fn keys(names: &[&str]) -> Vec<PublicKey> {
        let x = "A".repeat(43);
        let one =
            |name: &&str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"{name}"}}"#);
        let all: Vec<String> = names.iter().map(one).collect();
        key_set(format!("{{\"keys\":[{}]}}", all.join(",")).as_bytes()).unwrap()
    }

    fn count(known: &KnownKeys) -> Option<usize> {
        known.keys.as_ref().map(|keys| keys.len())
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_name_has_the_keys_fetched_but_not_too_often() {
        let of = Arc::new(IssuerKeys::default());
        of.tried(Ok(keys(&["a"])));
        let ask = async |name: &str| count(&of.candidates(Algorithm::EdDsa, Some(name)).await);
        assert_eq!(ask("a").await, Some(1));
        assert_eq!(count(&of.candidates(Algorithm::Es256, Some("a")).await), Some(0));
        let fetching = tokio::spawn({
            let of = Arc::clone(&of);
            async move {
                for _ in 0.. {
                    of.wanted().await;
                    of.tried(Ok(keys(&["a", "b"])));
                }
            }
        });
        assert_eq!(ask("b").await, Some(1));
        let before = of.now().tries;
        for _ in 0..10 {
            assert_eq!(ask("made-up").await, Some(0));
        }
        assert!(of.now().tries <= before + 1, "{} {before}", of.now().tries);
        fetching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_come_while_keys_are_fetched_wait_for_them() {
        let of = Arc::new(IssuerKeys::default());
        of.tried(Ok(keys(&["a"])));
        tokio::time::advance(Duration::from_secs(1)).await;
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let of = Arc::clone(&of);
                tokio::spawn(
                    async move { count(&of.candidates(Algorithm::EdDsa, Some("b")).await) },
                )
            })
            .collect();
        of.wanted().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        of.tried(Ok(keys(&["b"])));
        for asked in asking {
            assert_eq!(asked.await.unwrap(), Some(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_replaced_under_its_name_is_found() {
        let of = Arc::new(IssuerKeys::default());
        of.tried(Ok(keys(&["a"])));
        let before = of.candidates(Algorithm::EdDsa, Some("a")).await;
        let fetching = tokio::spawn({
            let of = Arc::clone(&of);
            async move {
                of.wanted().await;
                of.tried(Ok(keys(&["a"])));
                of.wanted().await;
                of.tried(Ok(keys(&["a", "b"])));
            }
        });
        let newer = async |than| of.newer(than, Algorithm::EdDsa, Some("a")).await;
        assert_eq!(newer(&before).await.map(|now| now.number), None, "it has the same keys");
        let now = newer(&before).await.unwrap();
        assert_eq!((count(&now), now.number), (Some(1), before.number + 1));
        // Another request has had them fetched.
        assert_eq!(newer(&before).await.map(|now| now.number), Some(now.number));
        fetching.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whether_a_key_is_there_is_not_known_while_the_issuer_does_not_answer() {
        let of = Arc::new(IssuerKeys::default());
        of.tried(Ok(keys(&["a"])));
        // It hangs.
        let known = of.candidates(Algorithm::EdDsa, Some("b")).await;
        assert_eq!((count(&known), known.why.is_some()), (Some(0), true));
        of.tried(Err("down".to_owned()));
        for _ in 0..ASKED {
            tokio::spawn({
                let of = Arc::clone(&of);
                async move {
                    of.wanted().await;
                    of.tried(Err("down".to_owned()));
                }
            });
            let known = of.candidates(Algorithm::EdDsa, Some("b")).await;
            assert_eq!((count(&known), known.why.is_some()), (Some(0), true));
        }
        let known = of.candidates(Algorithm::EdDsa, Some("a")).await;
        assert_eq!(count(&known), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn known_keys_outlive_an_issuer_that_is_down() {
        let of = IssuerKeys::default();
        assert_eq!(count(&of.candidates(Algorithm::EdDsa, None).await), None);
        of.tried(Ok(keys(&["a"])));
        let number = of.number();
        of.tried(Err("down".to_owned()));
        assert_eq!((count(&of.now()), of.number()), (Some(1), number));
        of.tried(Ok(keys(&["a"])));
        assert_eq!(of.number(), number, "the same set");
        of.tried(Ok(keys(&["b"])));
        assert_eq!(of.number(), number + 1);
    }
}
