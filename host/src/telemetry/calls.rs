//! Counts of calls, by server and method. Each worker has cells of its own, which no other worker
//! writes: a call waits for no lock, and no cache line travels between cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::model::ServerName;
use crate::protocol::glance::MethodLabel;
use crate::sync::{Histogram, HistogramCounts};

use super::outcome::{CallOutcome, CallSize};

/// Most servers that are counted by their names, of those that were there since the start. Further
/// ones count together.
const MOST_SERVERS: usize = 2000;
/// The label of those.
const FURTHER: &str = "(others)";

/// Counts of calls.
#[derive(Debug)]
pub struct CallMetrics {
    workers: usize,
    /// A tree, since most files have a few servers: finding one takes less than a hash of its name.
    servers: ArcSwap<BTreeMap<ServerName, Arc<ServerCells>>>,
    /// Calls that the gateway has answered by itself, or that no server was found for.
    own: Arc<ServerCells>,
    further: Arc<ServerCells>,
}

/// One server's cells, by worker. They are made when a worker first has a call.
#[derive(Debug)]
struct ServerCells(Box<[OnceLock<Box<Cells>>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cells {
    methods: [OnceLock<Box<MethodCells>>; MethodLabel::COUNT],
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct MethodCells {
    outcomes: [AtomicU64; CallOutcome::ALL.len()],
    durations: Histogram,
}

/// What was counted of one server at one moment.
#[derive(Debug, Clone, Default)]
pub struct CallTotals {
    /// Empty for what the gateway has answered by itself.
    pub server: String,
    pub methods: Vec<MethodTotals>,
    /// Bytes of clients' messages.
    pub received: u64,
    /// Bytes of answers.
    pub sent: u64,
}

/// What was counted of one method.
#[derive(Debug, Clone)]
pub struct MethodTotals {
    pub method: MethodLabel,
    pub outcomes: Vec<(CallOutcome, u64)>,
    pub durations: HistogramCounts,
}

impl CallMetrics {
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            workers,
            servers: ArcSwap::default(),
            own: ServerCells::new(workers),
            further: ServerCells::new(workers),
        }
    }

    /// Counts one call that has ended, of the worker with this number.
    pub fn note(
        &self,
        worker: usize,
        server: Option<&ServerName>,
        method: MethodLabel,
        outcome: CallOutcome,
        size: &CallSize,
    ) {
        match server {
            None => self.own.note(worker, method, outcome, size),
            Some(server) => match self.servers.load().get(server) {
                Some(cells) => cells.note(worker, method, outcome, size),
                None => self.enter(server).note(worker, method, outcome, size),
            },
        }
    }

    fn enter(&self, server: &ServerName) -> Arc<ServerCells> {
        let cells = ServerCells::new(self.workers);
        self.servers.rcu(|servers| {
            let mut servers = BTreeMap::clone(servers);
            if servers.len() < MOST_SERVERS {
                servers.entry(server.clone()).or_insert_with(|| Arc::clone(&cells));
            }
            servers
        });
        self.servers.load().get(server).map_or_else(|| Arc::clone(&self.further), Arc::clone)
    }

    /// What was counted so far, in the order of servers' names.
    #[must_use]
    pub fn totals(&self) -> Vec<CallTotals> {
        let servers = self.servers.load();
        let named = servers.iter().map(|(name, cells)| (name.as_str(), cells));
        let all = std::iter::once(("", &self.own)).chain(named).chain([(FURTHER, &self.further)]);
        let totals = all.map(|(name, cells)| cells.totals(name));
        totals.filter(|totals| !totals.methods.is_empty()).collect()
    }
}

impl ServerCells {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| OnceLock::new()).collect()))
    }

    fn note(&self, worker: usize, method: MethodLabel, outcome: CallOutcome, size: &CallSize) {
        let Some(cells) = self.0.get(worker % self.0.len()) else { return };
        let cells = cells.get_or_init(Box::default);
        if let Some(of_method) = cells.methods.get(method.index()) {
            let of_method = of_method.get_or_init(Box::default);
            add(&of_method.outcomes[outcome as usize], 1);
            of_method.durations.note(size.duration);
        }
        add(&cells.received, size.received);
        add(&cells.sent, size.sent);
    }

    fn totals(&self, server: &str) -> CallTotals {
        let cells: Vec<&Cells> = self.0.iter().filter_map(|c| c.get()).map(AsRef::as_ref).collect();
        let mut totals = CallTotals { server: server.to_owned(), ..CallTotals::default() };
        for method in MethodLabel::all() {
            let noted = cells.iter().filter_map(|cells| cells.methods[method.index()].get());
            let noted: Vec<&MethodCells> = noted.map(AsRef::as_ref).collect();
            if noted.is_empty() {
                continue;
            }
            let sum = |outcome: CallOutcome| {
                (outcome, noted.iter().map(|one| read(&one.outcomes[outcome as usize])).sum())
            };
            let outcomes = CallOutcome::ALL.into_iter().map(sum).collect();
            let mut durations = HistogramCounts::default();
            noted.iter().for_each(|one| one.durations.add_to(&mut durations));
            totals.methods.push(MethodTotals { method, outcomes, durations });
        }
        totals.received = cells.iter().map(|cells| read(&cells.received)).sum();
        totals.sent = cells.iter().map(|cells| read(&cells.sent)).sum();
        totals
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn workers_are_summed_up_and_servers_are_not() {
        let calls = CallMetrics::new(2);
        let (a, b) = (ServerName::parse("a").unwrap(), ServerName::parse("b").unwrap());
        let method = MethodLabel::named("tools/call");
        let size = CallSize { duration: Duration::from_millis(3), received: 10, sent: 100 };
        calls.note(0, Some(&b), method, CallOutcome::Ok, &size);
        calls.note(1, Some(&b), method, CallOutcome::Ok, &size);
        calls.note(5, Some(&b), method, CallOutcome::Error, &size);
        calls.note(0, Some(&a), MethodLabel::named("x"), CallOutcome::Left, &size);
        calls.note(0, None, MethodLabel::named("ping"), CallOutcome::Ok, &size);
        let totals = calls.totals();
        let names: Vec<&str> = totals.iter().map(|one| one.server.as_str()).collect();
        assert_eq!(names, ["", "a", "b"]);
        let b = &totals[2];
        assert_eq!((b.received, b.sent), (30, 300));
        let [calls] = b.methods.as_slice() else { panic!("one method") };
        assert_eq!(calls.outcomes[0], (CallOutcome::Ok, 2));
        assert_eq!(calls.outcomes[2], (CallOutcome::Error, 1));
        assert_eq!(calls.durations.count(), 3);
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let calls = CallMetrics::new(1);
        let size = CallSize::default();
        for number in 0..MOST_SERVERS + 10 {
            let server = ServerName::parse(&format!("s{number}")).unwrap();
            calls.note(0, Some(&server), MethodLabel::named("ping"), CallOutcome::Ok, &size);
        }
        let totals = calls.totals();
        assert_eq!(totals.len(), MOST_SERVERS + 1);
        assert_eq!(totals.last().unwrap().server, FURTHER);
        assert_eq!(totals.last().unwrap().methods[0].durations.count(), 10);
    }
}
