//! The simulated machines: processes that run, stand still or are dead, and the ways between them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::net::Body;
use crate::sync::Locked;

use super::chance::Chance;
use super::clock::{self, OnClock, OwnClock};
use super::plan::{COORDINATOR, Plant};
use super::server_sessions::Servers;
use super::witness::Witness;

/// The clients, which are no process of the cluster.
pub const CLIENTS: usize = usize::MAX;

/// Answers requests that arrive at a process. The flag says whether their connection has begun
/// with an introduction.
pub type Serve = dyn Fn(Request<Body>, bool) -> BoxFuture<'static, Response<Body>> + Send + Sync;

/// A process that runs.
pub struct Running {
    /// Id and incarnation, of a node.
    pub party: Option<(String, String)>,
    pub serve: Arc<Serve>,
    /// What ends with it.
    pub tasks: Vec<AbortHandle>,
    /// Asks it to leave.
    pub leave: Box<dyn Fn() + Send>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Counts its starts.
    start: u64,
    is_paused: bool,
}

/// One process, through all its starts.
pub struct Process {
    /// The host in its URL.
    pub host: String,
    pub clock: OwnClock,
    state: Locked<State>,
}

/// One start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStart {
    pub process: usize,
    pub number: u64,
}

pub struct World {
    pub plant: Plant,
    pub processes: Vec<Process>,
    pub servers: Servers,
    pub witness: Witness,
    /// Whether messages are lost, late and doubled more often than usual.
    pub is_stormy: AtomicBool,
    /// Whether the time of faults is over.
    pub is_calm: AtomicBool,
    seed: u64,
    chances: Locked<BTreeMap<String, Chance>>,
    /// Directions in which nothing passes.
    cuts: Locked<BTreeSet<(usize, usize)>>,
    changes: Notify,
    is_traced: bool,
}

/// A process that can be reached: its start, what it serves, and whom it proves to be.
type Reached = (ProcessStart, Arc<Serve>, Option<(String, String)>);

impl World {
    pub fn new(seed: u64, hosts: &[&str], plant: Plant, is_traced: bool) -> Arc<Self> {
        let process = |host: &&str| Process {
            host: (*host).to_owned(),
            clock: OwnClock::new(seed, host),
            state: Locked::default(),
        };
        Arc::new(Self {
            plant,
            processes: hosts.iter().map(process).collect(),
            servers: Servers::default(),
            witness: Witness::default(),
            is_stormy: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            seed,
            chances: Locked::default(),
            cuts: Locked::default(),
            changes: Notify::new(),
            is_traced,
        })
    }

    /// Draws for somebody.
    pub fn chance<T>(&self, who: &str, draw: impl FnOnce(&mut Chance) -> T) -> T {
        let mut chances = self.chances.lock();
        let begin = || Chance::of_one(self.seed, who);
        draw(chances.entry(who.to_owned()).or_insert_with(begin))
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            eprintln!("{:>7} {}", clock::elapsed(), line());
        }
    }

    pub fn at(&self, host: &str) -> Option<usize> {
        self.processes.iter().position(|process| process.host == host)
    }

    /// Runs a process from now on.
    pub fn begin(&self, process: usize, running: Running) {
        let mut state = self.processes[process].state.lock();
        state.running = Some(running);
        drop(state);
        self.changed();
    }

    /// The number that the process's next start has.
    pub fn next_start(&self, process: usize) -> ProcessStart {
        let mut state = self.processes[process].state.lock();
        state.start += 1;
        ProcessStart { process, number: state.start }
    }

    /// Ends a process at once, and all that it has started.
    pub fn kill(&self, process: usize) {
        let mut state = self.processes[process].state.lock();
        let running = state.running.take();
        state.is_paused = false;
        drop(state);
        self.servers.end_all(process);
        if let Some(running) = running {
            running.tasks.iter().for_each(AbortHandle::abort);
        }
        self.changed();
    }

    pub fn pause(&self, process: usize, is_paused: bool) {
        self.processes[process].state.lock().is_paused = is_paused;
        self.changed();
    }

    /// Asks a process to leave.
    pub fn ask_to_leave(&self, process: usize) {
        if let Some(running) = &self.processes[process].state.lock().running {
            (running.leave)();
        }
    }

    pub fn cut(&self, from: usize, to: usize) {
        self.cuts.lock().insert((from, to));
    }

    pub fn heal(&self) {
        self.cuts.lock().clear();
        self.changed();
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.lock().contains(&(from, to))
    }

    /// The start that runs now, with what answers there, and who it is.
    pub fn running(&self, process: usize) -> Option<Reached> {
        let state = self.processes[process].state.lock();
        let running = state.running.as_ref()?;
        let start = ProcessStart { process, number: state.start };
        Some((start, Arc::clone(&running.serve), running.party.clone()))
    }

    pub fn is_running(&self, start: ProcessStart) -> bool {
        let state = self.processes[start.process].state.lock();
        state.running.is_some() && state.start == start.number
    }

    pub fn is_paused(&self, process: usize) -> bool {
        process != CLIENTS && self.processes[process].state.lock().is_paused
    }

    /// Waits until the process runs on. One that has ended never does.
    pub async fn until_awake(&self, start: Option<ProcessStart>) {
        let Some(start) = start else { return };
        if self.until(|| !self.is_running(start) || !self.is_paused(start.process)).await
            && !self.is_running(start)
        {
            std::future::pending::<()>().await;
        }
    }

    /// Work of a process: it sees the process's clock, and stands still while the process does.
    pub fn within<F: Future>(self: &Arc<Self>, start: ProcessStart, inner: F) -> OnClock<Awake<F>> {
        let process = &self.processes[start.process];
        let world = Arc::downgrade(self);
        process.clock.on(Awake { world, start, resumed: None, inner: Box::pin(inner) })
    }

    /// Waits until that start has ended.
    pub async fn until_ended(&self, start: ProcessStart) {
        self.until(|| !self.is_running(start)).await;
    }

    /// Waits for a state of processes and ways. True, once it is there.
    pub async fn until(&self, is_so: impl Fn() -> bool) -> bool {
        loop {
            let change = self.changes.notified();
            if is_so() {
                return true;
            }
            change.await;
        }
    }

    fn changed(&self) {
        self.changes.notify_waiters();
    }

    /// An instance has answered a session.
    pub fn answered(&self, session: &str, instance: &str) {
        let node = instance.split_once('-').and_then(|(node, _)| node.parse().ok());
        let lives = |other: &str| self.servers.lives(other);
        self.witness.answers(session, instance, node.unwrap_or_default(), COORDINATOR, lives);
    }

    /// How long a message is under way.
    pub fn latency(&self, way: &str) -> Duration {
        let is_stormy = self.is_stormy.load(Ordering::Relaxed);
        self.chance(way, |chance| match (is_stormy, chance.one_in(8)) {
            (true, true) => chance.millis(100, 900),
            (_, true) => chance.millis(5, 60),
            (_, false) => chance.millis(0, 3),
        })
    }

    /// A server's time for a message.
    pub async fn work(&self, instance: &str) {
        let time = self.chance(instance, |chance| {
            if chance.one_in(3) { chance.millis(20, 700) } else { chance.millis(0, 5) }
        });
        tokio::time::sleep(time).await;
    }

    pub async fn pause_a_little(&self, who: &str) {
        let time = self.chance(who, |chance| chance.millis(0, 2));
        tokio::time::sleep(time).await;
    }
}

/// A future that is polled only while its process does not stand still.
pub struct Awake<F> {
    world: Weak<World>,
    start: ProcessStart,
    resumed: Option<BoxFuture<'static, ()>>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Awake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let Some(world) = this.world.upgrade() else { return Poll::Pending };
        while this.resumed.is_some() || world.is_paused(this.start.process) {
            let (world, start) = (Arc::clone(&world), this.start);
            let waiting = this.resumed.get_or_insert_with(|| {
                Box::pin(async move { world.until_awake(Some(start)).await })
            });
            std::task::ready!(waiting.as_mut().poll(cx));
            this.resumed = None;
        }
        this.inner.as_mut().poll(cx)
    }
}
