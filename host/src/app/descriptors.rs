//! The descriptors that the process may have. Sockets, pipes and files all take one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that clients' connections leave to upstreams, server processes and files.
const RESERVE: usize = 256;
/// What an unlimited number counts as.
const UNLIMITED: u64 = 1 << 30;
/// What macOS gives at most, whose hard limit is nevertheless unlimited, and whose soft one is 256.
const OPEN_MAX: u64 = 10_240;

/// The limit before and after it was raised.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors {
    /// How many this process may have.
    pub limit: u64,
    /// The soft limit that it was started with, which its children get.
    pub inherited: u64,
}

/// Raises the soft limit to the hard one: shells and systemd begin with 1024, for the sake of
/// programs that use `select`.
#[must_use]
pub fn raise() -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let inherited = current.unwrap_or(UNLIMITED);
    if current == maximum {
        return Descriptors { limit: inherited, inherited };
    }
    let raise_to = |most: Option<u64>| {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: most, maximum });
        raised.map(|()| most.unwrap_or(UNLIMITED))
    };
    let fits = inherited < OPEN_MAX && maximum.is_none_or(|maximum| OPEN_MAX < maximum);
    let raised = raise_to(maximum);
    let raised = raised.or_else(|error| if fits { raise_to(Some(OPEN_MAX)) } else { Err(error) });
    match raised {
        Ok(limit) => Descriptors { limit, inherited },
        Err(error) => {
            tracing::warn!("cannot raise the limit of open files from {inherited}: {error}");
            Descriptors { limit: inherited, inherited }
        }
    }
}

/// Most connections of clients by default. Under systemd's `LimitNOFILE=infinity` the descriptors
/// would allow hundreds of millions, which is no bound. A connection that has sent half of a head or
/// of a small body is in no other budget: it may hold `limits.headerBlock` and twice 16 KiB.
const MOST: usize = 100_000;

/// Connections of clients by default: three quarters of the descriptors less a reserve, and no more
/// than [`MOST`]. Where that leaves hardly any, a quarter.
#[must_use]
pub fn for_clients(descriptors: u64) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let most = (descriptors / 4 * 3).saturating_sub(RESERVE);
    most.max(descriptors / 4).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_three_quarters_less_the_reserve() {
        for (descriptors, clients) in [(1024, 512), (4096, 2816), (256, 64), (2, 1)] {
            assert_eq!(for_clients(descriptors), clients, "{descriptors}");
        }
        for unbounded in [1 << 20, UNLIMITED, u64::MAX] {
            assert_eq!(for_clients(unbounded), MOST);
        }
    }
}
