//! Generates the load: sessions in closed loops, each on its own connection, on separate threads.
//!
//! ```text
//! opening ──all sessions open──▶ warming ──▶ measuring ──▶ done
//! ```
//!
//! `drive` sets the phase. Calls count in every phase, latencies only while measuring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::session::Session;

/// A call that takes longer than this after the end counts as stalled.
pub const FINISH: Duration = Duration::from_secs(5);
/// Refused calls after which a session gives up, so that 503s do not count as load.
const REFUSALS: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Opening,
    Warming,
    Measuring,
    Done,
}

#[derive(Default)]
pub struct Tally {
    pub latencies_us: Vec<u32>,
    pub errors: u64,
    pub first_error: Option<String>,
}

/// A thread that runs some of the sessions.
pub struct Generator {
    /// The number of `initialize` requests sent, once all sessions are open.
    pub opened: oneshot::Receiver<Result<u64>>,
    pub tally: oneshot::Receiver<Tally>,
}

impl Generator {
    pub fn start(
        endpoint: Endpoint,
        markers: Vec<usize>,
        body_bytes: usize,
        phase: &watch::Receiver<Phase>,
        calls: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let (tell_opened, opened) = oneshot::channel();
        let (tell_tally, tally) = oneshot::channel();
        let (phase, calls) = (phase.clone(), Arc::clone(calls));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("load".into()).spawn(move || {
            runtime.block_on(async {
                let sessions = markers.iter().map(|&m| Session::open(&endpoint, m, body_bytes));
                let sessions = match try_join_all(sessions).await {
                    Ok(sessions) => sessions,
                    Err(error) => return drop(tell_opened.send(Err(error))),
                };
                let initializes = sessions.iter().map(|session| u64::from(session.initializes));
                // Fails if `drive` has given up meanwhile.
                let _ = tell_opened.send(Ok(initializes.sum()));
                let _ = tell_tally.send(closed_loops(sessions, phase, calls).await);
            });
        })?;
        Ok(Self { opened, tally })
    }
}

async fn closed_loops(
    sessions: Vec<Session>,
    mut phase: watch::Receiver<Phase>,
    calls: Arc<AtomicU64>,
) -> Tally {
    let mut loops = JoinSet::new();
    for session in sessions {
        loops.spawn(closed_loop(session, phase.clone(), Arc::clone(&calls)));
    }
    let mut tally = Tally::default();
    // An error means that `drive` is gone, which also ends the measurement.
    let _ = phase.wait_for(|phase| *phase == Phase::Done).await;
    let collect = async {
        while let Some(ended) = loops.join_next().await {
            match ended {
                Ok(one) => tally.add(one),
                Err(error) => tally.fail(error.to_string()),
            }
        }
    };
    if timeout(FINISH, collect).await.is_err() {
        for _ in 0..loops.len() {
            tally.fail(format!("a call was not answered in {FINISH:?}"));
        }
    }
    tally
}

async fn closed_loop(
    mut session: Session,
    mut phase: watch::Receiver<Phase>,
    calls: Arc<AtomicU64>,
) -> Tally {
    let mut tally = Tally::default();
    let _ = phase.wait_for(|phase| *phase != Phase::Opening).await;
    while *phase.borrow() != Phase::Done && tally.errors < REFUSALS {
        let begun = Instant::now();
        match session.call().await {
            Ok(200) => {
                calls.fetch_add(1, Ordering::Relaxed);
                if *phase.borrow() == Phase::Measuring {
                    let micros = begun.elapsed().as_micros();
                    tally.latencies_us.push(u32::try_from(micros).unwrap_or(u32::MAX));
                }
            }
            Ok(status) => tally.fail(format!("a call was answered {status}")),
            Err(error) => {
                // The connection's state is unknown: it cannot be used again.
                tally.fail(format!("{error:#}"));
                break;
            }
        }
    }
    tally
}

impl Tally {
    fn fail(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    pub fn add(&mut self, mut other: Self) {
        self.latencies_us.append(&mut other.latencies_us);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}
