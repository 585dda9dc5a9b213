//! A cluster under churn: sessions begin, call, end or are left; servers and nodes are killed.
//!
//! ```text
//! cargo bench -p mooring-benches --bench soak -- --minutes 20
//! ```
//!
//! It fails unless memory is flat after the first third, and no descriptor, process or file is left
//! over when the churn has ended. One node and the coordinator live through all of it; two nodes are
//! killed and started again in turn.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mooring_benches::connection::Connection;
use mooring_benches::session::Session;
use mooring_benches::targets::{Gateway, Kit, Running, mooring as target};
use mooring_benches::usage::{Usage, descriptors, servers};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The nodes; the first is not killed.
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const SERVER: &str = "bench";
/// Time between two deaths of a server's process, and between two of a node.
const SERVER_DIES: Duration = Duration::from_millis(700);
const NODE_DIES: Duration = Duration::from_secs(20);
/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(2);
/// How long a session is remembered, and a process kept that is not called: what clients leave
/// behind is gone after this, or twice this with what waits for the next look.
const IDLE: Duration = Duration::from_secs(10);
/// Longest wait for all that is left to end.
const REST: Duration = Duration::from_secs(90);
/// Memory that may come and go: buffers, threads, the allocator's own.
const NOISE: f64 = 4.0 * 1024.0 * 1024.0;
/// Growth from the second third to the last that counts as flat.
const FLAT: f64 = 1.05;
/// Calls of one session.
const CALLS: usize = 20;

#[derive(Parser)]
struct Options {
    /// How long the churn lasts.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Clients at a time, each with one session after the other.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// The binary to measure; by default the one beside this harness.
    #[arg(long)]
    mooring: Option<PathBuf>,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What has happened.
#[derive(Default)]
struct Churn {
    sessions: Cell<u64>,
    calls: Cell<u64>,
    /// Sessions that ended with an error: their server or node was killed during a call.
    broken: Cell<u64>,
    servers_killed: Cell<u64>,
    nodes_killed: Cell<u64>,
    is_over: Cell<bool>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// One look at a process that lives through all of it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory: u64,
    descriptors: usize,
    servers: usize,
}

impl Sample {
    fn of(gateway: &Gateway) -> Result<Self> {
        Ok(Self {
            memory: Usage::of_gateway(gateway.pid)?.memory_bytes,
            descriptors: descriptors(gateway.pid)?,
            servers: servers(gateway.pid).len(),
        })
    }
}

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-bridge"));
    let kit = Kit::beside(fixture, options.mooring.clone(), 1);
    let running = start(&kit).await?;
    tokio::task::LocalSet::new().run_until(soak(&kit, running, &options)).await
}

async fn start(kit: &Kit) -> Result<Running> {
    let coordinator = json!({ "systemConfig": {
        "cluster": { "enabled": true, "mode": "coordinator", "coordinator": {
            "stickySessionTimeout": IDLE.as_millis() as u64, "cleanupInterval": 1000,
        } },
    } });
    let mut running = target::coordinator_with(kit, &coordinator).await?;
    for name in NODES {
        let settings = node(kit, name, running.endpoint.port);
        let (gateway, _) = target::start(kit, &mut running.sandbox, name, &settings, 0).await?;
        running.gateways.push(gateway);
    }
    Ok(running)
}

fn node(kit: &Kit, name: &str, coordinator: u16) -> Value {
    let idle = IDLE.as_millis() as u64;
    json!({
        "mcpServers": { SERVER: { "command": kit.stdio_server, "idleTimeoutMs": idle } },
        "systemConfig": { "cluster": {
            "enabled": true, "mode": "node",
            "node": { "id": name, "coordinatorUrl": format!("http://127.0.0.1:{coordinator}"), "heartbeatInterval": 1000 },
            "coordinator": { "stickySessionTimeout": idle, "cleanupInterval": 1000 },
        } },
    })
}

async fn soak(kit: &Kit, mut running: Running, options: &Options) -> Result<()> {
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    wait_for_nodes(running.endpoint.port).await?;
    let churn = Rc::<Churn>::default();
    // The pools, threads and first catalogs of a gateway in use belong to it.
    client(&running, &churn, 1).await.context("the first session")?;
    let before = lasting(&running)?;
    let (began, log_before) = (Instant::now(), log_bytes(&running)?);
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            tokio::task::spawn_local(clients(running.endpoint.clone(), Rc::clone(&churn), number))
        })
        .collect();
    let mut samples = [Vec::new(), Vec::new()];
    let (mut server_dies, mut node_dies, mut sampled) = (began, began + NODE_DIES, began);
    while began.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = Instant::now();
        if now >= server_dies {
            server_dies = now + SERVER_DIES;
            kill_a_server(&running, &churn);
        }
        if now >= node_dies {
            node_dies = now + NODE_DIES;
            let turn = churn.nodes_killed.get() as usize % (NODES.len() - 1);
            let name = NODES[1 + turn];
            count(&churn.nodes_killed);
            let settings = node(kit, name, running.endpoint.port);
            target::again(kit, &mut running, name, &settings).await?;
        }
        if now >= sampled {
            sampled = now + SAMPLE;
            for (samples, sample) in samples.iter_mut().zip(lasting(&running)?) {
                samples.push(sample);
            }
        }
        if let Some(reason) = running.sandbox.ended() {
            anyhow::bail!(reason);
        }
    }
    churn.is_over.set(true);
    for client in clients {
        client.await?;
    }
    let (logged, hours) =
        (log_bytes(&running)? - log_before, began.elapsed().as_secs_f64() / 3600.0);
    println!(
        "{:.1} min: {} sessions, {} calls, {} sessions broken by {} killed servers and {} killed nodes",
        began.elapsed().as_secs_f64() / 60.0,
        churn.sessions.get(),
        churn.calls.get(),
        churn.broken.get(),
        churn.servers_killed.get(),
        churn.nodes_killed.get()
    );
    println!(
        "log: {:.1} MiB an hour of all processes, {:.0} bytes a session",
        logged as f64 / hours / f64::from(1 << 20),
        logged as f64 / churn.sessions.get().max(1) as f64
    );
    println!(
        "| process | memory, MiB: first third, second, last | descriptors before, most, after | servers after | files |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let after = rested(&running, &before).await?;
    let mut short = Vec::new();
    let names = ["coordinator", NODES[0]];
    for (((name, samples), before), after) in names.into_iter().zip(&samples).zip(before).zip(after)
    {
        let files = files_of(&running.sandbox.path(&format!("{name}.data")));
        short.extend(judged(name, samples, before, after, files));
    }
    ensure!(short.is_empty(), "{}", short.join("; "));
    ensure!(churn.broken.get() * 2 < churn.sessions.get(), "most sessions were broken");
    Ok(())
}

/// Prints one process's row. Returns what falls short.
fn judged(
    name: &str,
    samples: &[Sample],
    before: Sample,
    after: Sample,
    files: usize,
) -> Vec<String> {
    let third = (samples.len() / 3).max(1);
    let mean = |part: &[Sample]| {
        part.iter().map(|sample| sample.memory as f64).sum::<f64>() / part.len().max(1) as f64
    };
    let parts: Vec<f64> = samples.chunks(third).take(3).map(mean).collect();
    let [first, second, last] = parts[..] else { return vec![format!("{name}: too few samples")] };
    let most = samples.iter().map(|sample| sample.descriptors).max().unwrap_or(0);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "| {name} | {:.1}, {:.1}, {:.1} | {}, {most}, {} | {} | {files} |",
        mib(first),
        mib(second),
        mib(last),
        before.descriptors,
        after.descriptors,
        after.servers
    );
    let mut short = Vec::new();
    if last > second * FLAT + NOISE {
        short.push(format!("{name}: memory grows from {:.1} to {:.1} MiB", mib(second), mib(last)));
    }
    if after.descriptors > before.descriptors {
        short.push(format!(
            "{name}: {} descriptors are left",
            after.descriptors - before.descriptors
        ));
    }
    if after.servers > before.servers {
        short.push(format!("{name}: {} processes are left", after.servers - before.servers));
    }
    if files > 16 {
        short.push(format!("{name}: {files} files in the data folder"));
    }
    short
}

/// The coordinator and the node that are not killed.
fn lasting(running: &Running) -> Result<[Sample; 2]> {
    Ok([Sample::of(&running.gateways[0])?, Sample::of(&running.gateways[1])?])
}

/// Waits until what the churn has left is gone, and returns what there is then.
async fn rested(running: &Running, before: &[Sample; 2]) -> Result<[Sample; 2]> {
    let deadline = Instant::now() + REST;
    loop {
        let now = lasting(running)?;
        let is_left = |(now, before): (&Sample, &Sample)| {
            now.descriptors > before.descriptors || now.servers > before.servers
        };
        if Instant::now() > deadline || !now.iter().zip(before).any(is_left) {
            return Ok(now);
        }
        tokio::time::sleep(SAMPLE).await;
    }
}

/// One session after the other. A half is ended, the others are left as most clients do.
async fn clients(endpoint: mooring_benches::endpoint::Endpoint, churn: Rc<Churn>, number: usize) {
    let mut turn = number;
    while !churn.is_over.get() {
        turn += 1;
        count(&churn.sessions);
        if one(&endpoint, &churn, turn).await.is_err() {
            count(&churn.broken);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn client(running: &Running, churn: &Churn, turn: usize) -> Result<()> {
    one(&running.endpoint, churn, turn).await
}

async fn one(
    endpoint: &mooring_benches::endpoint::Endpoint,
    churn: &Churn,
    turn: usize,
) -> Result<()> {
    let mut session = Session::open(endpoint, turn % 100_000, 256).await?;
    let stream = if turn.is_multiple_of(4) { Some(session.listen().await?) } else { None };
    for _ in 0..CALLS {
        ensure!(session.call().await? == 200, "a call was refused");
        count(&churn.calls);
    }
    drop(stream);
    if turn.is_multiple_of(2) { session.end().await } else { Ok(()) }
}

/// Kills a process of a server, of one node after the other.
fn kill_a_server(running: &Running, churn: &Churn) {
    let turn = churn.servers_killed.get() as usize;
    let node = &running.gateways[1 + turn % NODES.len()];
    let servers = servers(node.pid);
    count(&churn.servers_killed);
    let chosen = servers.get(turn.wrapping_mul(7) % servers.len().max(1));
    let pid = chosen.and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?));
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn log_bytes(running: &Running) -> Result<u64> {
    let names = std::iter::once(target::COORDINATOR).chain(NODES);
    let sizes = names
        .map(|name| Ok(std::fs::metadata(running.sandbox.path(&format!("{name}.log")))?.len()));
    sizes.sum()
}

fn files_of(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_of(&entry.path()) } else { 1 }).sum()
}

async fn wait_for_nodes(coordinator: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let request =
        format!("GET /api/cluster/status HTTP/1.1\r\nHost: 127.0.0.1:{coordinator}\r\n\r\n");
    loop {
        let mut connection = Connection::open(coordinator).await?;
        let response = connection.exchange(request.as_bytes()).await?;
        let status: Value = serde_json::from_slice(response.body)?;
        if status["data"]["stats"]["activeNodes"] == NODES.len() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not all nodes have registered: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
