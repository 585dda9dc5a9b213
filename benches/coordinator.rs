//! Cost of a coordinator by its number of nodes and of sessions:
//!
//! ```text
//! cargo bench -p mooring-benches --bench coordinator -- --help
//! ```
//!
//! Nodes are simulated, all in this process: each listens, proves its identity and sends
//! heartbeats. Sessions are real, on a real node in front of an HTTP server; their connections are
//! closed.

#![forbid(unsafe_code)]

mod nodes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use mooring_benches::connection::Connection;
use mooring_benches::session::Session;
use mooring_benches::targets::{Kit, Running, mooring as target};
use mooring_benches::usage::Usage;

use nodes::{HEARTBEAT, Node};

/// Pause before a measurement, for delayed deallocation and the first catalogs.
const SETTLE: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 16;

#[derive(Parser)]
struct Options {
    /// Simulated nodes.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Seconds for which the heartbeats are measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Sessions without a connection; one client may have 10,000.
    #[arg(long, default_value_t = 8000)]
    sessions: usize,
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
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-bridge"));
    let kit = Kit::beside(fixture, options.mooring.clone(), 1);
    nodes(&kit, options.nodes, Duration::from_secs(options.seconds)).await?;
    sessions(&kit, options.sessions).await
}

async fn nodes(kit: &Kit, count: usize, window: Duration) -> Result<()> {
    let running = target::coordinator(kit).await?;
    let port = running.endpoint.port;
    let alone = share_of_a_core(&running, window).await?;
    let began = Instant::now();
    let nodes: Vec<Node> = stream::iter(0..count)
        .map(|number| async move {
            let node = Node::listen(number, BTreeSet::new()).await?;
            node.try_to_register(port).await?;
            anyhow::Ok(node)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let registered = began.elapsed();
    for node in nodes {
        tokio::spawn(node.beat(port));
    }
    tokio::time::sleep(SETTLE + HEARTBEAT).await;
    let with = share_of_a_core(&running, window).await?;
    let active = active(port).await?;
    ensure!(active == count, "{active} of {count} nodes are active");
    println!("{count} nodes registered in {:.1} s", registered.as_secs_f64());
    println!("coordinator's CPU, of one core: {:.2} % with them, {:.2} % without", with, alone);
    Ok(())
}

async fn sessions(kit: &Kit, count: usize) -> Result<()> {
    let running = target::cluster_before_http(kit).await?;
    let coordinator = || async {
        tokio::time::sleep(SETTLE).await;
        Usage::of_gateway(running.gateways[0].pid).map(|usage| usage.memory_bytes)
    };
    // A warm-up, so that one-time allocations do not count for the sessions.
    for marker in 0..count / 10 {
        Session::open(&running.endpoint, marker, 16).await?.end().await?;
    }
    let before = coordinator().await?;
    open(&running, count).await?;
    let after = coordinator().await?;
    let each = after.saturating_sub(before) as f64 / count as f64;
    println!("{count} sessions without a connection: {each:.0} bytes each at the coordinator");
    Ok(())
}

/// Opens sessions and closes their connections without ending them.
async fn open(running: &Running, count: usize) -> Result<()> {
    for marker in 0..count {
        drop(Session::open(&running.endpoint, marker, 16).await?);
    }
    Ok(())
}

/// The gateway's CPU use during `window`, in percent of one core.
async fn share_of_a_core(running: &Running, window: Duration) -> Result<f64> {
    let cpu = || Usage::of_gateway(running.gateways[0].pid).map(|usage| usage.cpu);
    let (before, began) = (cpu()?, Instant::now());
    tokio::time::sleep(window).await;
    Ok((cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
}

async fn active(port: u16) -> Result<usize> {
    let request = format!("GET /api/cluster/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut connection = Connection::open(port).await?;
    let response = connection.exchange(request.as_bytes()).await?;
    let status: serde_json::Value = serde_json::from_slice(response.body)?;
    let active = status["data"]["stats"]["activeNodes"].as_u64().context("activeNodes")?;
    Ok(usize::try_from(active)?)
}
