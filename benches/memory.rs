//! Memory used by sessions and their streams, and whether it is freed afterwards:
//!
//! ```text
//! cargo bench -p mooring-benches --bench memory -- --help
//! ```

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use mooring_benches::session::Session;
use mooring_benches::targets::{Kit, Running, Target};
use mooring_benches::usage::{self, Usage};

/// Pause before a measurement, for delayed deallocation.
const SETTLE: Duration = Duration::from_millis(500);
/// Longest wait for all servers to end; the gateway itself kills them after four seconds.
const GONE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Options {
    /// Sessions that each hold a GET stream open.
    #[arg(long, default_value_t = 2000)]
    streams: usize,
    /// Sessions of a stdio server, each with its own process.
    #[arg(long, default_value_t = 500)]
    children: usize,
    /// The binary to measure; by default the one beside this harness.
    #[arg(long)]
    mooring: Option<PathBuf>,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let kit = kit(&options);
    println!("| what | how many | KiB each | after their end, KiB more than before |");
    println!("| --- | ---: | ---: | ---: |");
    for target in [Target::MooringPassThrough, Target::MooringAggregate] {
        streams(target, &kit, options.streams).await?;
    }
    children(&kit, options.children).await
}

/// Measures sessions, then a stream for each, then neither.
async fn streams(target: Target, kit: &Kit, count: usize) -> Result<()> {
    let running = target.start(kit).await?;
    // A warm-up, so that one-time allocations do not count for the sessions.
    let warm = open(&running, 50).await?;
    let before = memory(&running).await?;
    let sessions = open(&running, count).await?;
    let with_sessions = memory(&running).await?;
    let mut streams = Vec::with_capacity(count);
    for session in &sessions {
        streams.push(session.listen().await?);
    }
    let with_streams = memory(&running).await?;
    drop(streams);
    for session in sessions {
        session.end().await?;
    }
    let after = memory(&running).await?;
    let name = target.name();
    row(&format!("{name}: session with its connection"), count, before, with_sessions, after);
    row(&format!("{name}: open GET stream"), count, with_sessions, with_streams, after);
    drop(warm);
    Ok(())
}

/// Measures sessions that each have a process.
async fn children(kit: &Kit, count: usize) -> Result<()> {
    let running = Target::MooringStdio.start(kit).await?;
    let warm = open(&running, 10).await?;
    for session in warm {
        session.end().await?;
    }
    let gateway = running.gateways[0].pid;
    gone(gateway).await?;
    let before = memory(&running).await?;
    let began = Instant::now();
    let sessions = open(&running, count).await?;
    let opened = began.elapsed();
    let with = memory(&running).await?;
    let processes = usage::servers_of(gateway);
    ensure!(processes == count, "{processes} servers run for {count} sessions");
    for session in sessions {
        session.end().await?;
    }
    let began = Instant::now();
    gone(gateway).await?;
    let ended = began.elapsed();
    let after = memory(&running).await?;
    row("stdio session: gateway, supervisor and reaper", count, before, with, after);
    println!();
    println!(
        "{count} processes: opened one after the other in {:.1} s, none left {:.2} s after the last DELETE",
        opened.as_secs_f64(),
        ended.as_secs_f64()
    );
    Ok(())
}

async fn open(running: &Running, count: usize) -> Result<Vec<Session>> {
    let mut sessions = Vec::with_capacity(count);
    for marker in 0..count {
        sessions.push(Session::open(&running.endpoint, marker, 16).await?);
    }
    Ok(sessions)
}

async fn memory(running: &Running) -> Result<u64> {
    tokio::time::sleep(SETTLE).await;
    let usages = running.gateways.iter().map(|gateway| Usage::of_gateway(gateway.pid));
    usages.map(|usage| usage.map(|usage| usage.memory_bytes)).sum()
}

async fn gone(gateway: u32) -> Result<()> {
    let deadline = Instant::now() + GONE;
    while usage::servers_of(gateway) > 0 {
        ensure!(Instant::now() < deadline, "{} servers are left", usage::servers_of(gateway));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn row(what: &str, count: usize, before: u64, with: u64, after: u64) {
    let each = with.saturating_sub(before) as f64 / count as f64 / 1024.0;
    let left = after.saturating_sub(before) / 1024;
    println!("| {what} | {count} | {each:.1} | {left} |");
}

fn kit(options: &Options) -> Kit {
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-bridge"));
    Kit::beside(fixture, options.mooring.clone(), 1)
}
