//! Measures one running target: moves the generators through their phases, keeps the time, and
//! reads the number of calls and the gateways' CPU time at both ends of the measuring phase.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::generator::{FINISH, Generator, Phase, Tally};
use crate::session::Session;
use crate::targets::Running;
use crate::usage::{Usage, own_cpu};

/// Longest time from listening to the first successful call, which includes discovery.
const READY: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Longest time to open all sessions; each may start a process.
const OPEN: Duration = Duration::from_secs(60);
#[derive(Clone)]
pub struct Load {
    pub sessions: usize,
    pub body_bytes: usize,
    pub warm_up: Duration,
    pub window: Duration,
    /// Threads that generate the load.
    pub threads: usize,
}

/// The result of one target in one round.
pub struct Sample {
    pub calls_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub gateways: Vec<Price>,
    /// CPU time of the load generator itself for each call.
    pub generator_us: f64,
    pub initializes: u64,
    pub errors: u64,
    pub first_error: Option<String>,
}

/// The cost of one gateway process.
pub struct Price {
    pub name: &'static str,
    pub cpu_us: f64,
    /// Memory once it listens, before the first session.
    pub idle_memory_bytes: u64,
    /// Memory at the end, with all sessions open and busy.
    pub memory_bytes: u64,
}

pub async fn measure(running: &mut Running, load: &Load) -> Result<Sample> {
    let idle = usages(running)?;
    ready(running, load.body_bytes, READY, POLL).await?;

    let (phase, watched) = watch::channel(Phase::Opening);
    let calls = Arc::new(AtomicU64::new(0));
    let mut generators = Vec::new();
    for first in 0..load.threads {
        let markers = (first..load.sessions).step_by(load.threads).collect();
        let endpoint = running.endpoint.clone();
        generators.push(Generator::start(endpoint, markers, load.body_bytes, &watched, &calls)?);
    }
    let mut initializes = 0;
    for generator in &mut generators {
        initializes +=
            timeout(OPEN, &mut generator.opened).await.context("opening sessions")???;
    }

    phase.send_replace(Phase::Warming);
    sleep(load.warm_up).await;
    phase.send_replace(Phase::Measuring);
    let begin = Reading::take(running, &calls)?;
    sleep(load.window).await;
    let end = Reading::take(running, &calls)?;
    phase.send_replace(Phase::Done);

    let mut tally = Tally::default();
    for generator in generators {
        tally.add(timeout(2 * FINISH, generator.tally).await.context("a generator hangs")??);
    }
    let mut sample = end.since(&begin, running, &idle)?;
    tally.latencies_us.sort_unstable();
    sample.p50_us = quantile(&tally.latencies_us, 0.50);
    sample.p99_us = quantile(&tally.latencies_us, 0.99);
    sample.initializes = initializes;
    sample.errors = tally.errors;
    sample.first_error = tally.first_error;
    Ok(sample)
}

/// Waits until a session can be opened and a call succeeds; returns it. Attempts are this far apart.
pub async fn ready(
    running: &mut Running,
    body_bytes: usize,
    patience: Duration,
    pause: Duration,
) -> Result<Session> {
    let deadline = Instant::now() + patience;
    loop {
        let opened = timeout(patience, Session::open(&running.endpoint, 99_999, body_bytes));
        let error = match opened.await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("the first call was not answered in {patience:?}"),
        };
        if let Some(reason) = running.sandbox.ended() {
            return Err(error.context(reason));
        }
        if Instant::now() > deadline {
            return Err(error.context(format!("not ready after {patience:?}")));
        }
        sleep(pause).await;
    }
}

/// Counters at one instant.
struct Reading {
    at: Instant,
    calls: u64,
    own_cpu: Duration,
    gateways: Vec<Usage>,
}

impl Reading {
    fn take(running: &Running, calls: &AtomicU64) -> Result<Self> {
        Ok(Self {
            gateways: usages(running)?,
            own_cpu: own_cpu()?,
            calls: calls.load(Ordering::Relaxed),
            at: Instant::now(),
        })
    }

    fn since(&self, begin: &Self, running: &Running, idle: &[Usage]) -> Result<Sample> {
        let calls = self.calls - begin.calls;
        ensure!(calls > 0, "no call was answered while measuring");
        let per_call = |cpu: Duration| cpu.as_secs_f64() * 1e6 / calls as f64;
        let gateways = running.gateways.iter().enumerate().map(|(index, gateway)| Price {
            name: gateway.name,
            cpu_us: per_call(self.gateways[index].cpu.saturating_sub(begin.gateways[index].cpu)),
            idle_memory_bytes: idle[index].memory_bytes,
            memory_bytes: self.gateways[index].memory_bytes,
        });
        Ok(Sample {
            calls_per_second: calls as f64 / (self.at - begin.at).as_secs_f64(),
            gateways: gateways.collect(),
            generator_us: per_call(self.own_cpu - begin.own_cpu),
            p50_us: 0.0,
            p99_us: 0.0,
            initializes: 0,
            errors: 0,
            first_error: None,
        })
    }
}

fn usages(running: &Running) -> Result<Vec<Usage>> {
    running.gateways.iter().map(|gateway| Usage::of_gateway(gateway.pid)).collect()
}

fn quantile(sorted: &[u32], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_sorted_list() {
        let list: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&list, 0.50), 51.0);
        assert_eq!(quantile(&list, 0.99), 100.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
