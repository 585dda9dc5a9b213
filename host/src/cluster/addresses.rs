//! The addresses of a host name, cached.
//!
//! In container networks a name's addresses change, so they are looked up again after
//! [`FRESH`], in the background. While the resolver fails, they stay valid for
//! [`KEPT`]. An unknown peer causes a lookup at once.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Locked;

/// Age at which addresses are looked up again.
const FRESH: Duration = Duration::from_secs(5);
/// Time for which addresses stay valid after the last successful lookup.
const KEPT: Duration = Duration::from_secs(300);
/// Least time between two lookups for unknown peers: any client can be one.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a lookup; a resolver whose server does not answer takes longer.
const LOOKUP: Duration = Duration::from_secs(5);

type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
type Lookup = dyn Fn() -> Looking + Send + Sync;

/// Clones are cheap and share one cache.
#[derive(Clone)]
pub struct Addresses(Arc<Shared>);

struct Shared {
    name: String,
    lookup: Box<Lookup>,
    known: Locked<Known>,
    /// Held during a lookup: one at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// When the last lookup succeeded.
    good: Option<Instant>,
    /// When the last lookup ended, successful or not.
    tried: Option<Instant>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Addresses({})", self.0.name)
    }
}

impl Addresses {
    /// The addresses of a host name, or an IP address by itself.
    #[must_use]
    pub fn of(host: &str, port: u16) -> Self {
        let name = host.to_owned();
        Self::with(host, move || {
            let name = name.clone();
            Box::pin(async move {
                let found = tokio::net::lookup_host((name.as_str(), port)).await?;
                Ok(found.map(|address| address.ip().to_canonical()).collect())
            })
        })
    }

    fn with(name: &str, lookup: impl Fn() -> Looking + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            lookup: Box::new(lookup),
            known: Locked::default(),
            looking: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether this address, in its canonical form, is one of the name's.
    pub async fn has(&self, peer: IpAddr) -> bool {
        let (has, age) = self.0.known().of(peer);
        if has {
            if age.is_none_or(|age| age > FRESH) {
                let addresses = self.clone();
                tokio::spawn(async move { addresses.0.look(FRESH).await });
            }
            return true;
        }
        self.0.look(PAUSE).await;
        self.0.known().of(peer).0
    }
}

impl Shared {
    /// Looks the name up, unless the last lookup ended less than `pause` ago.
    async fn look(&self, pause: Duration) {
        let Ok(_one_at_a_time) = tokio::time::timeout(LOOKUP, self.looking.lock()).await else {
            return;
        };
        if self.known().tried.is_some_and(|tried| tried.elapsed() < pause) {
            return;
        }
        let found = tokio::time::timeout(LOOKUP, (self.lookup)()).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let now = Instant::now();
        let mut known = self.known();
        known.tried = Some(now);
        match found {
            Ok(addresses) => {
                known.addresses = addresses;
                known.good = Some(now);
            }
            Err(error) => tracing::warn!("{} cannot be looked up: {error}", self.name),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock()
    }
}

impl Known {
    /// Whether the address is one of these, and the time since the last lookup.
    fn of(&self, peer: IpAddr) -> (bool, Option<Duration>) {
        let counts = self.good.is_some_and(|good| good.elapsed() < KEPT);
        let age = self.tried.map(|tried| tried.elapsed());
        (counts && self.addresses.contains(&peer), age)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// A name, the cell that its lookups read, and their number.
    fn name() -> (Addresses, Arc<Locked<Option<IpAddr>>>, Arc<AtomicUsize>) {
        let (answer, count) = (Arc::new(Locked::new(Some(ONE))), Arc::new(AtomicUsize::new(0)));
        let (given, counted) = (Arc::clone(&answer), Arc::clone(&count));
        let addresses = Addresses::with("coordinator", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = *given.lock();
            Box::pin(async move {
                answer.map(|address| vec![address]).ok_or_else(|| io::ErrorKind::NotFound.into())
            })
        });
        (addresses, answer, count)
    }

    /// Lets time pass and background tasks finish.
    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_peer_costs_no_lookup() {
        let (addresses, _, count) = name();
        for _ in 0..100 {
            assert!(addresses.has(ONE).await);
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        pass(FRESH * 2).await;
        assert!(addresses.has(ONE).await);
        pass(PAUSE).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_fails_takes_nothing_away_for_a_while() {
        let (addresses, answer, _) = name();
        assert!(addresses.has(ONE).await);
        *answer.lock() = None;
        for _ in 0..10 {
            pass(FRESH * 2).await;
            assert!(addresses.has(ONE).await);
        }
        pass(KEPT).await;
        assert!(!addresses.has(ONE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_not_known_is_looked_for_at_once_but_not_each_time() {
        let (addresses, answer, count) = name();
        assert!(addresses.has(ONE).await);
        pass(PAUSE).await;
        *answer.lock() = Some(TWO);
        assert!(addresses.has(TWO).await);
        assert!(!addresses.has(ONE).await, "the name has moved");
        for _ in 0..100 {
            assert!(!addresses.has(ONE).await);
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
