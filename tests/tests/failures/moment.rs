//! The moment at which it happens, for all clients at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::{PATIENCE, within};

use super::faults::Fault;

/// Keys are told apart across clients.
static KEYS: AtomicUsize = AtomicUsize::new(0);

pub struct Moment {
    pub fault: Fault,
    pub address: SocketAddr,
    pub file: PathBuf,
    ready: AtomicUsize,
    struck: OnceLock<Instant>,
    is_over: AtomicBool,
}

impl Moment {
    pub fn new(fault: Fault, address: SocketAddr, file: PathBuf) -> Self {
        let (ready, struck) = (AtomicUsize::new(0), OnceLock::new());
        Self { fault, address, file, ready, struck, is_over: AtomicBool::new(false) }
    }

    /// A key that no other message has.
    pub fn key(&self) -> String {
        format!("k{}", KEYS.fetch_add(1, Ordering::Relaxed))
    }

    /// How often each message that must not run twice has run.
    pub fn tally(&self) -> BTreeMap<String, u32> {
        tally(&self.file)
    }

    /// One client more is in its state.
    pub fn is_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// The same, and waits until it happens.
    pub fn wait(&self) {
        self.is_ready();
        while !self.has_struck() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        within(PATIENCE, what, || is_so().then_some(()));
    }

    pub fn wait_for_all(&self, count: usize) {
        within(Duration::from_secs(60), "all clients are in their state", || {
            (self.ready.load(Ordering::Relaxed) >= count).then_some(())
        });
    }

    /// It happens now.
    pub fn strike(&self) {
        let _ = self.struck.set(Instant::now());
    }

    pub fn has_struck(&self) -> bool {
        self.struck.get().is_some()
    }

    /// The same for what has just failed: the moment is known a little later than it comes.
    pub fn has_just_struck(&self) -> bool {
        let end = Instant::now() + Duration::from_secs(1);
        while !self.has_struck() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.has_struck()
    }

    pub fn since(&self) -> Duration {
        self.struck.get().map(Instant::elapsed).unwrap_or_default()
    }

    /// Nothing is wrong any more.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// How often each key stands in the file.
pub fn tally(file: &std::path::Path) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut runs = BTreeMap::new();
    for line in text.lines() {
        let key = line.split(' ').nth(1).unwrap_or_default();
        *runs.entry(key.to_owned()).or_default() += 1;
    }
    runs
}
